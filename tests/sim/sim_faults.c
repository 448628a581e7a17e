/* SPDX-License-Identifier: MIT */
/*
 * sim_faults.c - the nemesis: breaks machines, disks, links and clocks, and changes the members.
 *
 * It may do anything but what no consensus survives. The one rule (the atlas): of every
 * configuration that is or may yet come into force, a majority of each half's voters keeps its
 * disk. So whenever the cluster does not come to rest afterwards, the core is to blame.
 */
#include "sim_world.h"

static struct sim_slot *some_slot(struct sim_world *w)
{
    return &w->slots[sim_below(&w->rng, w->swarm.slots)];
}

struct sim_slot *sim_some_leader(struct sim_world *w)
{
    uint32_t start = (uint32_t)sim_below(&w->rng, w->swarm.slots);
    for (uint32_t i = 0; i < w->swarm.slots; i++) {
        struct sim_slot *s = &w->slots[(start + i) % w->swarm.slots];
        if (s->node.up && s->paused_until_us <= w->now_us && raft_role(s->node.core) == RAFT_LEADER)
            return s;
    }
    return NULL;
}

/* A moment, an election, or several. */
static uint64_t some_time(struct sim_world *w)
{
    static const uint32_t eighths[] = {1, 4, 8, 16, 40};
    uint64_t most = (uint64_t)w->swarm.election_us * eighths[sim_below(&w->rng, 5)] / 8;
    return sim_between(&w->rng, 1, most);
}

/* ---- Machines ---- */

void sim_fault_crash(struct sim_world *w, struct sim_slot *s)
{
    sim_slot_crash(w, s);
    sim_world_schedule(w, some_time(w),
                       (struct sim_event){.kind = SIM_BOOT, .slot = s->index, .life = s->life});
}

struct lasting {
    const struct sim_world *world;
    raft_id but;
};

static bool keeps_its_disk(const void *ctx, raft_id id)
{
    const struct lasting *l = ctx;
    return id != l->but && !sim_id_is_wiped(l->world, id);
}

/* Another entry was committed in its place. */
static bool was_lost(const struct sim_history *h, const struct sim_configured *c)
{
    if (c->index > h->commit)
        return false;
    const struct sim_config *committed = h->committed[c->index - 1].entry.config;
    return !committed || &committed->decoded != c->config;
}

/* Whether every configuration that may matter from now on outlives the loss of this disk. */
static bool may_be_wiped(const struct sim_world *w, const struct sim_slot *s)
{
    struct lasting lasting = {.world = w, .but = s->node.id};
    const struct sim_history *h = &w->history;
    uint64_t in_force = 0;
    for (uint32_t i = 0; i < h->config_count; i++)
        if (h->configs[i].index <= h->commit && h->configs[i].index > in_force &&
            !was_lost(h, &h->configs[i]))
            in_force = h->configs[i].index;
    for (uint32_t i = 0; i < h->config_count; i++) {
        if (h->configs[i].index < in_force || was_lost(h, &h->configs[i]))
            continue;
        const struct raft_member *m = raft_config_find(h->configs[i].config, s->node.id);
        bool may_become_voter = m && (m->promote || m->replaces);
        if (may_become_voter || !sim_is_quorum(h->configs[i].config, keeps_its_disk, &lasting))
            return false;
    }
    return true;
}

static void wipe(struct sim_world *w, struct sim_slot *s)
{
    if (s->life + 1 < SIM_MAX_LIVES && may_be_wiped(w, s))
        sim_slot_wipe(w, s);
}

static void jump_clock(struct sim_world *w, struct sim_slot *s)
{
    s->clock_us += some_time(w);
    s->timer_at_us = UINT64_MAX;
    if (s->node.up)
        sim_slot_arm_timer(w, s);
}

static void stall_disk(struct sim_world *w, struct sim_slot *s)
{
    if (sim_chance(&w->rng, 500))
        s->stalled_until_us = w->now_us + some_time(w);
    else
        s->disk_us = w->swarm.disk_us * (sim_chance(&w->rng, 500) ? 1 : 50);
}

