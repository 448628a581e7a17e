/* SPDX-License-Identifier: MIT */
#include "raft/cache.h"

#include <assert.h>

#include "base/memory.h"

enum { INITIAL_CAPACITY = 256 };

static struct raft_entry *slot(const struct raft_cache *cache, uint64_t index)
{
    return &cache->ring[index & (cache->capacity - 1)];
}

static uint64_t held(const struct raft_cache *cache)
{
    return cache->last + 1 - cache->first;
}

static uint32_t payload_bytes(const struct raft_entry *entry)
{
    return entry->payload ? entry->payload->bytes : 0;
}

static void release(struct raft_cache *cache, uint64_t index)
{
    struct raft_entry *entry = slot(cache, index);
    cache->payload_bytes -= payload_bytes(entry);
    buf_unref(entry->payload);
    entry->payload = NULL;
}

void raft_cache_init(struct raft_cache *cache, uint64_t last)
{
    *cache = (struct raft_cache){.capacity = INITIAL_CAPACITY, .first = last + 1, .last = last};
    cache->ring = memory_zalloc(INITIAL_CAPACITY * sizeof(*cache->ring));
}

void raft_cache_close(struct raft_cache *cache)
{
    raft_cache_truncate(cache, cache->first);
    memory_free(cache->ring);
    cache->ring = NULL;
}

static void grow(struct raft_cache *cache)
{
    struct raft_cache bigger = *cache;
    bigger.capacity *= 2;
    bigger.ring = memory_zalloc(bigger.capacity * sizeof(*bigger.ring));
    for (uint64_t i = cache->first; i <= cache->last; i++)
        *slot(&bigger, i) = *slot(cache, i);
    memory_free(cache->ring);
    *cache = bigger;
}

void raft_cache_append(struct raft_cache *cache, const struct raft_entry *entry)
{
    assert(entry->index == cache->last + 1);
    if (held(cache) == cache->capacity)
        grow(cache);
    cache->last = entry->index;
    *slot(cache, entry->index) = *entry;
    cache->payload_bytes += payload_bytes(entry);
}

void raft_cache_truncate(struct raft_cache *cache, uint64_t index)
{
    for (uint64_t i = index > cache->first ? index : cache->first; i <= cache->last; i++)
        release(cache, i);
    if (index <= cache->last)
        cache->last = index - 1;
    if (cache->first > cache->last + 1)
        cache->first = cache->last + 1;
}

void raft_cache_evict(struct raft_cache *cache, uint64_t index)
{
    while (cache->payload_bytes > RAFT_CACHE_BYTES && cache->first <= index &&
           cache->first <= cache->last)
        release(cache, cache->first++);
    /* Small entries are bounded by their number: the ring may not grow for ever. */
    while (held(cache) > RAFT_CACHE_BYTES / 1024 && cache->first <= index)
        release(cache, cache->first++);
}

void raft_cache_restart(struct raft_cache *cache, uint64_t last)
{
    raft_cache_truncate(cache, cache->first);
    cache->first = last + 1;
    cache->last = last;
}

void raft_cache_compact(struct raft_cache *cache, uint64_t index)
{
    while (cache->first <= index && cache->first <= cache->last)
        release(cache, cache->first++);
}

bool raft_cache_get(const struct raft_cache *cache, uint64_t first, uint32_t count,
                    struct raft_entry *out)
{
    if (first < cache->first || first + count > cache->last + 1)
        return false;
    for (uint32_t i = 0; i < count; i++)
        out[i] = *slot(cache, first + i);
    return true;
}
