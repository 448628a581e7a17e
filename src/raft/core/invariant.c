/* SPDX-License-Identifier: MIT */
/* invariant.c - what must hold after every step; the cheap part is asserted in release too. */
#include "raft/core/core.h"

void invariant_step(const struct raft *r)
{
    assert(r->log.base_index <= r->commit_index);
    assert(r->commit_index <= r->log.last_index);
    assert(r->log.durable_index <= r->log.last_index);
    assert(r->role != RAFT_LEADER || r->leader == r->options.id);
    assert(r->role == RAFT_LEADER || r->leader != r->options.id);
    assert(r->hard.term >= logview_last_term(&r->log));
}

static const char *check_log(const struct raft *r)
{
    const struct logview *v = &r->log;
    if (v->base_index > v->durable_index || v->durable_index > v->last_index)
        return "base <= durable <= last does not hold";
    if (r->commit_index > v->last_index)
        return "committed beyond the log's end";
    for (uint32_t i = 1; i < v->run_count; i++)
        if (v->runs[i].first <= v->runs[i - 1].first || v->runs[i].term <= v->runs[i - 1].term)
            return "terms do not ascend along the log";
    if (v->run_count > 0 && v->runs[v->run_count - 1].first > v->last_index)
        return "a run lies behind the log's end";
    return NULL;
}

static const char *check_peers(const struct raft *r)
{
    for (uint32_t i = 0; r->role == RAFT_LEADER && i < r->config.count; i++) {
        const struct progress *p = &r->peers[i];
        if (p->id != r->config.members[i].id)
            return "a member's progress stands in another's slot";
        if (!peer_is_self(r, p->id) && (p->match > r->log.last_index || p->next <= p->match))
            return "match < next <= last + 1 does not hold for a member";
        if (p->state != PROGRESS_REPLICATE && p->count > 0)
            return "a member's window is in use outside of REPLICATE";
        if (p->count > RAFT_MAX_INFLIGHT ||
            p->bytes > RAFT_MAX_INFLIGHT_BYTES + RAFT_MAX_APPEND_BYTES)
            return "a member's window is over its limit";
    }
    return NULL;
}

const char *raft_check(const struct raft *r)
{
    const char *broken = check_log(r);
    if (!broken)
        broken = check_peers(r);
    if (!broken && r->config_index > r->log.last_index)
        broken = "the configuration lies behind the log's end";
    if (!broken && r->config_index < r->previous_config_index)
        broken = "the configurations are in the wrong order";
    if (!broken && r->read_count > MAX_READ_TOKENS)
        broken = "too many reads are pending";
    return broken;
}
