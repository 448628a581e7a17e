/* SPDX-License-Identifier: MIT */
/*
 * sim_snapshot.c - modelled snapshots: what a node and its driver do around raft_step().
 *
 * A state machine is the committed prefix that it has applied, so a snapshot is no more than an
 * index. Taking one syncs the state machine and cuts the log behind it, all of it or all but a
 * tail. Who needs one fetches it from any node that holds one, which takes its time and may come to
 * nothing; then the state machine is replaced, and a while later the core is told. The process may
 * die at any point of this, above all between those two.
 */
#include <assert.h>
#include <inttypes.h>

#include "base/memory.h"
#include "sim_world.h"

struct sim_entry *sim_committed_prefix(const struct sim_world *w, uint64_t index)
{
    assert(index <= w->history.commit);
    struct sim_entry *prefix = memory_alloc(index * sizeof(*prefix) + 1);
    for (uint64_t i = 0; i < index; i++)
        prefix[i] = w->history.committed[i].entry;
    return prefix;
}

static void take(struct sim_world *w, struct sim_slot *s)
{
    s->stored = s->snapshot = s->applied;
    sim_trace_line(&w->trace, "%12.6f node %-4" PRIu64 "        takes SNAPSHOT %" PRIu64,
                   (double)w->now_us / 1e6, s->node.id, s->snapshot);
}

void sim_snapshot_take(struct sim_world *w, struct sim_slot *s)
{
    static const uint32_t tails[] = {0, 0, 1, 5, 50};
    if (!s->node.up || s->applied == 0)
        return;
    take(w, s);
    uint64_t tail = tails[sim_below(&w->rng, 5)];
    uint64_t most = raft_durable_index(s->node.core);
    if (most > s->snapshot)
        most = s->snapshot;
    if (most > raft_commit_index(s->node.core)) /* while an installation is under way */
        most = raft_commit_index(s->node.core);
    if (most <= tail || most - tail <= s->node.log.base)
        return;
    uint64_t disk_base = s->node.disk.log.base; /* files go whole, and later */
    sim_node_compact(&s->node, most - tail, sim_between(&w->rng, disk_base, most - tail));
    sim_trace_line(&w->trace, "%28slog begins behind %" PRIu64, "", most - tail);
}

static struct sim_event event_of(const struct sim_slot *s, enum sim_event_kind kind, uint64_t index)
{
    return (struct sim_event){
        .kind = kind, .slot = s->index, .life = s->life, .boot = s->boots, .index = index};
}

/* A node that holds a snapshot at or above `index`, or can take one. */
static struct sim_slot *source_of(struct sim_world *w, const struct sim_slot *to, uint64_t index)
{
    uint32_t start = (uint32_t)sim_below(&w->rng, w->swarm.slots);
    for (uint32_t i = 0; i < w->swarm.slots; i++) {
        struct sim_slot *s = &w->slots[(start + i) % w->swarm.slots];
        if (s == to || !s->node.up || s->applied < index || sim_net_is_down(w, s->index, to->index))
            continue;
        if (s->snapshot < index)
            take(w, s);
        return s;
    }
    return NULL;
}

void sim_snapshot_needed(struct sim_world *w, struct sim_slot *s, uint64_t index)
{
    struct sim_slot *source = s->fetching ? NULL : source_of(w, s, index);
    if (!source)
        return;
    s->fetching = true;
    uint64_t typical_us = w->settling ? w->swarm.election_us / 8 : w->swarm.election_us;
    sim_world_schedule(w, sim_delay(&w->rng, typical_us),
                       event_of(s, SIM_FETCHED, source->snapshot));
}

void sim_snapshot_fetched(struct sim_world *w, struct sim_slot *s, uint64_t index)
{
    s->fetching = false;
    if (index <= s->applied || (!w->settling && sim_chance(&w->rng, 200)))
        return;
    s->stored = s->applied = s->snapshot = index;
    sim_trace_line(&w->trace, "%12.6f node %-4" PRIu64 "        stands on SNAPSHOT %" PRIu64,
                   (double)w->now_us / 1e6, s->node.id, index);
    s->fetching = true;
    sim_world_schedule(w, sim_delay(&w->rng, w->swarm.disk_us), event_of(s, SIM_INSTALLED, index));
    if (!w->settling && sim_chance(&w->rng, 100))
        sim_fault_crash(w, s);
}

void sim_snapshot_installed(struct sim_world *w, struct sim_slot *s, uint64_t index)
{
    s->fetching = false;
    struct sim_entry *prefix = sim_committed_prefix(w, index);
    sim_node_install(&s->node, sim_slot_now(w, s), index, prefix);
    memory_free(prefix);
}
