/* SPDX-License-Identifier: MIT */
/*
 * cache.h - names and attributes in memory, in front of SQLite.
 *
 * Every open(2) asks for a name once and for its attributes twice. SQLite's connections forget
 * their pages whenever another one commits, so after each batch the first of those questions would
 * read half a dozen pages anew, and check each. The apply thread, on the other hand, has what it
 * has just changed: it puts that here, and whoever writes a key again and again never asks SQLite.
 *
 * A query must be answered as if it had seen all of the tree at one moment between its call and its
 * return. For that the cache counts epochs, as a sequence lock does. An epoch is a time in which
 * nothing becomes visible: it ends before a batch commits, or a lone entry shows that is saved
 * later (batch.c), and the next one begins when all that was touched is here as it is now. In
 * between there is none, and every query asks SQLite. Hence:
 *
 * - What is here is what SQLite shows, or will once it is saved, for as long as an epoch lasts.
 * - What was found counts only if the epoch is the same before and after. A name leads to an inode
 *   and that to its attributes: if a batch that renames it came in between, the old name would show
 *   with the ctime of the renaming, which nobody ever saw together.
 * - Between epochs nobody is answered from here, found or not. Otherwise, while a batch commits,
 *   one query could read the new state from SQLite and the next, begun later, the old one from
 *   here.
 * - What a query has read from SQLite it puts here only if the epoch is the one in which it began
 *   to read. Otherwise what it read before a batch could come here after it, to stay.
 * - A batch that fails has changed nothing, here neither.
 *
 * Only what is there is kept: no absence, no "." or "..", no orphan, no name longer than
 * CACHE_NAME_BYTES. Tables of fixed size, 2 MiB each, whose memory is used as it fills: a set of
 * CACHE_WAYS places for each hash, of which a newcomer takes the oldest one's. Some of the sets
 * share a lock, which is held while one of them is read or changed and across nothing else.
 *
 * Threads: epochs are the apply thread's; everything else is any thread's.
 */
#ifndef RAFTFS_STORE_CACHE_H
#define RAFTFS_STORE_CACHE_H

#include "store/store.h"

enum { CACHE_SETS = 8192, CACHE_WAYS = 4, CACHE_NAME_BYTES = 47 };

struct cache;

struct cache *cache_open(void);
void cache_close(struct cache *cache);

/* ---- Queries ---- */

/* The epoch in which a query begins; to be asked for before SQLite is. */
uint64_t cache_epoch(const struct cache *cache);

/* Whether it is here, as it is throughout `epoch`. */
bool cache_find(struct cache *cache, uint64_t epoch, uint64_t ino, struct store_attr *attr);
bool cache_find_name(struct cache *cache, uint64_t epoch, uint64_t dir, const char *name,
                     size_t name_bytes, struct store_attr *attr);

/* What a query that began in `epoch` has read from SQLite. */
void cache_learn(struct cache *cache, uint64_t epoch, const struct store_attr *attr);
void cache_learn_name(struct cache *cache, uint64_t epoch, uint64_t dir, const char *name,
                      size_t name_bytes, const struct store_attr *attr);

/* ---- The apply thread ---- */

/* Something is about to become visible: the epoch ends. */
void cache_end_epoch(struct cache *cache);

/* It is visible and has touched these, in this order; or it failed and has touched nothing. */
void cache_begin_epoch(struct cache *cache, const struct store_touched *items, uint32_t count);

/* Between epochs: nothing is as it was. */
void cache_forget(struct cache *cache);

#endif
