/* SPDX-License-Identifier: MIT */
#include "sim_world.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "sim_text.h"

/* ---- The heap of events ---- */

static bool sooner(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void heap_push(struct sim_heap *h, struct sim_event event)
{
    if (h->count == h->capacity) {
        h->capacity = h->capacity ? 2 * h->capacity : 256;
        h->events = memory_realloc(h->events, h->capacity * sizeof(h->events[0]));
    }
    event.order = h->orders++;
    uint32_t at = h->count++;
    for (; at > 0 && sooner(&event, &h->events[(at - 1) / 2]); at = (at - 1) / 2)
        h->events[at] = h->events[(at - 1) / 2];
    h->events[at] = event;
}

static struct sim_event heap_pop(struct sim_heap *h)
{
    struct sim_event top = h->events[0];
    struct sim_event moved = h->events[--h->count];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child + 1 < h->count && sooner(&h->events[child + 1], &h->events[child]))
            child++;
        if (child >= h->count || !sooner(&h->events[child], &moved))
            break;
        h->events[at] = h->events[child];
        at = child;
    }
    if (h->count)
        h->events[at] = moved;
    return top;
}

static void heap_clear(struct sim_heap *h)
{
    for (uint32_t i = 0; i < h->count; i++)
        if (h->events[i].kind == SIM_PACKET)
            memory_free(h->events[i].packet);
    h->count = 0;
    h->orders = 0;
}

void sim_world_schedule(struct sim_world *w, uint64_t delay_us, struct sim_event event)
{
    event.at_us = w->now_us + delay_us;
    heap_push(&w->heap, event);
}

/* ---- Failing, remembering ---- */

void sim_world_fail(struct sim_world *w, const char *format, ...)
{
    if (w->failed)
        return; /* the first is the cause */
    w->failed = true;
    va_list args;
    va_start(args, format);
    vsnprintf(w->failure, sizeof(w->failure), format, args);
    va_end(args);
    sim_trace_line(&w->trace, "FAILED: %s", w->failure);
}

static void remember(struct sim_world *w, uint64_t what)
{
    w->hash = sim_mix(w->hash ^ what) + 0x9e3779b97f4a7c15u;
}

/* ---- Slots ---- */

static raft_id slot_id(const struct sim_slot *s)
{
    return 10 * s->life + s->index + 1;
}

struct sim_slot *sim_world_find(struct sim_world *w, raft_id id)
{
    uint64_t index = id % 10;
    if (index == 0 || index > w->swarm.slots || w->slots[index - 1].node.id != id)
        return NULL;
    return &w->slots[index - 1];
}

bool sim_id_is_wiped(const struct sim_world *w, raft_id id)
{
    return w->slots[id % 10 - 1].node.id != id;
}

struct raft_member sim_world_member(const struct sim_slot *s)
{
    struct raft_member m = {.id = s->node.id};
    snprintf(m.name, sizeof(m.name), "node%u", s->index + 1);
    snprintf(m.address, sizeof(m.address), "10.0.0.%u:8001", s->index + 1);
    return m;
}

uint64_t sim_slot_now(const struct sim_world *w, const struct sim_slot *s)
{
    int64_t drift_us = (int64_t)w->now_us * s->drift_ppm / 1000000;
    return w->now_us + s->clock_us + (uint64_t)drift_us;
}

static struct sim_event own_event(const struct sim_slot *s, enum sim_event_kind kind)
{
    return (struct sim_event){.kind = kind, .slot = s->index, .life = s->life, .boot = s->boots};
}

void sim_slot_arm_timer(struct sim_world *w, struct sim_slot *s)
{
    uint64_t now_us = sim_slot_now(w, s);
    if (s->wake_at_us == UINT64_MAX)
        return;
    uint64_t delay_us = s->wake_at_us > now_us ? s->wake_at_us - now_us : 0;
    delay_us = delay_us * 1000000 / (uint64_t)(1000000 + s->drift_ppm);
    delay_us += sim_below(&w->rng, 1000); /* timers fire late */
    if (w->now_us + delay_us >= s->timer_at_us)
        return;
    s->timer_at_us = w->now_us + delay_us;
    sim_world_schedule(w, delay_us, own_event(s, SIM_TIMER));
}

