/* SPDX-License-Identifier: MIT */
/*
 * applier.h - the apply thread: committed entries into the store, answers out.
 *
 * What is committed while one batch is being applied goes into the next one, as one SQLite
 * transaction. A batch that fails (disk full) is tried again until it succeeds: what is committed
 * has happened, and this node only learns of it late. Until the node is stopped: then its next life
 * has it from the log.
 *
 * What was cut off is freed in pieces in between (store_reclaim), so that a change of any size is
 * little to apply. What comes waits for one piece, or after a batch for as long as that took.
 *
 * A lone entry, when there is nothing else to do, is applied by the loop at once, and saved later
 * (store/batch.c), so that nobody need be woken up for it.
 *
 * Threads: applier_add() and applier_call() the loop's. The callbacks run on whichever thread
 * applies, the apply thread or the loop's, one at a time; on_damage on the apply thread.
 */
#ifndef RAFTFS_NODE_APPLIER_H
#define RAFTFS_NODE_APPLIER_H

#include "raft/log/log.h"
#include "store/store.h"

struct applier;

struct applier_options {
    struct store *store;
    void *ctx;
    /*
     * A batch is visible to queries; its entries and their results, then the index reached and what
     * those entries take in the log.
     */
    void (*on_result)(void *ctx, const struct store_result *result);
    void (*on_config)(void *ctx, const struct raft_entry *entry);
    void (*on_applied)(void *ctx, uint64_t index, uint64_t log_bytes);
    /* The store is damaged: from now on nothing is applied any more. */
    void (*on_damage)(void *ctx);
};

struct applier *applier_init(const struct applier_options *options);

/* Entries that follow the last ones without a gap; their references pass over. */
void applier_add(struct applier *applier, const struct raft_entry *entries, uint32_t count);

/*
 * Runs `call` on the apply thread once all that was added is applied, unless it is closed before.
 * One at a time, and nothing is added until it has run.
 */
void applier_call(struct applier *applier, void (*call)(void *ctx), void *ctx);

/* Applies what was added, unless the store is damaged or has no room, then stops. */
void applier_close(struct applier *applier);

#endif
