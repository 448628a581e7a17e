/* SPDX-License-Identifier: MIT */
/*
 * sim_check_config.c - what may follow a configuration (invariant 9).
 *
 * Deliberately the dullest possible arithmetic, written without a look at core/quorum.c: two
 * configurations are safe neighbours if no two disjoint sets of nodes are each a quorum of one, and
 * that is tried for every set.
 */
#include <inttypes.h>

#include "base/memory.h"
#include "sim_world.h"

static bool half_is_quorum(const struct raft_config *config, bool outgoing, sim_has has,
                           const void *ctx)
{
    uint32_t voters = 0;
    uint32_t having = 0;
    for (uint32_t i = 0; i < config->count; i++) {
        const struct raft_member *m = &config->members[i];
        if (!(outgoing ? m->voter_out : m->voter))
            continue;
        voters++;
        having += has(ctx, m->id);
    }
    return outgoing && voters == 0 ? true : 2 * having > voters;
}

bool sim_is_quorum(const struct raft_config *config, sim_has has, const void *ctx)
{
    return half_is_quorum(config, false, has, ctx) && half_is_quorum(config, true, has, ctx);
}

/* ---- Neighbours ---- */

struct subset {
    raft_id ids[4 * RAFT_MAX_VOTERS];
    uint32_t count;
    uint64_t chosen; /* bit i: ids[i] */
    bool complement;
};

static bool in_subset(const void *ctx, raft_id id)
{
    const struct subset *s = ctx;
    for (uint32_t i = 0; i < s->count; i++)
        if (s->ids[i] == id)
            return (s->chosen >> i & 1) != s->complement;
    return false;
}

static void add_voters(struct subset *s, const struct raft_config *config)
{
    for (uint32_t i = 0; i < config->count; i++) {
        const struct raft_member *m = &config->members[i];
        bool known = false;
        for (uint32_t k = 0; k < s->count; k++)
            known |= s->ids[k] == m->id;
        if ((m->voter || m->voter_out) && !known)
            s->ids[s->count++] = m->id;
    }
}

static bool quorums_intersect(const struct raft_config *a, const struct raft_config *b)
{
    struct subset s = {0};
    add_voters(&s, a);
    add_voters(&s, b);
    for (s.chosen = 0; s.chosen < UINT64_C(1) << s.count; s.chosen++) {
        s.complement = false;
        bool of_a = sim_is_quorum(a, in_subset, &s);
        s.complement = true;
        if (of_a && sim_is_quorum(b, in_subset, &s))
            return false;
    }
    return true;
}

/* ---- A leader makes a configuration ---- */

static void remember_config(struct sim_world *w, uint64_t index, const struct raft_config *config)
{
    struct sim_history *h = &w->history;
    if (h->config_count == h->config_capacity) {
        h->config_capacity = h->config_capacity ? 2 * h->config_capacity : 64;
        h->configs = memory_realloc(h->configs, h->config_capacity * sizeof(h->configs[0]));
    }
    h->configs[h->config_count++] = (struct sim_configured){.index = index, .config = config};
}

void sim_check_new_config(struct sim_world *w, struct sim_slot *s, uint64_t index,
                          const struct raft_config *next)
{
    remember_config(w, index, next);
    if (index == 1)
        return;
    uint64_t commit = raft_commit_index(s->node.core);
    if (s->config_index > commit)
        sim_world_fail(w,
                       "9: node %" PRIu64 " makes a configuration at %" PRIu64
                       " while that at %" PRIu64 " is not committed",
                       s->node.id, index, s->config_index);
    if (sim_log_term(&s->node.log, commit) != raft_term(s->node.core))
        sim_world_fail(w,
                       "9: node %" PRIu64 " makes a configuration at %" PRIu64
                       " with nothing of its term committed",
                       s->node.id, index);
    if (!quorums_intersect(&sim_log_at(&s->node.log, s->config_index)->config->decoded, next))
        sim_world_fail(
            w, "9: quorums of the configurations at %" PRIu64 " and %" PRIu64 " need not intersect",
            s->config_index, index);
}
