/* SPDX-License-Identifier: MIT */
/*
 * sim_net.c - the modelled network: worse than TCP, so that nothing leans on what TCP is kind
 * enough to do.
 *
 * A packet is lost, delayed, doubled and overtaken as the swarm says; some straggle until the world
 * has moved on by several elections. A blocked link eats what is sent while it is blocked, one way.
 * What is on the wire outlives its sender.
 */
#include "base/memory.h"
#include "sim_world.h"

enum { CACHED = 64 }; /* newest entries */

bool sim_net_is_down(const struct sim_world *w, uint32_t from, uint32_t to)
{
    if (w->now_us >= w->blocked_until_us[from][to])
        return false;
    uint64_t flap_us = w->flap_us[from][to];
    return flap_us == 0 || w->now_us / flap_us % 2 == 0;
}

static uint64_t transit_us(struct sim_world *w)
{
    if (!w->settling && sim_chance(&w->rng, w->swarm.straggler_per_mille))
        return sim_below(&w->rng, 8 * (uint64_t)w->swarm.election_us);
    return sim_delay(&w->rng, w->swarm.net_us);
}

/* A busy machine's bulk takes longer than an election timeout, in order; no heartbeat waits. */
static uint64_t bulk_us(struct sim_world *w, uint32_t from, uint32_t to)
{
    uint64_t *newest_us = &w->bulk_at_us[from][to];
    uint64_t at_us = w->now_us + sim_between(&w->rng, w->swarm.election_us,
                                             3 * (uint64_t)w->swarm.election_us / 2);
    if (at_us < *newest_us)
        at_us = *newest_us;
    *newest_us = at_us;
    return at_us - w->now_us;
}

static void dispatch(struct sim_world *w, const struct sim_slot *from, const struct sim_slot *to,
                     struct sim_packet *packet)
{
    bool bulk = packet->msg.kind == RAFT_MSG_APPEND && packet->msg.append.count > 0;
    uint64_t delay_us = w->busy && bulk ? bulk_us(w, from->index, to->index) : transit_us(w);
    if (w->now_us < w->stuck_until_us[from->index])
        delay_us += w->stuck_until_us[from->index] - w->now_us;
    sim_world_schedule(
        w, delay_us,
        (struct sim_event){
            .kind = SIM_PACKET, .slot = to->index, .life = to->life, .packet = packet});
}

/*
 * An append may leave with fewer entries than the core asked for, because the driver reads old ones
 * from disk in bounded pieces.
 */
static void shorten(struct sim_world *w, struct sim_packet *packet)
{
    if (packet->msg.kind == RAFT_MSG_APPEND && packet->msg.append.count > 1 &&
        sim_chance(&w->rng, 50))
        packet->msg.append.count = (uint32_t)sim_between(&w->rng, 1, packet->msg.append.count);
}

/* Entries that have to be read from disk first may never leave, in peace too, without a word. */
static bool gone_from_cache(struct sim_world *w, const struct sim_slot *from,
                            const struct sim_packet *packet)
{
    const struct raft_msg *m = &packet->msg;
    return m->kind == RAFT_MSG_APPEND && m->append.count > 0 &&
           m->append.prev_index + CACHED < from->node.log.last && sim_chance(&w->rng, 50);
}

void sim_net_send(struct sim_world *w, struct sim_slot *from, struct sim_packet *packet)
{
    struct sim_slot *to = sim_world_find(w, packet->msg.to);
    if (!to || sim_net_is_down(w, from->index, to->index) || gone_from_cache(w, from, packet) ||
        (!w->settling && sim_chance(&w->rng, w->swarm.loss_per_mille))) {
        memory_free(packet);
        return;
    }
    shorten(w, packet);
    if (!w->settling && sim_chance(&w->rng, w->swarm.duplicate_per_mille))
        dispatch(w, from, to, sim_packet_copy(packet));
    dispatch(w, from, to, packet);
}

void sim_net_died(struct sim_world *w, const struct sim_slot *s)
{
    for (uint32_t i = 0; i < w->swarm.slots; i++) {
        struct sim_slot *peer = &w->slots[i];
        if (peer == s || sim_net_is_down(w, s->index, i) || !sim_chance(&w->rng, 800))
            continue;
        sim_world_schedule(w, transit_us(w),
                           (struct sim_event){.kind = SIM_LOST,
                                              .slot = i,
                                              .life = peer->life,
                                              .boot = peer->boots,
                                              .peer = s->node.id});
    }
}

void sim_net_block(struct sim_world *w, uint32_t from, uint32_t to, uint64_t duration_us)
{
    w->blocked_until_us[from][to] = w->now_us + duration_us;
    w->flap_us[from][to] = 0;
}

void sim_net_heal(struct sim_world *w)
{
    for (uint32_t from = 0; from < SIM_MAX_SLOTS; from++)
        for (uint32_t to = 0; to < SIM_MAX_SLOTS; to++)
            w->blocked_until_us[from][to] = 0;
}
