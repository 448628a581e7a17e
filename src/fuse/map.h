/* SPDX-License-Identifier: MIT */
/*
 * map.h - objects found by a 64-bit number, through a link inside them.
 *
 * Chained buckets that double as the map fills. Several objects may have the same number; walk them
 * with map_next(). No lock of its own, and objects are neither allocated nor freed here.
 */
#ifndef RAFTFS_FUSE_MAP_H
#define RAFTFS_FUSE_MAP_H

#include <stddef.h>
#include <stdint.h>

struct map_link {
    uint64_t key;
    struct map_link *next;
};

struct map {
    struct map_link **buckets;
    size_t bucket_count; /* a power of two */
    size_t count;
};

/* The object of type `type` whose member `member` is `link`; NULL for NULL. */
#define map_entry(link, type, member) \
    ((type *)((link) ? (char *)(link)-offsetof(type, member) : NULL))

void map_init(struct map *map);
void map_close(struct map *map);

void map_insert(struct map *map, uint64_t key, struct map_link *link);
void map_remove(struct map *map, struct map_link *link);

/* One with that number, and then the others in turn; NULL when there is none (left). */
struct map_link *map_find(const struct map *map, uint64_t key);
struct map_link *map_next(const struct map_link *link);

/* Any of all, or NULL: to empty a map. */
struct map_link *map_any(const struct map *map);

#endif
