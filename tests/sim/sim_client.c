/* SPDX-License-Identifier: MIT */
/*
 * sim_client.c - the modelled clients: proposals and reads, and what they were promised.
 *
 * An operation is proposed once, under a number of its own, and acknowledged as soon as the node
 * that took it has applied it: the earliest moment at which anybody could tell a user, hence the
 * hardest for reads. The state machine is a function of the committed prefix, on which all nodes
 * agree (sim_check.c), so a read is linearizable exactly if its index reaches everything that had
 * been committed anywhere when it was asked, and nothing that is not committed when it is answered.
 */
#include <inttypes.h>
#include <string.h>

#include "base/memory.h"
#include "sim_world.h"

/* ---- Proposals ---- */

static struct sim_op *new_op(struct sim_client *c, const struct sim_op *op)
{
    if (c->op_count == c->op_capacity) {
        c->op_capacity = c->op_capacity ? 2 * c->op_capacity : 1024;
        c->ops = memory_realloc(c->ops, c->op_capacity * sizeof(c->ops[0]));
    }
    c->ops[c->op_count] = *op;
    return &c->ops[c->op_count++];
}

bool sim_client_propose(struct sim_world *w, struct sim_slot *s, uint32_t count)
{
    struct sim_entry entries[RAFT_MAX_PROPOSE];
    uint32_t bytes[RAFT_MAX_PROPOSE];
    struct sim_client *c = &w->client;
    for (uint32_t i = 0; i < count; i++) {
        bytes[i] = (uint32_t)sim_between(&w->rng, 1, w->swarm.entry_bytes);
        entries[i] = (struct sim_entry){
            .kind = RAFT_ENTRY_COMMAND, .payload = c->op_count + 1, .bytes = bytes[i]};
        new_op(c,
               &(struct sim_op){
                   .state = SIM_OP_WAITING, .slot = s->index, .life = s->life, .boot = s->boots});
    }
    uint64_t first_op = c->op_count - count;
    struct raft_event e = {.kind = RAFT_PROPOSE, .now_us = sim_slot_now(w, s)};
    e.propose.count = count;
    e.propose.bytes = bytes;
    e.propose.reserve = sim_chance(&w->rng, 100);
    sim_world_trace_event(w, s, &e);
    sim_node_step(&s->node, &e, entries);
    if (w->effects.refusal) {
        c->op_count = first_op; /* nothing happened; the numbers are free */
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        c->ops[first_op + i].index = w->effects.first_index + i;
        c->ops[first_op + i].term = raft_term(s->node.core);
    }
    return true;
}

/*
 * What stands at the index where an operation was put decides about it; on the node that took it,
 * and in the process that took it, since nobody else can answer the caller.
 */
void sim_client_applied(struct sim_world *w, struct sim_slot *s, uint64_t index)
{
    const struct sim_entry *e = sim_log_at(&s->node.log, index);
    if (e->payload == 0 || e->payload > w->client.op_count)
        return;
    struct sim_op *op = &w->client.ops[e->payload - 1];
    if (op->state != SIM_OP_WAITING || op->slot != s->index || op->life != s->life ||
        op->boot != s->boots)
        return;
    if (op->index != index || op->term != e->term)
        sim_world_fail(w,
                       "11: operation %" PRIu64 " accepted at %" PRIu64 " t%" PRIu64
                       " was applied at %" PRIu64 " t%" PRIu64,
                       e->payload, op->index, op->term, index, e->term);
    op->state = SIM_OP_ACKED;
    w->client.acked++;
}

/* ---- Reads ---- */

static bool asked_here(const struct sim_read *read, const struct sim_slot *s)
{
    return read->slot == s->index && read->life == s->life && read->boot == s->boots;
}

