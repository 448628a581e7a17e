/* SPDX-License-Identifier: MIT */
/*
 * applying.c - what is committed goes to the node, in order, without a gap.
 *
 * Entries come from the cache or, after a restart, from the log on disk. They are handed over only
 * as far as the node keeps up, so that memory stays bounded.
 *
 * A snapshot that takes the state machine's place moves on what is handed over next: the node
 * pauses, installs it and says so. A read of the log that was begun before that comes back to
 * another world, and is dropped.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/memory.h"
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
    if (f->status == -EUCLEAN) { /* nothing more can be handed over */
        d->callbacks.damaged(d->callbacks.ctx);
        return;
    }
    d->apply_fetching = false;
    if (d->apply_paused || f->first != d->handed_index + 1) {
        raft_driver_drop_fetched(f);
        return;
    }
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
    while (d->handed_index < commit && !d->apply_fetching && !d->apply_paused) {
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
    if (d->apply_paused)
        return; /* raft_driver_installed() says where it stands */
    d->applied_index = index;
}

/* ---- Snapshots ---- */

void raft_driver_pause_apply(struct raft_driver *d, bool paused)
{
    d->apply_paused = paused;
    raft_driver_feed(d);
}

void raft_driver_installed(struct raft_driver *d, uint64_t index, uint64_t term,
                           uint64_t config_index, const struct buf *encoded)
{
    struct raft_config *config = memory_zalloc(sizeof(*config));
    /* None before the first: a restored cluster's is the entry behind what was restored. */
    if (encoded && !raft_config_decode(config, encoded->data, encoded->bytes))
        report_fatal("store.db: the configuration of the snapshot of entry %ju cannot be read. Set "
                     "the data directory aside and start this node again with -join",
                     (uintmax_t)index);
    d->handed_index = d->applied_index = index;
    d->apply_paused = false;
    raft_driver_step(d, &(struct raft_event){.kind = RAFT_INSTALLED,
                                             .installed = {.index = index,
                                                           .term = term,
                                                           .config_index = config_index,
                                                           .config = config}});
    memory_free(config);
}

void raft_driver_compact(struct raft_driver *d, uint64_t index)
{
    uint64_t durable = raft_durable_index(d->core);
    uint64_t most = d->applied_index < durable ? d->applied_index : durable;
    if (index > most)
        index = most;
    if (index <= raft_base_index(d->core))
        return;
    pthread_mutex_lock(&d->core_lock);
    raft_compacted(d->core, index);
    pthread_mutex_unlock(&d->core_lock);
    raft_cache_compact(&d->cache, index);
    raft_log_compact(d->log, index);
}