void sim_fault_fill(struct sim_world *w, struct sim_slot *s, bool full)
{
    s->full = full;
    if (!s->node.up)
        return;
    struct raft_event e = {.kind = RAFT_DISK, .now_us = sim_slot_now(w, s), .disk = {full}};
    sim_world_trace_event(w, s, &e);
    sim_node_step(&s->node, &e, NULL);
}

/* ---- Links ---- */

enum cut { CUT_BOTH, CUT_INTO, CUT_OUT_OF };

static void cut_link(struct sim_world *w, uint32_t a, uint32_t b, enum cut cut, uint64_t for_us)
{
    if (cut != CUT_INTO)
        sim_net_block(w, a, b, for_us);
    if (cut != CUT_OUT_OF)
        sim_net_block(w, b, a, for_us);
}

static void isolate(struct sim_world *w, uint32_t slot, enum cut cut, uint64_t for_us)
{
    for (uint32_t i = 0; i < w->swarm.slots; i++)
        if (i != slot)
            cut_link(w, slot, i, cut, for_us);
}

/* Two sides that do not hear each other, perhaps with one node (the bridge) that hears both. */
static void split(struct sim_world *w, enum cut cut, bool with_bridge, uint64_t for_us)
{
    uint64_t sides = sim_rng_next(&w->rng);
    uint32_t bridge = with_bridge ? (uint32_t)sim_below(&w->rng, w->swarm.slots) : SIM_MAX_SLOTS;
    for (uint32_t a = 0; a < w->swarm.slots; a++)
        for (uint32_t b = 0; b < w->swarm.slots; b++)
            if (a != bridge && b != bridge && (sides >> a & 1) && !(sides >> b & 1))
                cut_link(w, a, b, cut, for_us);
}

static void partition(struct sim_world *w)
{
    enum cut cut = sim_chance(&w->rng, 500) ? CUT_BOTH : (enum cut)sim_below(&w->rng, 3);
    uint64_t for_us = some_time(w);
    struct sim_slot *leader = sim_some_leader(w);
    switch (sim_below(&w->rng, 5)) {
    case 0:
        isolate(w, leader ? leader->index : 0, cut, for_us);
        break;
    case 1:
        isolate(w, some_slot(w)->index, cut, for_us);
        break;
    case 2:
        split(w, cut, true, for_us);
        break;
    default:
        split(w, cut, false, for_us);
        break;
    }
}

static void flap(struct sim_world *w)
{
    uint32_t a = some_slot(w)->index;
    uint32_t b = some_slot(w)->index;
    if (a == b)
        return;
    cut_link(w, a, b, CUT_BOTH, 4 * some_time(w));
    w->flap_us[a][b] = w->flap_us[b][a] = sim_between(&w->rng, 1000, w->swarm.election_us);
}

static void lose_connection(struct sim_world *w)
{
    struct sim_slot *s = some_slot(w);
    struct sim_slot *peer = some_slot(w);
    if (s->node.up && s != peer)
        sim_world_schedule(w, 0,
                           (struct sim_event){.kind = SIM_LOST,
                                              .slot = s->index,
                                              .life = s->life,
                                              .boot = s->boots,
                                              .peer = peer->node.id});
}

/* ---- What a lease must survive (core/lease.c) ---- */

static void follow_up(struct sim_world *w, enum sim_fault fault, uint64_t within_us)
{
    sim_world_schedule(w, sim_between(&w->rng, 1, within_us),
                       (struct sim_event){.kind = SIM_NEMESIS, .fault = fault});
}

static void make_deaf(struct sim_world *w)
{
    struct sim_slot *leader = sim_some_leader(w);
    struct sim_slot *s = some_slot(w);
    if (!leader || s == leader)
        return;
    cut_link(w, leader->index, s->index, CUT_BOTH, 4 * (uint64_t)w->swarm.election_us);
    w->deaf = s->index;
    if (sim_chance(&w->rng, 500)) {
        follow_up(w, SIM_FAULT_RESET, 2 * (uint64_t)w->swarm.election_us);
        return;
    }
    for (int i = 0; i < 12; i++)
        follow_up(w, SIM_FAULT_REBOOT, 4 * (uint64_t)w->swarm.election_us);
}

