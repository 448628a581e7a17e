/* SPDX-License-Identifier: MIT */
/*
 * sim_slow.c - a cluster that is slow now and then, and must not take that for deaths.
 *
 * Nothing fails here. But again and again one process is not scheduled for a while, one machine's
 * packets are stuck, or one disk stands still: longer than an election timeout, but not by much. A
 * fixed timeout deposes leader after leader (mutants.txt proves it). With core/patience.h there may
 * be elections until the nodes have learnt; then
 *
 *     nobody doubts the leader        for two minutes, while it goes on like this
 *     a leader that dies is replaced  within the longest patience and a few tries
 *     and at the old pace again       after two quiet minutes
 *
 * A leader dies here without a word: no connection breaks.
 */
#include <inttypes.h>

#include "sim_world.h"

enum {
    SECOND_US = 1000 * 1000,
    LEARNING_S = 120,
    STUTTERING_S = 120,
    QUIET_S = 130,
    PATIENT_TIMEOUTS = 10, /* the longest timer is five; then a vote may be split */
    BASE_TIMEOUTS = 4,     /* and here two */
};

static void draw_slow(struct sim_swarm *s, struct sim_rng *rng)
{
    *s = (struct sim_swarm){.founders = sim_chance(rng, 700) ? 3 : 5,
                            .heartbeat_us = 100 * 1000,
                            .election_us = 700 * 1000,
                            .lease_us = sim_chance(rng, 500) ? 130 * 1000 : 0,
                            .drift_ppm = 500,
                            .net_us = sim_between(rng, 100, 1000),
                            .disk_us = sim_between(rng, 100, 1000),
                            .client_us = 50 * 1000,
                            .batch = 4,
                            .entry_bytes = 1000,
                            .read_per_mille = 300};
    s->slots = s->founders;
}

/* ---- Slowness ---- */

/* All ways of all machines in turn, so that each comes again before it is forgotten. */
static void stutter(struct sim_world *w, uint32_t turn, uint64_t for_us)
{
    uint32_t slot = turn % w->swarm.slots;
    uint64_t until_us = w->now_us + for_us;
    switch (turn / w->swarm.slots % 3) {
    case 0:
        sim_trace_line(&w->trace, "%12.6f slot %u sleeps", (double)w->now_us / 1e6, slot);
        w->slots[slot].paused_until_us = until_us;
        break;
    case 1:
        sim_trace_line(&w->trace, "%12.6f slot %u's packets are stuck", (double)w->now_us / 1e6,
                       slot);
        w->stuck_until_us[slot] = until_us;
        break;
    default:
        sim_trace_line(&w->trace, "%12.6f slot %u's disk is", (double)w->now_us / 1e6, slot);
        w->slots[slot].stalled_until_us = until_us;
        break;
    }
}

static struct sim_slot *sure_leader(struct sim_world *w)
{
    struct sim_slot *sure = NULL;
    for (uint32_t i = 0; i < w->swarm.slots; i++)
        if (w->slots[i].node.up && w->slots[i].role == RAFT_LEADER &&
            (!sure || w->slots[i].term > sure->term))
            sure = &w->slots[i];
    return sure;
}

/* Everybody follows this leader, in this term. */
static void check_loyal(struct sim_world *w, const struct sim_slot *leader, uint64_t term)
{
    for (uint32_t i = 0; i < w->swarm.slots && !w->failed; i++) {
        const struct sim_slot *s = &w->slots[i];
        bool sound =
            s->term == term &&
            (s == leader ? s->role == RAFT_LEADER : raft_leader(s->node.core) == leader->node.id);
        if (!sound)
            sim_world_fail(w,
                           "patience: node %" PRIu64 " of t%" PRIu64 " has given leader %" PRIu64
                           " of t%" PRIu64 " up, which lives",
                           s->node.id, s->term, leader->node.id, term);
    }
}

/* Lives on for so long, slow ever again for at most `most_us` (0: never), and nearly so. */
static void live(struct sim_world *w, uint32_t for_s, uint64_t most_us, bool loyal)
{
    uint64_t end_us = w->now_us + (uint64_t)for_s * SECOND_US;
    uint64_t next_us = w->now_us;
    uint32_t turn = 0;
    const struct sim_slot *leader = loyal ? sure_leader(w) : NULL;
    uint64_t term = leader ? leader->term : 0;
    if (loyal && !leader)
        sim_world_fail(w, "patience: nobody leads");
    while (w->now_us < end_us && sim_world_turn(w)) {
        if (leader)
            check_loyal(w, leader, term);
        if (most_us && w->now_us >= next_us) {
            stutter(w, turn++, sim_between(&w->rng, 7 * most_us / 10, most_us));
            next_us = w->now_us + sim_between(&w->rng, most_us, 2 * most_us);
        }
    }
}

/* ---- Death ---- */

static void replace_the_leader(struct sim_world *w, uint32_t timeouts)
{
    struct sim_slot *dead = sure_leader(w);
    uint64_t deadline_us = w->now_us + timeouts * (uint64_t)w->swarm.election_us;
    if (!dead) {
        sim_world_fail(w, "patience: nobody leads");
        return;
    }
    for (uint32_t i = 0; i < w->swarm.slots; i++)
        sim_net_block(w, i, dead->index, UINT64_MAX / 2); /* nobody hears it break */
    for (uint32_t i = 0; i < w->swarm.slots; i++)
        sim_net_block(w, dead->index, i, UINT64_MAX / 2);
    sim_slot_crash(w, dead);
    while (!sure_leader(w) && sim_world_turn(w))
        if (w->now_us > deadline_us)
            sim_world_fail(w, "patience: %u election timeouts after a death nobody leads",
                           timeouts);
    sim_net_heal(w);
    sim_slot_boot(w, dead);
}

void sim_slow(struct sim_world *w, uint64_t seed)
{
    sim_world_found(w, seed, draw_slow);
    uint64_t most_us = sim_between(&w->rng, 500, 1100) * 1000;
    live(w, LEARNING_S, most_us, false);
    live(w, 2, 0, false);
    live(w, STUTTERING_S, most_us, true);
    live(w, 2, 0, true);
    replace_the_leader(w, PATIENT_TIMEOUTS);
    live(w, QUIET_S, 0, false);
    replace_the_leader(w, BASE_TIMEOUTS);
}
