/* SPDX-License-Identifier: MIT */
#include "sim_map.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"
#include "sim_rng.h"

/* Where (a, b) is, or the free place where it belongs. */
static struct sim_fact *place(const struct sim_map *map, uint64_t a, uint64_t b)
{
    uint64_t at = sim_mix(a * 0x9e3779b97f4a7c15u + b);
    for (;; at++) {
        struct sim_fact *f = &map->facts[at & (map->capacity - 1)];
        if (f->a == 0 || (f->a == a && f->b == b))
            return f;
    }
}

static void grow(struct sim_map *map)
{
    struct sim_map old = *map;
    map->capacity = old.capacity ? 2 * old.capacity : 1024;
    map->facts = memory_zalloc(map->capacity * sizeof(map->facts[0]));
    for (uint32_t i = 0; i < old.capacity; i++)
        if (old.facts[i].a)
            *place(map, old.facts[i].a, old.facts[i].b) = old.facts[i];
    memory_free(old.facts);
}

const struct sim_fact *sim_map_put(struct sim_map *map, uint64_t a, uint64_t b, uint64_t x,
                                   uint64_t y)
{
    assert(a);
    if (2 * (map->count + 1) > map->capacity)
        grow(map);
    struct sim_fact *f = place(map, a, b);
    if (f->a == 0) {
        *f = (struct sim_fact){.a = a, .b = b, .x = x, .y = y};
        map->count++;
    }
    return f;
}

const struct sim_fact *sim_map_get(const struct sim_map *map, uint64_t a, uint64_t b)
{
    if (map->count == 0)
        return NULL;
    const struct sim_fact *f = place(map, a, b);
    return f->a ? f : NULL;
}

void sim_map_clear(struct sim_map *map)
{
    if (map->count)
        memset(map->facts, 0, map->capacity * sizeof(map->facts[0]));
    map->count = 0;
}

void sim_map_close(struct sim_map *map)
{
    memory_free(map->facts);
    *map = (struct sim_map){0};
}
