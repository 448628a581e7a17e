/* SPDX-License-Identifier: MIT */
#include "script.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { MOST_STEPS = 100 * 1000 }; /* of one command: more is a loop */

/* ---- Making ---- */

static void on_wrote(void *ctx, struct sim_node *node, const struct sim_write *write)
{
    struct script_node *n = script_node(ctx, node->id);
    sim_write_text(n->wrote, write);
}

static void on_sent(void *ctx, struct sim_node *node, struct sim_packet *packet)
{
    struct script *s = ctx;
    (void)node;
    if (s->packet_count == s->packet_capacity) {
        s->packet_capacity = s->packet_capacity ? 2 * s->packet_capacity : 64;
        s->packets = memory_realloc(s->packets, s->packet_capacity * sizeof(s->packets[0]));
    }
    s->packets[s->packet_count++] = packet;
}

static void on_stepped(void *ctx, struct sim_node *node, const struct raft_event *event,
                       const struct raft_effects *out)
{
    struct script_node *n = script_node(ctx, node->id);
    (void)event;
    n->wake_at_us = out->wake_at_us;
    script_tell_step(ctx, n, out);
    script_check(ctx, n);
}

struct script *script_new(FILE *out)
{
    struct script *s = memory_zalloc(sizeof(*s));
    s->out = out;
    s->hooks =
        (struct sim_hooks){.ctx = s, .wrote = on_wrote, .sent = on_sent, .stepped = on_stepped};
    for (uint32_t i = 0; i < SCRIPT_NODES; i++) {
        struct raft_options options = {.id = i + 1,
                                       .heartbeat_us = SCRIPT_HEARTBEAT_US,
                                       .election_us = SCRIPT_ELECTION_US,
                                       .term_run_capacity = SCRIPT_TERMS,
                                       .entry_size_capacity = 4096};
        sim_node_init(&s->nodes[i].node, &options, &s->hooks, &s->configs, &s->effects);
        s->nodes[i].now_us = 1000 * 1000;
    }
    return s;
}

void script_free(struct script *s)
{
    for (uint32_t i = 0; i < SCRIPT_NODES; i++)
        sim_node_close(&s->nodes[i].node);
    for (uint32_t i = 0; i < s->packet_count; i++)
        memory_free(s->packets[i]);
    memory_free(s->packets);
    sim_log_close(&s->committed);
    sim_configs_clear(&s->configs);
    memory_free(s);
}

struct script_node *script_node(struct script *s, raft_id id)
{
    assert(id > 0 && id <= SCRIPT_NODES);
    return &s->nodes[id - 1];
}

struct raft_member script_member(raft_id id)
{
    struct raft_member m = {.id = id};
    snprintf(m.name, sizeof(m.name), "node%u", (unsigned)id);
    snprintf(m.address, sizeof(m.address), "node%u:7000", (unsigned)id);
    return m;
}

void script_format(struct script *s, raft_id id, const struct raft_config *config,
                   const uint64_t *terms, uint32_t count)
{
    struct sim_disk *disk = &script_node(s, id)->node.disk;
    uint8_t bytes[RAFT_MAX_CONFIG_BYTES];
    uint32_t length = (uint32_t)raft_config_encode(config, bytes, sizeof(bytes));
    struct sim_entry first = {.term = 1,
                              .kind = RAFT_ENTRY_CONFIG,
                              .bytes = length,
                              .config = sim_configs_add(&s->configs, bytes, length)};
    sim_log_truncate(&disk->log, 1);
    sim_log_append(&disk->log, &first);
    for (uint32_t i = 0; i < count; i++) {
        struct sim_entry e = {
            .term = terms[i], .kind = RAFT_ENTRY_COMMAND, .bytes = 100, .payload = ++s->payloads};
        sim_log_append(&disk->log, &e);
    }
    disk->hard.term = count ? terms[count - 1] : 1;
}

/* ---- Life ---- */

static void sync_disk(struct script_node *n)
{
    for (uint64_t id; !n->disk_held && sim_disk_begin(&n->node.disk, UINT32_MAX);) {
        while (sim_disk_finish(&n->node.disk, &id))
            continue;
        sim_node_persisted(&n->node, n->now_us, id);
    }
}

void script_boot(struct script *s, struct script_node *n, uint64_t applied)
{
    if (applied <= s->committed.last)
        sim_node_align(&n->node, applied, s->committed.entries);
    const struct sim_disk *disk = &n->node.disk;
    n->node.options.seed = n->node.id * 1000 + ++n->boots; /* jitter differs from boot to boot */
    n->role = RAFT_FOLLOWER;
    n->term = disk->hard.term;
    n->leader = 0;
    n->commit = applied;
    n->config_index = sim_log_config_index(&disk->log, disk->log.last);
    sim_node_boot(&n->node, n->now_us, applied);
    sync_disk(n);
}

void script_crash(struct script_node *n, bool unsynced_survives)
{
    if (unsynced_survives)
        sim_disk_begin(&n->node.disk, UINT32_MAX);
    sim_node_crash(&n->node, unsynced_survives);
}

void script_step(struct script_node *n, struct raft_event *event, const struct sim_entry *entries)
{
    event->now_us = n->now_us;
    sim_node_step(&n->node, event, entries);
    sync_disk(n);
}

void script_arrive(struct script_node *n, const struct sim_packet *packet)
{
    sim_node_deliver(&n->node, n->now_us, packet);
    sync_disk(n);
}