static void notice_loss(struct sim_world *w, struct sim_slot *s, const struct sim_slot *peer)
{
    sim_world_schedule(w, sim_below(&w->rng, 1000),
                       (struct sim_event){.kind = SIM_LOST,
                                          .slot = s->index,
                                          .life = s->life,
                                          .boot = s->boots,
                                          .peer = peer->node.id});
}

static void reset_connections(struct sim_world *w)
{
    struct sim_slot *leader = sim_some_leader(w);
    if (!leader)
        return;
    isolate(w, leader->index, CUT_BOTH, 2 * (uint64_t)w->swarm.election_us);
    for (uint32_t i = 0; i < w->swarm.slots; i++)
        if (i != leader->index && w->slots[i].node.up)
            notice_loss(w, &w->slots[i], leader);
    w->hot_until_us = w->now_us + 2 * (uint64_t)w->swarm.lease_us;
}

static void reboot_others(struct sim_world *w)
{
    struct sim_slot *leader = sim_some_leader(w);
    for (uint32_t i = 0; i < w->swarm.slots && leader; i++) {
        struct sim_slot *s = &w->slots[i];
        if (s == leader || i == w->deaf || !s->node.up)
            continue;
        sim_slot_crash(w, s);
        sim_slot_boot(w, s);
    }
    w->hot_until_us = w->now_us + 2 * (uint64_t)w->swarm.lease_us;
}

/* ---- Members ---- */

void sim_change(struct sim_world *w, struct sim_slot *leader, enum raft_change_kind kind,
                const struct raft_member *member)
{
    struct raft_event e = {.kind = RAFT_CHANGE, .now_us = sim_slot_now(w, leader)};
    e.change.kind = kind;
    e.change.member = *member;
    sim_world_trace_event(w, leader, &e);
    sim_node_step(&leader->node, &e, NULL);
}

/* Whether the configuration without this voter would still have a majority with disks. */
static bool can_spare(const struct sim_world *w, const struct raft_config *config, raft_id id)
{
    struct raft_config rest = *config;
    for (uint32_t i = 0; i < rest.count; i++) {
        rest.members[i].voter &= rest.members[i].id != id;
        rest.members[i].voter_out = false;
    }
    struct lasting lasting = {.world = w};
    return sim_is_quorum(&rest, keeps_its_disk, &lasting);
}

static void change_member(struct sim_world *w, struct sim_slot *leader,
                          const struct raft_config *config)
{
    struct raft_member m = config->members[sim_below(&w->rng, config->count)];
    for (uint32_t i = 0; i < config->count; i++)
        if (sim_id_is_wiped(w, config->members[i].id) && sim_chance(&w->rng, 500))
            m = config->members[i];
    bool wiped = sim_id_is_wiped(w, m.id);
    uint64_t dice = sim_below(&w->rng, 10);
    if ((wiped || dice < 4) && can_spare(w, config, m.id)) {
        sim_change(w, leader, RAFT_CHANGE_REMOVE, &m);
    } else if (dice < 6 && !wiped) {
        sim_change(w, leader, RAFT_CHANGE_PROMOTE, &m);
    } else if (dice < 8 && can_spare(w, config, m.id)) {
        sim_change(w, leader, RAFT_CHANGE_DEMOTE, &m);
    } else {
        m.address[0] = (char)('1' + sim_below(&w->rng, 9));
        sim_change(w, leader, RAFT_CHANGE_ADDRESS, &m);
    }
}