static void feed_disk(struct sim_world *w, struct sim_slot *s)
{
    uint32_t queued = s->node.disk.queued;
    if (!queued || !sim_disk_begin(&s->node.disk, (uint32_t)sim_between(&w->rng, 1, queued)))
        return;
    uint64_t delay_us = sim_delay(&w->rng, s->disk_us);
    if (s->stalled_until_us > w->now_us)
        delay_us += s->stalled_until_us - w->now_us;
    sim_world_schedule(w, delay_us, own_event(s, SIM_DISK));
}

/* ---- What the nodes tell ---- */

static struct sim_slot *slot_of(struct sim_node *n)
{
    return (struct sim_slot *)(void *)((char *)n - offsetof(struct sim_slot, node));
}

static void on_wrote(void *ctx, struct sim_node *n, const struct sim_write *write)
{
    struct sim_world *w = ctx;
    if (w->trace.mode) {
        char text[SIM_TEXT_BYTES];
        sim_write_text(text, write);
        sim_trace_line(&w->trace, "%28s%s", "", text);
    }
    remember(w, write->id);
    remember(w, write->first + write->count);
    sim_check_write(w, slot_of(n), write);
}

static void on_sent(void *ctx, struct sim_node *n, struct sim_packet *packet)
{
    struct sim_world *w = ctx;
    if (w->trace.mode) {
        char text[SIM_TEXT_BYTES];
        sim_msg_text(text, &packet->msg);
        sim_trace_line(&w->trace, "%28s> %s", "", text);
    }
    remember(w, packet->msg.kind * 1000 + packet->msg.to);
    remember(w, packet->msg.term);
    sim_check_send(w, slot_of(n), &packet->msg);
    sim_net_send(w, slot_of(n), packet);
}

static void trace_step(struct sim_world *w, const struct sim_slot *s,
                       const struct raft_effects *out)
{
    const struct raft *core = s->node.core;
    if (raft_role(core) != s->role || raft_term(core) != s->term)
        sim_trace_line(&w->trace, "%28sis now %c t%" PRIu64 " leader %" PRIu64, "",
                       sim_role_text(raft_role(core)), raft_term(core), raft_leader(core));
    if (raft_commit_index(core) != s->commit)
        sim_trace_line(&w->trace, "%28scommit %" PRIu64, "", raft_commit_index(core));
    if (out->refusal)
        sim_trace_line(&w->trace, "%28srefused: %s", "", sim_refusal_text(out->refusal));
    for (uint32_t i = 0; i < out->read_count; i++)
        sim_trace_line(&w->trace, "%28sread %" PRIu64 " %s at %" PRIu64, "", out->reads[i].token,
                       out->reads[i].ok ? "done" : "failed", out->reads[i].index);
}

static void on_stepped(void *ctx, struct sim_node *n, const struct raft_event *event,
                       const struct raft_effects *out)
{
    struct sim_world *w = ctx;
    struct sim_slot *s = slot_of(n);
    w->steps++;
    if (w->trace.mode)
        trace_step(w, s, out);
    remember(w, event->kind * 1000 + n->id);
    remember(w, w->now_us);
    remember(w, out->commit_index ^ out->wake_at_us << 20);
    sim_check_step(w, s, out);
    sim_client_reads_done(w, s, out);
    if (out->need_snapshot_index)
        sim_snapshot_needed(w, s, out->need_snapshot_index);
    s->wake_at_us = out->wake_at_us;
    sim_slot_arm_timer(w, s);
    feed_disk(w, s);
}

/* ---- Life and death ---- */

