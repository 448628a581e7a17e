/* SPDX-License-Identifier: MIT */
/*
 * cache.h - the newest entries of the log in memory, with their payloads.
 *
 * A ring by index: everything from cache_first() to the last entry, without a gap. Replication and
 * applying take entries from here; only what lies further back is read from disk. Bounded by bytes,
 * but an entry that still has to be applied or made durable is never evicted (the core's own limits
 * bound those). Loop thread only.
 */
#ifndef RAFTFS_RAFT_CACHE_H
#define RAFTFS_RAFT_CACHE_H

#include "raft/log/log.h"

enum { RAFT_CACHE_BYTES = 8 * 1024 * 1024 };

struct raft_cache {
    struct raft_entry *ring;
    uint32_t capacity; /* a power of two */
    uint64_t first;    /* the first index held; last + 1 when empty */
    uint64_t last;
    uint64_t payload_bytes;
};

/* Empty, the next entry to append being last + 1. */
void raft_cache_init(struct raft_cache *cache, uint64_t last);
void raft_cache_close(struct raft_cache *cache);

/* Appends behind the last entry; the payload's reference passes over. */
void raft_cache_append(struct raft_cache *cache, const struct raft_entry *entry);

/* Drops `index` and all behind it. */
void raft_cache_truncate(struct raft_cache *cache, uint64_t index);

/* Drops the oldest entries, none above `index`, until the byte limit holds. */
void raft_cache_evict(struct raft_cache *cache, uint64_t index);

/* Drops all; the next entry to append is last + 1. */
void raft_cache_restart(struct raft_cache *cache, uint64_t last);

/* Drops `index` and all before it. */
void raft_cache_compact(struct raft_cache *cache, uint64_t index);

/*
 * Copies entries [first, first + count) to `out`, without taking references. False if one of them
 * is not held.
 */
bool raft_cache_get(const struct raft_cache *cache, uint64_t first, uint32_t count,
                    struct raft_entry *out);

#endif
