/* SPDX-License-Identifier: MIT */
/*
 * serving.h - gives this node's snapshots to members that need one.
 *
 * Members ask for a piece at a time, so one piece is in flight for each, and a member that asks no
 * more costs nothing. A snapshot that was asked for within the last minute is held open: it can be
 * read to its end though newer ones have pushed it out of the directory.
 *
 * Threads: one of its own, of low priority, reads and checks the pages; all functions are the
 * loop's.
 */
#ifndef RAFTFS_NODE_SERVING_H
#define RAFTFS_NODE_SERVING_H

#include "raft/driver.h"

struct serving;

struct serving_options {
    const char *dir; /* DIR/snapshots */
    void *ctx;
    void (*wake)(void *ctx); /* an answer is ready: call serving_pump() on the loop's thread */
    /* Somebody wants a snapshot at or above min_index, and there is none. From serving_pump(). */
    void (*on_missing)(void *ctx, uint64_t min_index);
    /* The one that is here is damaged. As above. */
    void (*on_damaged)(void *ctx);
};

struct serving *serving_init(const struct serving_options *options);
void serving_close(struct serving *serving);

/* A newer ask of the same member takes the place of its last one. */
void serving_ask(struct serving *serving, raft_id from, const struct raft_net_snapshot_ask *ask);

/* Sends the answers that are ready. One that cannot be sent is dropped: the member asks again. */
void serving_pump(struct serving *serving, struct raft_driver *driver);

#endif
