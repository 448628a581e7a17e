/* SPDX-License-Identifier: MIT */
/*
 * disk.c - how the log's disk is: told to the core, which knows what follows from it (core/disk.c),
 * and to the operator, who alone can mend it.
 *
 * Full: the log says so, and repeats once a minute which file it cannot make (log/keeper.c). Still:
 * the writer thread hangs in a system call, or the kernel does not come back, and nobody can say
 * so; it is noticed here, at any step.
 */
#include "raft/internal.h"

#include "base/report.h"

enum {
    STILL_US = 1000 * 1000, /* longer than a busy disk takes */
    REPORT_EVERY_US = 60 * 1000 * 1000,
};

void raft_driver_on_space(void *ctx, bool full)
{
    struct raft_driver *d = ctx;
    atomic_store(&d->log_full, full);
    uv_async_send(&d->log_async);
}

void raft_driver_tell_disk(struct raft_driver *d)
{
    bool full = atomic_load(&d->log_full);
    if (full == d->told_full || !d->core)
        return;
    d->told_full = full;
    if (full)
        report_warn("log: no room in %s for what comes next: this node falls behind, and if a "
                    "majority is full, changes are refused but for removals. Make room; it goes on "
                    "by itself",
                    raft_log_dir(d->log));
    else
        report_info("log: there is room again in %s", raft_log_dir(d->log));
    raft_driver_step(d, &(struct raft_event){.kind = RAFT_DISK, .disk = {full}});
}

static void report_still(struct raft_driver *d, uint64_t now_us)
{
    struct disk_watch *w = &d->disk;
    w->told = true;
    w->reported_us = now_us;
    report_warn(
        "log: a write in %s has not ended for %ju s: its disk stands still, and this node "
        "neither votes nor acknowledges meanwhile, nor leads if others can. Check the disk; "
        "it goes on by itself",
        raft_log_dir(d->log), (uintmax_t)(now_us - w->since_us) / 1000000);
}

void raft_driver_watch_disk(struct raft_driver *d, uint64_t now_us)
{
    struct disk_watch *w = &d->disk;
    bool waits = d->durable_write < d->last_write;
    if (!waits || !w->waits || d->durable_write > w->durable_write) {
        if (w->told)
            report_info("log: the disk of %s moves again", raft_log_dir(d->log));
        w->told = false;
        w->since_us = now_us;
    } else if (!d->told_full && now_us >= w->since_us + STILL_US &&
               (w->reported_us == 0 || now_us >= w->reported_us + REPORT_EVERY_US)) {
        report_still(d, now_us);
    }
    w->waits = waits;
    w->durable_write = d->durable_write;
}