/* A wiped machine comes back under its name, again perhaps, or is a new one. */
static void come_in(struct sim_world *w, struct sim_slot *leader, const struct raft_config *config,
                    const struct sim_slot *s)
{
    struct raft_member m = sim_world_member(s);
    struct raft_event e = {.kind = RAFT_CHANGE, .now_us = sim_slot_now(w, leader)};
    const struct raft_member *was = raft_config_find_name(config, m.name);
    for (uint32_t i = 0; i < config->count; i++)
        if (config->members[i].id % 10 == s->node.id % 10 && sim_chance(&w->rng, 500))
            was = &config->members[i];
    m.promote = sim_chance(&w->rng, 700);
    e.change.member = m;
    e.change.kind = was ? RAFT_CHANGE_REPLACE : RAFT_CHANGE_ADD;
    e.change.replaces = was ? was->id : 0;
    sim_world_trace_event(w, leader, &e);
    sim_node_step(&leader->node, &e, NULL);
}

static void change_members(struct sim_world *w)
{
    struct sim_slot *leader = sim_some_leader(w);
    if (!leader)
        return;
    const struct raft_config *config = raft_config(leader->node.core, &(uint64_t){0});
    struct sim_slot *s = some_slot(w);
    if (!raft_config_find(config, s->node.id))
        come_in(w, leader, config, s);
    else
        change_member(w, leader, config);
}

static void transfer(struct sim_world *w)
{
    struct sim_slot *leader = sim_some_leader(w);
    if (!leader)
        return;
    struct raft_event e = {.kind = RAFT_TRANSFER, .now_us = sim_slot_now(w, leader)};
    e.transfer.to = some_slot(w)->node.id;
    sim_world_trace_event(w, leader, &e);
    sim_node_step(&leader->node, &e, NULL);
    if (sim_chance(&w->rng, 300))
        follow_up(w, SIM_FAULT_RESET, 2 * w->swarm.net_us);
}

/* ---- When ---- */

static void schedule(struct sim_world *w, enum sim_fault fault)
{
    sim_world_schedule(w, sim_between(&w->rng, 1, 2 * w->swarm.fault_us[fault]),
                       (struct sim_event){.kind = SIM_NEMESIS, .fault = fault});
}

void sim_faults_start(struct sim_world *w)
{
    for (int f = 0; f < SIM_FAULTS; f++)
        if (w->swarm.fault_us[f])
            schedule(w, (enum sim_fault)f);
}

void sim_fault_strike(struct sim_world *w, enum sim_fault fault)
{
    if (w->settling)
        return;
    struct sim_slot *s = some_slot(w);
    switch (fault) {
    case SIM_FAULT_CRASH:
        sim_fault_crash(w, s);
        break;
    case SIM_FAULT_BLACKOUT:
        for (uint32_t i = 0; i < w->swarm.slots; i++)
            sim_fault_crash(w, &w->slots[i]);
        break;
    case SIM_FAULT_WIPE:
        wipe(w, s);
        break;
    case SIM_FAULT_PARTITION:
        partition(w);
        break;
    case SIM_FAULT_FLAP:
        flap(w);
        break;
    case SIM_FAULT_PAUSE:
        s->paused_until_us = w->now_us + some_time(w);
        break;
    case SIM_FAULT_CLOCK:
        jump_clock(w, s);
        break;
    case SIM_FAULT_STALL:
        stall_disk(w, s);
        break;
    case SIM_FAULT_LOST:
        lose_connection(w);
        break;
    case SIM_FAULT_CHANGE:
        change_members(w);
        break;
    case SIM_FAULT_TRANSFER:
        transfer(w);
        break;
    case SIM_FAULT_SNAPSHOT:
        if (sim_chance(&w->rng, 700))
            sim_snapshot_take(w, s);
        else if (s->node.up) /* it was needed a while ago */
            sim_snapshot_needed(w, s, s->applied + 1);
        break;
    case SIM_FAULT_DEAF:
        make_deaf(w);
        break;
    case SIM_FAULT_RESET:
        reset_connections(w);
        break;
    case SIM_FAULT_FULL:
        if (s->paused_until_us <= w->now_us)
            sim_fault_fill(w, s, !s->full);
        break;
    case SIM_FAULT_REBOOT:
        reboot_others(w);
        break;
    case SIM_FAULTS:
        break;
    }
    if (w->swarm.fault_us[fault])
        schedule(w, fault);
}