void sim_client_read(struct sim_world *w, struct sim_slot *s)
{
    struct sim_client *c = &w->client;
    if (c->read_count == sizeof(c->reads) / sizeof(c->reads[0]))
        return;
    struct sim_read *read = &c->reads[c->read_count++];
    *read = (struct sim_read){.token = ++c->tokens,
                              .slot = s->index,
                              .life = s->life,
                              .boot = s->boots,
                              .floor = w->history.commit,
                              .asked_at_us = w->now_us};
    struct raft_event e = {.kind = RAFT_READ, .now_us = sim_slot_now(w, s)};
    e.read.token = read->token;
    sim_world_trace_event(w, s, &e);
    uint64_t token = read->token;
    sim_node_step(&s->node, &e, NULL);
    if (!w->effects.refusal)
        return;
    for (uint32_t i = 0; i < c->read_count; i++)
        if (c->reads[i].token == token)
            c->reads[i] = c->reads[--c->read_count];
}

static void check_read(struct sim_world *w, struct sim_slot *s, const struct raft_read_done *done)
{
    struct sim_client *c = &w->client;
    for (uint32_t i = 0; i < c->read_count; i++) {
        struct sim_read read = c->reads[i];
        if (read.token != done->token || !asked_here(&read, s))
            continue;
        c->reads[i] = c->reads[--c->read_count];
        if (!done->ok)
            return;
        c->reads_done++;
        if (done->index < read.floor)
            sim_world_fail(w,
                           "10: read %" PRIu64 " got index %" PRIu64 ", but %" PRIu64
                           " was committed before it was asked",
                           read.token, done->index, read.floor);
        if (done->index > w->history.commit)
            sim_world_fail(w, "10: read %" PRIu64 " got index %" PRIu64 ", which is not committed",
                           read.token, done->index);
        return;
    }
    sim_world_fail(w, "10: read %" PRIu64 " was answered, but nobody waits for it", done->token);
}

void sim_client_reads_done(struct sim_world *w, struct sim_slot *s, const struct raft_effects *out)
{
    for (uint32_t i = 0; i < out->read_count; i++)
        check_read(w, s, &out->reads[i]);
}

/* Whoever would answer a read at this moment, by a lease or a grant, knows of every commit. */
void sim_client_would_read(struct sim_world *w)
{
    for (uint32_t i = 0; i < w->swarm.slots && !w->failed; i++) {
        struct sim_slot *s = &w->slots[i];
        if (!s->node.up || s->paused_until_us > w->now_us)
            continue;
        const struct raft *r = s->node.core;
        bool leads = raft_role(r) == RAFT_LEADER;
        uint64_t until_us = leads ? raft_lease_until_us(r) : raft_grant_until_us(r);
        if (sim_slot_now(w, s) < until_us && raft_commit_index(r) < w->history.commit)
            sim_world_fail(w,
                           "10: node %" PRIu64 " would read at %" PRIu64 " by its %s, but %" PRIu64
                           " is committed",
                           s->node.id, raft_commit_index(r), leads ? "lease" : "grant",
                           w->history.commit);
    }
}

void sim_client_lost(struct sim_world *w, struct sim_slot *s)
{
    struct sim_client *c = &w->client;
    for (uint32_t i = 0; i < c->read_count;)
        if (asked_here(&c->reads[i], s))
            c->reads[i] = c->reads[--c->read_count];
        else
            i++;
}

/* ---- What they do ---- */

void sim_client_act(struct sim_world *w)
{
    if (w->settling && !w->busy)
        return;
    bool hot = w->now_us < w->hot_until_us;
    uint64_t delay_us =
        sim_between(&w->rng, 1, (hot ? w->swarm.client_us / 8 : 2 * w->swarm.client_us));
    sim_world_schedule(w, delay_us, (struct sim_event){.kind = SIM_CLIENT});
    struct sim_slot *s = &w->slots[sim_below(&w->rng, w->swarm.slots)];
    struct sim_slot *leader = sim_some_leader(w);
    if (leader && sim_chance(&w->rng, 700))
        s = leader; /* or one that was: forwarding may end at either */
    if (!s->node.up || s->paused_until_us > w->now_us)
        return;
    uint32_t reads = sim_chance(&w->rng, 20) ? 100 : 1;
    if (!sim_chance(&w->rng, w->swarm.read_per_mille))
        sim_client_propose(w, s, (uint32_t)sim_between(&w->rng, 1, w->swarm.batch));
    else
        while (reads-- && !w->failed)
            sim_client_read(w, s);
}
