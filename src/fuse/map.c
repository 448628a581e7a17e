/* SPDX-License-Identifier: MIT */
#include "fuse/map.h"

#include <assert.h>

#include "base/memory.h"

enum { FIRST_BUCKETS = 64 };

/* Inode numbers count upwards in both halves: multiply, so that the high bits choose evenly. */
static size_t bucket_of(const struct map *map, uint64_t key)
{
    return (size_t)((key * 0x9e3779b97f4a7c15u) >> 32) & (map->bucket_count - 1);
}

void map_init(struct map *map)
{
    map->bucket_count = FIRST_BUCKETS;
    map->buckets = memory_zalloc(FIRST_BUCKETS * sizeof(*map->buckets));
    map->count = 0;
}

void map_close(struct map *map)
{
    assert(map->count == 0);
    memory_free(map->buckets);
    map->buckets = NULL;
}

static void push(struct map *map, struct map_link *link)
{
    struct map_link **bucket = &map->buckets[bucket_of(map, link->key)];
    link->next = *bucket;
    *bucket = link;
}

static void grow(struct map *map)
{
    struct map_link **old = map->buckets;
    size_t old_count = map->bucket_count;
    map->bucket_count = old_count * 2;
    map->buckets = memory_zalloc(map->bucket_count * sizeof(*map->buckets));
    for (size_t i = 0; i < old_count; i++) {
        for (struct map_link *link = old[i], *next; link; link = next) {
            next = link->next;
            push(map, link);
        }
    }
    memory_free(old);
}

void map_insert(struct map *map, uint64_t key, struct map_link *link)
{
    if (map->count == map->bucket_count)
        grow(map);
    link->key = key;
    push(map, link);
    map->count++;
}

void map_remove(struct map *map, struct map_link *link)
{
    struct map_link **at = &map->buckets[bucket_of(map, link->key)];
    while (*at != link) {
        assert(*at);
        at = &(*at)->next;
    }
    *at = link->next;
    map->count--;
}

static struct map_link *first_with(struct map_link *link, uint64_t key)
{
    while (link && link->key != key)
        link = link->next;
    return link;
}

struct map_link *map_find(const struct map *map, uint64_t key)
{
    return first_with(map->buckets[bucket_of(map, key)], key);
}

struct map_link *map_next(const struct map_link *link)
{
    return first_with(link->next, link->key);
}

struct map_link *map_any(const struct map *map)
{
    for (size_t i = 0; map->count && i < map->bucket_count; i++)
        if (map->buckets[i])
            return map->buckets[i];
    return NULL;
}
