/* SPDX-License-Identifier: MIT */
/*
 * sim_rng.h - the one source of chance in a simulated world: splitmix64.
 *
 * A world draws everything from one generator in the order in which things happen, so that the seed
 * alone decides the run.
 */
#ifndef RAFTFS_SIM_RNG_H
#define RAFTFS_SIM_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct sim_rng {
    uint64_t state;
};

static inline uint64_t sim_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t sim_rng_next(struct sim_rng *rng)
{
    return sim_mix(rng->state += 0x9e3779b97f4a7c15u);
}

/* From 0 to n - 1; n > 0. */
static inline uint64_t sim_below(struct sim_rng *rng, uint64_t n)
{
    return sim_rng_next(rng) % n;
}

/* From low to high, both included. */
static inline uint64_t sim_between(struct sim_rng *rng, uint64_t low, uint64_t high)
{
    return low + sim_below(rng, high - low + 1);
}

static inline bool sim_chance(struct sim_rng *rng, uint32_t per_mille)
{
    return per_mille && sim_below(rng, 1000) < per_mille;
}

/* Mostly near `typical`, now and then many times that: the shape of real delays. */
static inline uint64_t sim_delay(struct sim_rng *rng, uint64_t typical)
{
    uint64_t d = sim_between(rng, typical / 2, typical + typical / 2);
    while (d < typical * 64 && sim_chance(rng, 100))
        d *= 3;
    return d;
}

#endif
