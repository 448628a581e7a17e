/* SPDX-License-Identifier: MIT */
/*
 * checkpoint.h - moves SQLite's write-ahead log into the database, on a thread of its own.
 *
 * Nothing in SQLite is synced when a batch is applied; the Raft log holds it. A checkpoint syncs,
 * and what had been saved when it began is then durable here. It runs once the write-ahead log
 * has grown to CHECKPOINT_PAGES, beside the apply thread and at the pace of pace.h; what has come
 * meanwhile is then moved while the apply thread waits for a moment. An idle store is left alone.
 */
#ifndef RAFTFS_STORE_CHECKPOINT_H
#define RAFTFS_STORE_CHECKPOINT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct checkpoint;

enum {
    CHECKPOINT_PAGES = 2048,      /* 8 MiB: a checkpoint is due */
    CHECKPOINT_MAX_PAGES = 16384, /* 64 MiB: the apply thread waits for it, so that it can end */
};

/* `saved_index` is what SQLite shows. 0 or a negative errno. */
int checkpoint_open(struct checkpoint **out, const char *path,
                    const _Atomic(uint64_t) *saved_index);

/*
 * That the write-ahead log can grow to so many pages though the disk is full. Where a file system
 * cannot promise that, it is taken as granted. Apply thread, or under the lock that it holds.
 */
void checkpoint_make_room(struct checkpoint *c, int pages);
bool checkpoint_has_room(const struct checkpoint *c, int pages);

/* The write-ahead log has this many pages now. Apply thread. */
void checkpoint_grown(struct checkpoint *c, int pages);

/*
 * While somebody reads one old state for long, the write-ahead log cannot start over and waiting
 * for it would be in vain: it just grows. Any thread.
 */
void checkpoint_hold(struct checkpoint *c, bool held);

/*
 * Waits until all that is applied is in the database and synced, at the pace of pace.h. Any thread.
 * 0 or a negative errno: -EBUSY, if somebody does not stop reading an old state.
 */
int checkpoint_all(struct checkpoint *c);

uint64_t checkpoint_durable_index(const struct checkpoint *c); /* any thread */

/* A last checkpoint, and the end of the thread. */
void checkpoint_close(struct checkpoint *c);

#endif
