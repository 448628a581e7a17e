/* SPDX-License-Identifier: MIT */
#include "sim_node.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"

struct sim_packet *sim_packet_copy(const struct sim_packet *packet)
{
    uint32_t count = packet->msg.kind == RAFT_MSG_APPEND ? packet->msg.append.count : 0;
    size_t bytes = sizeof(*packet) + count * sizeof(packet->entries[0]);
    struct sim_packet *copy = memory_alloc(bytes);
    memcpy(copy, packet, bytes);
    return copy;
}

void sim_node_init(struct sim_node *n, const struct raft_options *options,
                   const struct sim_hooks *hooks, struct sim_configs *configs,
                   struct raft_effects *out)
{
    *n = (struct sim_node){.id = options->id,
                           .hooks = hooks,
                           .configs = configs,
                           .options = *options,
                           .core_bytes = raft_bytes(options),
                           .out = out};
    n->core = memory_alloc(n->core_bytes);
    sim_disk_init(&n->disk);
}

void sim_node_close(struct sim_node *n)
{
    sim_disk_close(&n->disk);
    sim_log_close(&n->log);
    memory_free(n->held);
    memory_free(n->core);
    *n = (struct sim_node){0};
}

/* ---- Sending ---- */

static void send_now(struct sim_node *n, const struct raft_msg *msg)
{
    uint32_t count = msg->kind == RAFT_MSG_APPEND ? msg->append.count : 0;
    struct sim_packet *p = memory_alloc(sizeof(*p) + count * sizeof(p->entries[0]));
    p->msg = *msg;
    assert(count == 0 || msg->append.prev_index >= n->log.base);
    for (uint32_t i = 0; i < count; i++)
        p->entries[i] = *sim_log_at(&n->log, msg->append.prev_index + 1 + i);
    n->hooks->sent(n->hooks->ctx, n, p);
}

static void hold(struct sim_node *n, const struct raft_send *send)
{
    if (n->held_count == n->held_capacity) {
        n->held_capacity = n->held_capacity ? 2 * n->held_capacity : 16;
        n->held = memory_realloc(n->held, n->held_capacity * sizeof(n->held[0]));
    }
    n->held[n->held_count++] = *send;
}

static void release_held(struct sim_node *n)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n->held_count; i++) {
        if (n->held[i].after_write <= n->durable_write)
            send_now(n, &n->held[i].msg);
        else
            n->held[kept++] = n->held[i];
    }
    n->held_count = kept;
}

static void send_all(struct sim_node *n)
{
    for (uint32_t i = 0; i < n->out->send_count; i++) {
        const struct raft_send *s = &n->out->sends[i];
        if (s->after_write <= n->durable_write)
            send_now(n, &s->msg);
        else
            hold(n, s);
    }
}

/* ---- Writing ---- */

/* The k-th entry that this step's write appends. */
static struct sim_entry written_entry(struct sim_node *n, uint32_t k,
                                      const struct raft_event *event,
                                      const struct sim_entry *entries)
{
    const struct raft_write *w = &n->out->write;
    struct sim_entry e = {.term = w->term, .kind = w->own_kind, .bytes = w->own_bytes};
    if (w->own_kind) {
        if (w->own_kind == RAFT_ENTRY_CONFIG)
            e.config = sim_configs_add(n->configs, w->own, w->own_bytes);
        assert(e.config || w->own_kind != RAFT_ENTRY_CONFIG);
        return e;
    }
    assert(entries);
    e = entries[w->skip + k];
    if (event->kind == RAFT_PROPOSE)
        e.term = w->term;
    return e;
}

static void write_log(struct sim_node *n, const struct raft_event *event,
                      const struct sim_entry *entries)
{
    const struct raft_write *out = &n->out->write;
    if (out->id == 0)
        return;
    struct sim_write *w = memory_alloc(sizeof(*w) + out->count * sizeof(w->entries[0]));
    *w = (struct sim_write){.id = out->id,
                            .truncate_from = out->truncate_from,
                            .first = out->first,
                            .reserve = out->reserve,
                            .has_hard = out->has_hard,
                            .hard = out->hard,
                            .count = out->count};
    for (uint32_t k = 0; k < w->count; k++)
        w->entries[k] = written_entry(n, k, event, entries);
    if (out->restart_index) {
        assert(event->kind == RAFT_INSTALLED && out->restart_index == event->installed.index);
        w->restart_index = out->restart_index;
        w->prefix = memory_alloc(w->restart_index * sizeof(*entries));
        memcpy(w->prefix, entries, w->restart_index * sizeof(*entries));
    }
    n->hooks->wrote(n->hooks->ctx, n, w);
    if (w->restart_index)
        sim_log_restart(&n->log, w->prefix, w->restart_index);
    if (w->truncate_from)
        sim_log_truncate(&n->log, w->truncate_from);
    for (uint32_t k = 0; k < w->count; k++)
        sim_log_append(&n->log, &w->entries[k]);
    sim_disk_submit(&n->disk, w);
}

/* ---- Steps ---- */