static void slot_start(struct sim_world *w, struct sim_slot *s)
{
    struct raft_options options = {.id = slot_id(s),
                                   .seed = sim_rng_next(&w->rng),
                                   .heartbeat_us = w->swarm.heartbeat_us,
                                   .election_us = w->swarm.election_us,
                                   .lease_us = w->swarm.lease_us,
                                   .grant_us = w->swarm.grant_us,
                                   .lease = w->swarm.lease_us && sim_chance(&w->rng, 800),
                                   .term_run_capacity = 512,
                                   .entry_size_capacity = 4096};
    sim_node_init(&s->node, &options, &w->hooks, &w->configs, &w->effects);
    s->durable_term = 0;
    s->applied = 0;
    s->stored = 0;
    s->snapshot = 0;
}

void sim_slot_boot(struct sim_world *w, struct sim_slot *s)
{
    if (s->node.up)
        return;
    /* The state machine syncs when it likes, so it remembers anything up to what it had applied. */
    const struct sim_disk *disk = &s->node.disk;
    uint64_t applied = sim_between(&w->rng, s->stored, s->applied);
    struct sim_entry *prefix = sim_committed_prefix(w, applied);
    if (sim_node_align(&s->node, applied, prefix))
        s->stored = applied; /* it is synced first, or the next crash would leave a gap */
    memory_free(prefix);
    s->applied = applied;
    s->fetching = false;
    s->boots++;
    s->timer_at_us = UINT64_MAX;
    s->paused_until_us = 0;
    s->role = RAFT_FOLLOWER;
    s->term = disk->hard.term;
    s->commit = applied;
    s->config_index = sim_log_config_index(&disk->log, disk->log.last);
    sim_trace_line(&w->trace,
                   "%12.6f node %-4" PRIu64 "        boots: t%" PRIu64 " vote %" PRIu64
                   " base %" PRIu64 " last %" PRIu64 " applied %" PRIu64,
                   (double)w->now_us / 1e6, s->node.id, disk->hard.term, disk->hard.vote,
                   disk->log.base, disk->log.last, applied);
    sim_node_boot(&s->node, sim_slot_now(w, s), applied);
    if (s->full)
        sim_fault_fill(w, s, true);
}

void sim_slot_crash(struct sim_world *w, struct sim_slot *s)
{
    if (!s->node.up)
        return;
    bool survives = sim_chance(&w->rng, 500);
    sim_trace_line(&w->trace,
                   "%12.6f node %-4" PRIu64 "        CRASHES, its batch in flight (%u) %s",
                   (double)w->now_us / 1e6, s->node.id, s->node.disk.in_flight,
                   survives ? "survives" : "is lost");
    sim_node_crash(&s->node, survives);
    sim_check_disk(w, s);
    sim_client_lost(w, s);
    sim_net_died(w, s);
    s->boots++; /* voids the events of the dead process */
}

void sim_slot_wipe(struct sim_world *w, struct sim_slot *s)
{
    assert(s->life + 1 < SIM_MAX_LIVES);
    sim_slot_crash(w, s);
    sim_node_close(&s->node);
    s->life++;
    slot_start(w, s);
    sim_trace_line(&w->trace, "%12.6f node %-4" PRIu64 "        is what a WIPED machine became",
                   (double)w->now_us / 1e6, s->node.id);
    sim_slot_boot(w, s);
}

/* ---- Turns ---- */

void sim_world_trace_event(struct sim_world *w, const struct sim_slot *s,
                           const struct raft_event *e)
{
    if (w->trace.mode == SIM_TRACE_OFF)
        return;
    char text[SIM_TEXT_BYTES];
    sim_event_text(text, e);
    sim_trace_line(&w->trace, "%12.6f node %-4" PRIu64 " %c t%-4" PRIu64 " %s",
                   (double)w->now_us / 1e6, s->node.id, sim_role_text(s->role), s->term, text);
}

static void packet_arrives(struct sim_world *w, struct sim_slot *s, const struct sim_packet *p)
{
    sim_world_trace_event(w, s, &(struct raft_event){.kind = RAFT_MESSAGE, .message = &p->msg});
    sim_node_deliver(&s->node, sim_slot_now(w, s), p);
}

