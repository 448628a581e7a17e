/* SPDX-License-Identifier: MIT */
/*
 * sim_settle.c - the liveness phase: once nothing breaks any more, everything must come right.
 *
 * All machines run, all links work, nobody asks for changes. Some logs have just been cut to
 * nothing. Then, each within TIMEOUTS election timeouts: there is a leader; what is proposed is
 * committed and what is read is answered; every member that still has its disk holds the whole log;
 * no change of members is left half-way. At last nothing moves: the same leader in the same term
 * for some time. In some worlds a new member has to catch up first while clients go on and bulk is
 * always slower than an election timeout.
 *
 * The nemesis never takes a majority's disks (sim_faults.c), so there is no excuse.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/memory.h"
#include "sim_world.h"

enum {
    TIMEOUTS = 10,
    BUSY_TIMEOUTS = 60,
    PROPOSALS = 3,
    REST_TIMEOUTS = 4,
    MAX_STEPS = 100000,
    BUSY_PER_MILLE = 200,
    BUSY_BATCH = 8,
    BUSY_ENTRY_BYTES = 1000, /* more, or more entries, would take too long at that pace */
    BUSY_ENTRIES = 8000,
};

/* NULL if the cluster is as it should be, else what is missing. */
typedef const char *(*sim_goal)(struct sim_world *w);

static bool sooner_or_later(struct sim_world *w, sim_goal goal)
{
    uint32_t timeouts = w->busy ? BUSY_TIMEOUTS : TIMEOUTS;
    uint64_t deadline_us = w->now_us + timeouts * 2 * (uint64_t)w->swarm.election_us;
    uint64_t last_step = w->steps + MAX_STEPS;
    const char *missing;
    while ((missing = goal(w)) != NULL) {
        if (w->now_us > deadline_us || w->steps > last_step)
            sim_world_fail(w, "liveness: after %u election timeouts and %" PRIu64 " steps, %s",
                           timeouts, w->steps + MAX_STEPS - last_step, missing);
        if (!sim_world_turn(w))
            return false;
    }
    return true;
}

/* ---- Healing ---- */

/* What was to happen late (stalled disks, paused processes, stragglers) happens soon. */
static void hurry(struct sim_world *w)
{
    struct sim_heap late = w->heap;
    w->heap = (struct sim_heap){.orders = late.orders};
    for (uint32_t i = 0; i < late.count; i++) {
        uint64_t delay_us = late.events[i].at_us - w->now_us;
        if (delay_us > w->swarm.heartbeat_us)
            delay_us = sim_below(&w->rng, w->swarm.heartbeat_us);
        if (late.events[i].kind != SIM_CLIENT && late.events[i].kind != SIM_NEMESIS)
            sim_world_schedule(w, delay_us, late.events[i]);
    }
    memory_free(late.events);
}

static void heal(struct sim_world *w)
{
    sim_trace_line(&w->trace, "%12.6f everything heals", (double)w->now_us / 1e6);
    w->settling = true;
    w->swarm.net_us = w->swarm.election_us / 1000;
    w->swarm.disk_us = w->swarm.election_us / 1000;
    sim_net_heal(w);
    hurry(w);
    for (uint32_t i = 0; i < w->swarm.slots; i++) {
        struct sim_slot *s = &w->slots[i];
        s->paused_until_us = 0;
        s->stalled_until_us = 0;
        s->disk_us = w->swarm.disk_us;
        s->timer_at_us = UINT64_MAX;
        if (s->node.up)
            sim_slot_arm_timer(w, s);
        else
            sim_slot_boot(w, s);
        if (s->full)
            sim_fault_fill(w, s, false);
        if (sim_chance(&w->rng, 300))
            sim_snapshot_take(w, s);
    }
}

/* ---- Goals ---- */

/* The leader of the newest term that has one, or NULL. */
static struct sim_slot *leader(struct sim_world *w)
{
    struct sim_slot *newest = NULL;
    for (uint32_t i = 0; i < w->swarm.slots; i++) {
        struct sim_slot *s = &w->slots[i];
        if (s->role == RAFT_LEADER && (!newest || s->term > newest->term))
            newest = s;
    }
    return newest;
}

static const char *a_leader_works(struct sim_world *w)
{
    struct sim_slot *l = leader(w);
    if (!l)
        return "nobody leads";
    return sim_log_term(&l->node.log, l->commit) == l->term ? NULL
                                                            : "the leader cannot commit its no-op";
}

static const char *proposals_are_committed(struct sim_world *w)
{
    struct sim_slot *l = leader(w);
    if (!l)
        return "nobody leads any more";
    return l->commit == l->node.log.last ? NULL : "the leader cannot commit what was proposed";
}

