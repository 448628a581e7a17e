/* SPDX-License-Identifier: MIT */
/*
 * garbage.h - content that has been cut off, and is freed later.
 *
 * To delete a chunk's row is to visit each of the pages that it fills. For a file of 1 GiB that
 * takes seconds, on every node at once, and nothing else would be applied meanwhile. So what is cut
 * off, or removed with its file, becomes garbage: it is only noted, in one row of its table,
 *
 *     garbage(ino, first, last)      the rows of `body` with this ino and n in first .. last
 *
 * and is freed in pieces when there is time, each in a transaction of its own (store_reclaim). What
 * is in such a range counts for nothing: no query sees it (in the view `content` it is not `live`),
 * and the fingerprint is without it since it was cut off. So each replica may free at its own pace,
 * garbage may be copied or left out of copies, and all that is replicated depends on the rest
 * alone.
 *
 * The ranges of an inode do not overlap. They do not end with its life, and may lie within its
 * size: there the file is a hole, and nothing had to be freed for it to grow. Whoever writes a
 * chunk in one takes that chunk out of it.
 *
 * Threads: whoever has the writer's transaction.
 */
#ifndef RAFTFS_STORE_GARBAGE_H
#define RAFTFS_STORE_GARBAGE_H

#include "store/tree.h"

/* All rows of the inode from the first of these on. */
void garbage_add(struct txn *t, uint64_t ino, uint64_t first);

/* Row n is written anew. */
void garbage_take_out(struct sql *sql, uint64_t ino, uint64_t n);

/* Frees a piece. False: there was none. */
bool garbage_free_some(struct sql *sql);

#endif
