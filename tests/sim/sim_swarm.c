/* SPDX-License-Identifier: MIT */
/*
 * sim_swarm.c - what kind of world a seed is.
 *
 * Swarm testing: a world with every fault at once is so busy failing that it rarely gets far, so
 * each seed has only some of them, at a rate of its own. Ranges are wide where the protocol has
 * timers to be hit (delays around the heartbeat and the election timeout) and narrow where it has
 * none.
 */
#include "sim_world.h"

/* The fastest clock against the slowest is then just within RAFT_CLOCK_DRIFT. */
enum { MAX_DRIFT_PPM = 111000 };

/* A number whose order of magnitude is as random as its digits. */
static uint64_t scaled(struct sim_rng *rng, uint64_t low, uint64_t high)
{
    uint64_t scale = low;
    while (scale < high && sim_chance(rng, 600))
        scale *= 2;
    uint64_t n = sim_between(rng, scale, 2 * scale);
    return n < high ? n : high;
}

static void draw_cluster(struct sim_swarm *s, struct sim_rng *rng)
{
    static const uint32_t founders[] = {1, 2, 3, 3, 3, 3, 3, 4, 5, 5, 5, 7};
    s->founders = founders[sim_below(rng, sizeof(founders) / sizeof(founders[0]))];
    s->slots = s->founders;
    while (s->slots < SIM_MAX_SLOTS && sim_chance(rng, 400))
        s->slots++;
    s->election_us = (uint32_t)sim_between(rng, 300, 1500) * 1000;
    s->heartbeat_us = s->election_us / (uint32_t)sim_between(rng, 3, 10);
    s->drift_ppm = sim_chance(rng, 500) ? MAX_DRIFT_PPM : 500;
    if (sim_chance(rng, 700))
        s->lease_us = s->heartbeat_us + (uint32_t)sim_below(rng, s->election_us / 4);
    if (s->lease_us > RAFT_MAX_LEASE_US)
        s->lease_us = RAFT_MAX_LEASE_US;
    if (sim_chance(rng, 700))
        s->grant_us =
            sim_chance(rng, 700) ? s->lease_us : (uint32_t)sim_below(rng, s->lease_us + 1);
}

static void draw_machines(struct sim_swarm *s, struct sim_rng *rng)
{
    s->net_us = scaled(rng, 100, s->election_us / 4);
    s->disk_us = scaled(rng, 50, s->election_us / 8);
    s->loss_per_mille = sim_chance(rng, 500) ? (uint32_t)sim_between(rng, 1, 300) : 0;
    s->duplicate_per_mille = sim_chance(rng, 500) ? (uint32_t)sim_between(rng, 1, 300) : 0;
    s->straggler_per_mille = sim_chance(rng, 400) ? (uint32_t)sim_between(rng, 1, 80) : 0;
}

static void draw_clients(struct sim_swarm *s, struct sim_rng *rng)
{
    s->client_us = scaled(rng, s->election_us / 64, s->election_us / 2);
    s->batch = sim_chance(rng, 200) ? RAFT_MAX_PROPOSE : (uint32_t)sim_between(rng, 1, 6);
    s->entry_bytes = sim_chance(rng, 200) ? RAFT_MAX_ENTRY_BYTES : 1000;
    s->read_per_mille = (uint32_t)sim_between(rng, 0, 700);
}

void sim_swarm_draw(struct sim_swarm *s, struct sim_rng *rng)
{
    *s = (struct sim_swarm){.steps = (uint32_t)sim_between(rng, 800, 2200)};
    draw_cluster(s, rng);
    draw_machines(s, rng);
    draw_clients(s, rng);
    for (int f = 0; f < SIM_FAULTS; f++)
        if (sim_chance(rng, 400))
            s->fault_us[f] = scaled(rng, s->election_us / 2, 16 * (uint64_t)s->election_us);
    s->fault_us[SIM_FAULT_REBOOT] = 0; /* follows DEAF */
    if (s->lease_us)
        s->fault_us[SIM_FAULT_CLOCK] = 0; /* a clock that is set is what no lease survives */
    else
        s->fault_us[SIM_FAULT_DEAF] = s->fault_us[SIM_FAULT_RESET] = 0;
}