void script_persist(struct script_node *n, uint32_t most)
{
    uint64_t id;
    if (!sim_disk_begin(&n->node.disk, most))
        return;
    while (sim_disk_finish(&n->node.disk, &id))
        continue;
    sim_node_persisted(&n->node, n->now_us, id);
    sync_disk(n);
}

void script_install(struct script *s, struct script_node *n, uint64_t index)
{
    sim_node_install(&n->node, n->now_us, index, s->committed.entries);
    sync_disk(n);
}

/* ---- Links ---- */

static bool matches(const struct script_filter *f, const struct raft_msg *m)
{
    bool on_link = f->link_count == 0;
    for (uint32_t i = 0; i < f->link_count; i++)
        on_link |= (f->links[i].from == 0 || f->links[i].from == m->from) &&
                   (f->links[i].to == 0 || f->links[i].to == m->to);
    return on_link && (f->kinds == 0 || f->kinds & 1u << m->kind);
}

/* The oldest message in flight that matches, from place `from` on, or UINT32_MAX. */
static uint32_t find_packet(const struct script *s, const struct script_filter *f, uint32_t from)
{
    for (uint32_t k = from; k < s->packet_count; k++)
        if (matches(f, &s->packets[k]->msg))
            return k;
    return UINT32_MAX;
}

static struct sim_packet *take_packet(struct script *s, uint32_t k)
{
    struct sim_packet *p = s->packets[k];
    s->packet_count--;
    memmove(s->packets + k, s->packets + k + 1, (s->packet_count - k) * sizeof(s->packets[0]));
    return p;
}

/* What is sent over a cut link, or to a node that is down, is lost without a word. */
static void deliver_one(struct script *s, struct sim_packet *p)
{
    struct script_node *to = script_node(s, p->msg.to);
    if (to->node.up && !s->cut[p->msg.from][p->msg.to]) {
        script_tell_message(s, "", &p->msg);
        script_arrive(to, p);
    }
    memory_free(p);
}

void script_deliver(struct script *s, struct script_filter f, bool with_answers)
{
    uint32_t in_flight = 0;
    for (uint32_t k = 0; k < s->packet_count; k++)
        in_flight += matches(&f, &s->packets[k]->msg);
    uint32_t most = f.most ? f.most : with_answers ? MOST_STEPS : in_flight;
    for (uint32_t k; most > 0 && (k = find_packet(s, &f, 0)) != UINT32_MAX; most--)
        deliver_one(s, take_packet(s, k));
    if (most == 0 && with_answers && !f.most) {
        fprintf(s->out, "  BROKEN: messages breed messages without end\n");
        s->broken = true;
    }
}

void script_drop(struct script *s, struct script_filter f)
{
    uint32_t most = f.most ? f.most : UINT32_MAX;
    for (uint32_t k; most > 0 && (k = find_packet(s, &f, 0)) != UINT32_MAX; most--) {
        struct sim_packet *p = take_packet(s, k);
        script_tell_message(s, "dropped ", &p->msg);
        memory_free(p);
    }
}

void script_duplicate(struct script *s, struct script_filter f)
{
    uint32_t count = s->packet_count, most = f.most ? f.most : count;
    for (uint32_t k = 0; k < count && most > 0; k++) {
        if (!matches(&f, &s->packets[k]->msg))
            continue;
        on_sent(s, NULL, sim_packet_copy(s->packets[k]));
        most--;
    }
}

/* ---- Time ---- */

/* The node whose timer is due first, and how long until then; NULL if none is within the time. */
static struct script_node *next_timer(struct script *s, raft_id only, uint64_t within_us,
                                      uint64_t *in_us)
{
    struct script_node *first = NULL;
    *in_us = within_us;
    for (uint32_t i = 0; i < SCRIPT_NODES; i++) {
        struct script_node *n = &s->nodes[i];
        if (!n->node.up || (only && n->node.id != only))
            continue;
        uint64_t in = n->wake_at_us > n->now_us ? n->wake_at_us - n->now_us : 0;
        if (in < *in_us || (in == *in_us && !first)) {
            *in_us = in;
            first = n;
        }
    }
    return first;
}

void script_pass(struct script *s, raft_id only, uint64_t left_us, bool deliver)
{
    const struct script_filter all = {0};
    uint32_t steps = MOST_STEPS;
    for (bool due = true; due && steps > 0; steps--) {
        uint64_t in_us;
        if (deliver)
            script_deliver(s, all, true);
        struct script_node *n = next_timer(s, only, left_us, &in_us);
        for (uint32_t i = 0; i < SCRIPT_NODES; i++)
            if (!only || s->nodes[i].node.id == only)
                s->nodes[i].now_us += in_us;
        left_us -= in_us;
        due = n != NULL;
        if (due)
            script_step(n, &(struct raft_event){.kind = RAFT_TICK}, NULL);
    }
    if (steps == 0) {
        fprintf(s->out, "  BROKEN: a timer fires without end\n");
        s->broken = true;
    }
}

void script_campaign(struct script_node *n)
{
    uint64_t until_us = n->now_us + SCRIPT_PATIENCE_US;
    enum raft_role role = raft_role(n->node.core);
    do { /* it looks up now and then, and is late for nothing */
        if (n->wake_at_us > n->now_us)
            n->now_us = n->wake_at_us < until_us ? n->wake_at_us : until_us;
        script_step(n, &(struct raft_event){.kind = RAFT_TICK}, NULL);
    } while (n->now_us < until_us && raft_role(n->node.core) == role &&
             n->node.out->send_count == 0);
}