static void timer_fires(struct sim_world *w, struct sim_slot *s)
{
    if (s->timer_at_us != w->now_us)
        return; /* an earlier one has taken its place */
    s->timer_at_us = UINT64_MAX;
    bool early = sim_chance(&w->rng, 20);
    if (s->wake_at_us > sim_slot_now(w, s) && !early) {
        sim_slot_arm_timer(w, s);
        return;
    }
    struct raft_event tick = {.kind = RAFT_TICK, .now_us = sim_slot_now(w, s)};
    sim_world_trace_event(w, s, &tick);
    sim_node_step(&s->node, &tick, NULL);
}

static void disk_finishes(struct sim_world *w, struct sim_slot *s)
{
    struct raft_event done = {.kind = RAFT_PERSISTED};
    /* One by one: a batch may hold a vote and the next term, and that vote was given too. */
    while (sim_disk_finish(&s->node.disk, &done.persisted.write_id))
        sim_check_disk(w, s);
    sim_world_trace_event(w, s, &done);
    sim_node_persisted(&s->node, sim_slot_now(w, s), done.persisted.write_id);
}

static void peer_is_lost(struct sim_world *w, struct sim_slot *s, raft_id peer)
{
    struct raft_event lost = {.kind = RAFT_PEER_LOST, .now_us = sim_slot_now(w, s)};
    lost.lost.peer = peer;
    sim_world_trace_event(w, s, &lost);
    sim_node_step(&s->node, &lost, NULL);
}

/* Whether the event is for the process that is running; a packet only needs the same node. */
static bool reaches(const struct sim_slot *s, const struct sim_event *e)
{
    if (e->life != s->life)
        return false;
    if (e->kind == SIM_BOOT)
        return !s->node.up;
    return s->node.up && (e->kind == SIM_PACKET || e->boot == s->boots);
}

static void take_event(struct sim_world *w, const struct sim_event *e)
{
    struct sim_slot *s = &w->slots[e->slot];
    switch (e->kind) {
    case SIM_PACKET:
        packet_arrives(w, s, e->packet);
        break;
    case SIM_TIMER:
        timer_fires(w, s);
        break;
    case SIM_DISK:
        disk_finishes(w, s);
        break;
    case SIM_LOST:
        peer_is_lost(w, s, e->peer);
        break;
    case SIM_BOOT:
        sim_slot_boot(w, s);
        break;
    case SIM_FETCHED:
        sim_snapshot_fetched(w, s, e->index);
        break;
    case SIM_INSTALLED:
        sim_snapshot_installed(w, s, e->index);
        break;
    case SIM_CLIENT:
        sim_client_act(w);
        break;
    case SIM_NEMESIS:
        sim_fault_strike(w, e->fault);
        break;
    }
}

bool sim_world_turn(struct sim_world *w)
{
    if (w->failed || w->heap.count == 0)
        return false;
    struct sim_event e = heap_pop(&w->heap);
    struct sim_slot *s = &w->slots[e.slot];
    bool of_a_node = e.kind != SIM_CLIENT && e.kind != SIM_NEMESIS;
    w->now_us = e.at_us;
    if (of_a_node && reaches(s, &e) && s->paused_until_us > w->now_us && e.kind != SIM_BOOT) {
        if (e.kind == SIM_TIMER && s->timer_at_us == w->now_us)
            s->timer_at_us = s->paused_until_us;
        sim_world_schedule(w, s->paused_until_us - w->now_us, e); /* in order when it wakes */
        return true;
    }
    if (!of_a_node || reaches(s, &e)) {
        take_event(w, &e);
        sim_client_would_read(w);
    }
    if (e.kind == SIM_PACKET)
        memory_free(e.packet);
    return !w->failed;
}

/* ---- Worlds ---- */

struct sim_world *sim_world_new(void)
{
    struct sim_world *w = memory_zalloc(sizeof(*w));
    w->hooks =
        (struct sim_hooks){.ctx = w, .wrote = on_wrote, .sent = on_sent, .stepped = on_stepped};
    return w;
}

