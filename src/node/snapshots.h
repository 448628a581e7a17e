/* SPDX-License-Identifier: MIT */
/*
 * snapshots.h - when a snapshot is taken, and who waits for it.
 *
 * One is due once so many entries have been applied since the newest, but never before the log has
 * grown by the size of that one: snapshots then cost no more I/O than the log itself. One is also
 * taken when somebody asks; whoever asks while one is being taken waits for the next, which holds
 * what was applied when it was asked for.
 *
 * Threads: one of its own, of low priority, takes them. snapshots_applied() whoever applies
 * (applier.h), the others any. `done` of an order runs on the snapshot thread.
 */
#ifndef RAFTFS_NODE_SNAPSHOTS_H
#define RAFTFS_NODE_SNAPSHOTS_H

#include "fuse/backend.h"
#include "store/snapshot.h"

struct snapshots;

struct snapshots_options {
    struct store *store;
    const char *dir;
    uint64_t entries; /* one is taken after that many; 0: only when somebody asks */
    void *ctx;
    void (*on_taken)(void *ctx); /* the newest may be another now; on the snapshot thread */
};

/* Looks at what is in the directory. 0 or a negative errno with `why`. */
int snapshots_init(struct snapshots **out, const struct snapshots_options *options,
                   char why[STORE_WHY_BYTES]);

/* Breaks off what is being taken; orders that wait, and later ones, fail with -EINTR. */
void snapshots_stop(struct snapshots *snapshots);

void snapshots_close(struct snapshots *snapshots);

/* One was received from another node; it is in the directory. */
void snapshots_received(struct snapshots *snapshots, const struct snapshot *received);

/* Somebody needs one at or above index and found none: takes one soon. */
void snapshots_want(struct snapshots *snapshots, uint64_t index);

/* The newest is damaged: takes another. */
void snapshots_renew(struct snapshots *snapshots);

/* Up to index is applied; those entries took log_bytes in the log. */
void snapshots_applied(struct snapshots *snapshots, uint64_t index, uint64_t log_bytes);

/* Takes one; order->done() when it is on disk. */
void snapshots_order(struct snapshots *snapshots, struct backend_order *order);
void snapshots_cancel(struct snapshots *snapshots, struct backend_order *order);

/* The newest one; index 0 if there is none. */
struct snapshot snapshots_newest(struct snapshots *snapshots);

/* The text of .raft/snapshot; bytes written. */
size_t snapshots_text(struct snapshots *snapshots, char *out, size_t out_bytes);

#endif
