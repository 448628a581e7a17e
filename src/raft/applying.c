/* SPDX-License-Identifier: MIT */
/*
 * applying.c - what is committed goes to the node, in order, without a gap.
 *
 * Entries come from the cache or, after a restart, from the log on disk. They are handed over only
 * as far as the node keeps up, so that memory stays bounded.
 */
#include <assert.h>
#include <string.h>

#include "base/report.h"
#include "raft/internal.h"

static void hand_over_entries(struct raft_driver *d, const struct raft_entry *entries,
                              uint32_t count)
{
    assert(count > 0 && entries[0].index == d->handed_index + 1);
    d->handed_index = entries[count - 1].index;
    d->callbacks.apply(d->callbacks.ctx, entries, count);
}

void raft_driver_apply_fetched(struct raft_driver *d, struct fetch *f)
{
    d->apply_fetching = false;
    if (f->status < 0)
        report_fatal("log: entry %ju, which is committed, cannot be read back: %s. Stop this node, "
                     "set its data directory aside and start it again with -join",
                     (uintmax_t)(d->handed_index + 1), strerror(-f->status));
    hand_over_entries(d, f->entries, f->count);
}

void raft_driver_feed(struct raft_driver *d)
{
    struct raft_entry entries[RAFT_MAX_APPEND_ENTRIES];
    uint64_t commit = raft_commit_index(d->core);
    while (d->handed_index < commit && !d->apply_fetching) {
        uint64_t first = d->handed_index + 1;
        uint64_t backlog = d->handed_index - d->applied_index;
        if (backlog >= RAFT_DRIVER_APPLY_BYTES / 1024)
            return;
        uint32_t count = commit - d->handed_index < RAFT_MAX_APPEND_ENTRIES
                             ? (uint32_t)(commit - d->handed_index)
                             : RAFT_MAX_APPEND_ENTRIES;
        if (!raft_cache_get(&d->cache, first, count, entries)) {
            d->apply_fetching = true;
            raft_driver_fetch(d, first, first + count - 1, NULL);
            return;
        }
        for (uint32_t i = 0; i < count; i++)
            buf_ref(entries[i].payload);
        hand_over_entries(d, entries, count);
    }
}

void raft_driver_applied(struct raft_driver *d, uint64_t index)
{
    d->applied_index = index;
    raft_driver_feed(d);
}