static void clear(struct sim_world *w)
{
    heap_clear(&w->heap);
    for (uint32_t i = 0; i < SIM_MAX_SLOTS; i++) {
        sim_node_close(&w->slots[i].node);
        w->slots[i] = (struct sim_slot){.index = i};
    }
    sim_configs_clear(&w->configs);
    struct sim_history *h = &w->history;
    sim_map_clear(&h->entries);
    sim_map_clear(&h->votes);
    sim_map_clear(&h->leaders);
    sim_map_clear(&h->places);
    h->commit = 0;
    h->config_count = 0;
    h->elections = 0;
    h->installed = 0;
    w->client.op_count = 0;
    w->client.read_count = 0;
    w->client.tokens = 0;
    w->client.acked = 0;
    w->client.reads_done = 0;
    memset(w->blocked_until_us, 0, sizeof(w->blocked_until_us));
    memset(w->flap_us, 0, sizeof(w->flap_us));
    memset(w->bulk_at_us, 0, sizeof(w->bulk_at_us));
    memset(w->stuck_until_us, 0, sizeof(w->stuck_until_us));
    w->now_us = 0;
    w->steps = 0;
    w->hash = 0;
    w->hot_until_us = 0;
    w->settling = false;
    w->busy = false;
    w->failed = false;
}

void sim_world_free(struct sim_world *w)
{
    clear(w);
    memory_free(w->heap.events);
    sim_map_close(&w->history.entries);
    sim_map_close(&w->history.votes);
    sim_map_close(&w->history.leaders);
    sim_map_close(&w->history.places);
    memory_free(w->history.committed);
    memory_free(w->history.configs);
    memory_free(w->client.ops);
    memory_free(w);
}

/* The founders share one committed entry, their configuration; the other slots are empty. */
static void found_cluster(struct sim_world *w)
{
    struct raft_config config = {.count = w->swarm.founders};
    for (uint32_t i = 0; i < w->swarm.slots; i++) {
        slot_start(w, &w->slots[i]);
        w->slots[i].disk_us = w->swarm.disk_us;
        w->slots[i].clock_us = sim_between(&w->rng, 1000000, 10000000);
        w->slots[i].drift_ppm = (int32_t)sim_below(&w->rng, 2 * w->swarm.drift_ppm + 1);
        w->slots[i].drift_ppm -= (int32_t)w->swarm.drift_ppm;
    }
    for (uint32_t i = 0; i < config.count; i++) {
        config.members[i] = sim_world_member(&w->slots[i]);
        config.members[i].voter = true;
    }
    uint8_t bytes[RAFT_MAX_CONFIG_BYTES];
    uint32_t length = (uint32_t)raft_config_encode(&config, bytes, sizeof(bytes));
    struct sim_entry first = {.term = 1,
                              .kind = RAFT_ENTRY_CONFIG,
                              .bytes = length,
                              .config = sim_configs_add(&w->configs, bytes, length)};
    for (uint32_t i = 0; i < w->swarm.founders; i++) {
        sim_log_append(&w->slots[i].node.disk.log, &first);
        w->slots[i].node.disk.hard.term = first.term;
        w->slots[i].applied = 1;
    }
    sim_check_founded(w, &first);
}

void sim_world_found(struct sim_world *w, uint64_t seed,
                     void (*draw)(struct sim_swarm *swarm, struct sim_rng *rng))
{
    clear(w);
    w->seed = seed;
    w->rng.state = sim_mix(seed + 1);
    draw(&w->swarm, &w->rng);
    found_cluster(w);
    for (uint32_t i = 0; i < w->swarm.slots; i++)
        sim_slot_boot(w, &w->slots[i]);
    sim_faults_start(w);
    sim_world_schedule(w, w->swarm.election_us, (struct sim_event){.kind = SIM_CLIENT});
}

bool sim_world_play(struct sim_world *w, uint64_t seed)
{
    sim_world_found(w, seed, sim_swarm_draw);
    while (w->steps < w->swarm.steps && sim_world_turn(w))
        continue;
    if (!w->failed)
        sim_settle(w);
    return !w->failed;
}