void sim_node_step(struct sim_node *n, const struct raft_event *event,
                   const struct sim_entry *entries)
{
    assert(n->up);
    raft_step(n->core, event, n->out);
    if (event->kind == RAFT_PERSISTED)
        n->durable_write = event->persisted.write_id;
    write_log(n, event, entries);
    release_held(n);
    send_all(n);
    n->hooks->stepped(n->hooks->ctx, n, event, n->out);
}

void sim_node_deliver(struct sim_node *n, uint64_t now_us, const struct sim_packet *packet)
{
    struct raft_entry_meta metas[RAFT_MAX_APPEND_ENTRIES];
    struct raft_msg msg = packet->msg;
    if (msg.kind == RAFT_MSG_APPEND) {
        for (uint32_t i = 0; i < msg.append.count; i++) {
            const struct sim_entry *e = &packet->entries[i];
            metas[i] = (struct raft_entry_meta){.term = e->term,
                                                .bytes = e->bytes,
                                                .kind = e->kind,
                                                .config = e->config ? e->config->data : NULL};
        }
        msg.append.entries = metas;
    }
    sim_node_step(n, &(struct raft_event){.kind = RAFT_MESSAGE, .now_us = now_us, .message = &msg},
                  packet->entries);
}

void sim_node_compact(struct sim_node *n, uint64_t index, uint64_t disk_index)
{
    assert(disk_index <= index);
    raft_compacted(n->core, index);
    sim_log_compact(&n->log, index);
    sim_log_compact(&n->disk.log, disk_index);
}

static uint64_t newest_config(const struct sim_entry *prefix, uint64_t index)
{
    while (index > 0 && prefix[index - 1].kind != RAFT_ENTRY_CONFIG)
        index--;
    return index;
}

void sim_node_install(struct sim_node *n, uint64_t now_us, uint64_t index,
                      const struct sim_entry *prefix)
{
    uint64_t config = newest_config(prefix, index);
    struct raft_event e = {.kind = RAFT_INSTALLED, .now_us = now_us};
    e.installed.index = index;
    e.installed.term = prefix[index - 1].term;
    e.installed.config_index = config;
    e.installed.config = &prefix[config - 1].config->decoded;
    sim_node_step(n, &e, prefix);
}

void sim_node_persisted(struct sim_node *n, uint64_t now_us, uint64_t write_id)
{
    sim_node_step(
        n, &(struct raft_event){.kind = RAFT_PERSISTED, .now_us = now_us, .persisted = {write_id}},
        NULL);
}

/* ---- Life ---- */

/* The log's runs of terms; the caller frees them. */
static struct raft_term_run *term_runs(const struct sim_log *log, uint32_t *count)
{
    struct raft_term_run *runs = memory_alloc((log->last + 1) * sizeof(*runs));
    *count = 0;
    for (uint64_t i = log->base + 1; i <= log->last; i++)
        if (i == log->base + 1 || sim_log_term(log, i) != sim_log_term(log, i - 1))
            runs[(*count)++] = (struct raft_term_run){.first = i, .term = sim_log_term(log, i)};
    return runs;
}

bool sim_node_align(struct sim_node *n, uint64_t index, const struct sim_entry *prefix)
{
    struct sim_log *log = &n->disk.log;
    assert(index >= log->base);
    if (index == 0 || sim_log_term(log, index) == prefix[index - 1].term)
        return false;
    sim_log_restart(log, prefix, index);
    return true;
}

void sim_node_boot(struct sim_node *n, uint64_t now_us, uint64_t applied_index)
{
    const struct sim_log *log = &n->disk.log;
    assert(!n->up && log->base <= applied_index && applied_index <= log->last);
    n->up = true;
    n->durable_write = 0;
    sim_log_restart(&n->log, log->entries, log->last);
    n->log.base = log->base;

    struct raft_event start = {.kind = RAFT_START, .now_us = now_us};
    start.start.hard = n->disk.hard;
    start.start.base_index = log->base;
    start.start.base_term = sim_log_term(log, log->base);
    start.start.last_index = log->last;
    start.start.applied_index = applied_index;
    struct raft_term_run *runs = term_runs(log, &start.start.run_count);
    start.start.runs = runs;
    uint64_t config = sim_log_config_index(log, log->last);
    uint64_t previous = config > applied_index ? sim_log_config_index(log, config - 1) : 0;
    const struct raft_config none = {0};
    start.start.config_index = config;
    start.start.config = config ? &sim_log_at(log, config)->config->decoded : &none;
    start.start.previous_config_index = previous;
    start.start.previous_config = previous ? &sim_log_at(log, previous)->config->decoded : &none;

    memset(n->core, 0xa5, n->core_bytes); /* a core must not rely on zeroed memory */
    n->core = raft_init(n->core, &n->options);
    sim_node_step(n, &start, NULL);
    memory_free(runs);
}

void sim_node_crash(struct sim_node *n, bool batch_survives)
{
    n->up = false;
    n->held_count = 0;
    sim_disk_crash(&n->disk, batch_survives);
}