static const char *reads_are_answered(struct sim_world *w)
{
    return w->client.read_count ? "a read was not answered" : NULL;
}

static const char *members_agree(struct sim_world *w)
{
    static char text[SIM_FAILURE_BYTES];
    struct sim_slot *l = leader(w);
    if (!l)
        return "nobody leads any more";
    const struct raft_config *config = raft_config(l->node.core, &(uint64_t){0});
    uint32_t voters = 0;
    for (uint32_t i = 0; i < config->count; i++)
        voters += config->members[i].voter;
    for (uint32_t i = 0; i < config->count; i++) {
        const struct raft_member *m = &config->members[i];
        struct sim_slot *s = sim_world_find(w, m->id);
        if (m->voter_out)
            return "the configuration is still joint";
        if (!s)
            continue; /* wiped: nobody answers to that name any more */
        if (m->promote && !m->voter && voters < RAFT_MAX_VOTERS)
            return "a learner has not been promoted";
        if (m->replaces)
            return "a member that came back has not taken its place";
        if (s->commit != l->node.log.last || s->node.log.last != l->node.log.last) {
            snprintf(text, sizeof(text),
                     "member %" PRIu64 " has a log up to %" PRIu64 ", committed up to %" PRIu64
                     ", but leader %" PRIu64 " has up to %" PRIu64,
                     m->id, s->node.log.last, s->commit, l->node.id, l->node.log.last);
            return text;
        }
    }
    return NULL;
}

static const char *the_new_are_promoted(struct sim_world *w)
{
    struct sim_slot *l = leader(w);
    if (!l)
        return "nobody leads any more";
    const struct raft_config *config = raft_config(l->node.core, &(uint64_t){0});
    for (uint32_t i = 0; i < config->count; i++)
        if ((config->members[i].promote || config->members[i].replaces) &&
            !sim_id_is_wiped(w, config->members[i].id))
            return "a learner that always needs long to catch up has not been promoted";
    return NULL;
}

/* ---- The phase ---- */

static void be_busy(struct sim_world *w)
{
    struct sim_slot *l = leader(w);
    struct sim_slot *s = &w->slots[w->swarm.slots - 1];
    w->busy = true;
    w->swarm.client_us = w->swarm.election_us / 16;
    w->swarm.read_per_mille = 200;
    w->swarm.batch = BUSY_BATCH; /* less than what one append at a time can carry */
    sim_world_schedule(w, 0, (struct sim_event){.kind = SIM_CLIENT});
    if (l && !raft_config_find(raft_config(l->node.core, &(uint64_t){0}), s->node.id)) {
        struct raft_member m = sim_world_member(s);
        m.promote = true;
        sim_change(w, l, RAFT_CHANGE_ADD, &m);
    }
    sooner_or_later(w, the_new_are_promoted);
    w->busy = false;
}

static void propose(struct sim_world *w)
{
    for (uint32_t i = 0; i < PROPOSALS && !w->failed; i++) {
        struct sim_slot *l = leader(w);
        if (l)
            sim_client_propose(w, l, 1);
        sooner_or_later(w, proposals_are_committed);
    }
}

static void read_everywhere(struct sim_world *w)
{
    for (uint32_t i = 0; i < w->swarm.slots && !w->failed; i++)
        sim_client_read(w, &w->slots[i]);
    sooner_or_later(w, reads_are_answered);
}

static void let_pass(struct sim_world *w, uint64_t us)
{
    uint64_t until_us = w->now_us + us;
    while (w->now_us < until_us && sim_world_turn(w))
        continue;
}

static void rest(struct sim_world *w)
{
    /* A transfer that was asked for before the peace may still be carried out. */
    let_pass(w, 2 * (uint64_t)w->swarm.election_us);
    if (!sooner_or_later(w, a_leader_works))
        return;
    struct sim_slot *l = leader(w);
    uint64_t term = l->term;
    uint64_t until_us = w->now_us + REST_TIMEOUTS * (uint64_t)w->swarm.election_us;
    while (w->now_us < until_us && sim_world_turn(w))
        continue;
    if (leader(w) != l || l->term != term)
        sim_world_fail(w,
                       "liveness: node %" PRIu64 " led t%" PRIu64 " in peace, yet lost its office",
                       l->node.id, term);
}

void sim_settle(struct sim_world *w)
{
    heal(w);
    if (!sooner_or_later(w, a_leader_works))
        return;
    if (sim_chance(&w->rng, BUSY_PER_MILLE) && w->swarm.entry_bytes <= BUSY_ENTRY_BYTES &&
        w->history.commit <= BUSY_ENTRIES)
        be_busy(w);
    propose(w);
    read_everywhere(w);
    if (!w->failed && sooner_or_later(w, members_agree))
        rest(w);
}
