/* SPDX-License-Identifier: MIT */
/*
 * sim_map.h - a set of facts keyed by two numbers, each stated once and never changed.
 *
 * Open addressing, never deletes. It answers the question that most invariants are: was something
 * else said about this before?
 */
#ifndef RAFTFS_SIM_MAP_H
#define RAFTFS_SIM_MAP_H

#include <stdint.h>

struct sim_fact {
    uint64_t a, b; /* the key; a is never 0 */
    uint64_t x, y;
};

struct sim_map {
    struct sim_fact *facts;
    uint32_t count;
    uint32_t capacity; /* a power of two, or 0 */
};

/* The fact known about (a, b), which is the one given if none was. Valid until the next call. */
const struct sim_fact *sim_map_put(struct sim_map *map, uint64_t a, uint64_t b, uint64_t x,
                                   uint64_t y);

/* The fact known about (a, b), or NULL. */
const struct sim_fact *sim_map_get(const struct sim_map *map, uint64_t a, uint64_t b);

void sim_map_clear(struct sim_map *map); /* keeps its memory */
void sim_map_close(struct sim_map *map);

#endif
