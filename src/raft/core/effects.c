/* SPDX-License-Identifier: MIT */
/*
 * effects.c - the one step's output, within its fixed bounds.
 *
 * At most one write a step. A write that also sets the hard state is durable together with it, so a
 * second effects_write_*() in the same step adds to the first.
 */
#include <string.h>

#include "raft/core/core.h"

void effects_begin(struct raft *r, struct raft_effects *out)
{
    r->out = out;
    out->write.id = 0;
    out->write.restart_index = 0;
    out->write.restart_term = 0;
    out->write.truncate_from = 0;
    out->write.first = 0;
    out->write.count = 0;
    out->write.skip = 0;
    out->write.term = 0;
    out->write.has_hard = false;
    out->write.reserve = false;
    out->write.own_kind = 0;
    out->write.own_bytes = 0;
    out->send_count = 0;
    out->read_count = 0;
    out->need_snapshot_index = 0;
    out->refusal = RAFT_ACCEPTED;
    out->first_index = 0;
    out->changed = false;
    out->wake_at_us = UINT64_MAX;
}

/* False when the step's messages are at their limit: they are wanted again soon enough. */
bool effects_send(struct raft *r, const struct raft_msg *m, uint64_t after_write)
{
    if (r->out->send_count == RAFT_MAX_SENDS || m->to == r->options.id)
        return false;
    struct raft_send *s = &r->out->sends[r->out->send_count++];
    s->msg = *m;
    s->msg.from = r->options.id;
    s->after_write = after_write <= r->log.durable_write_id ? 0 : after_write;
    return true;
}

bool effects_write_room(const struct raft *r)
{
    return r->log.write_count + LOGVIEW_WRITE_RESERVE < LOGVIEW_MAX_WRITES;
}

/* The id of this step's write, begun now if there is none. */
static uint64_t begin(struct raft *r)
{
    if (r->out->write.id == 0) {
        r->out->write.id = logview_write_begin(&r->log, r->now_us);
    } else {
        struct logview *v = &r->log;
        v->writes[(v->write_head + v->write_count - 1) % LOGVIEW_MAX_WRITES].end_index =
            v->last_index;
    }
    return r->out->write.id;
}

uint64_t effects_write_hard(struct raft *r)
{
    if (r->out->write.count == 0)
        r->out->write.reserve = true;
    r->out->write.has_hard = true;
    r->out->write.hard = r->hard;
    return r->hard_write = begin(r);
}

/* Call it when the view has begun anew. What we promise from now on counts on it. */
void effects_write_restart(struct raft *r)
{
    struct raft_write *w = &r->out->write;
    assert(w->count == 0 && w->truncate_from == 0);
    w->reserve = true;
    w->restart_index = r->log.base_index;
    w->restart_term = r->log.base_term;
    r->hard_write = begin(r);
}

/* Call it when the view holds the entries already. */
uint64_t effects_write_entries(struct raft *r, uint64_t truncate_from, uint32_t count,
                               uint32_t skip)
{
    struct raft_write *w = &r->out->write;
    assert(w->count == 0);
    w->truncate_from = truncate_from;
    w->first = r->log.last_index + 1 - count;
    w->count = count;
    w->skip = skip;
    w->term = r->hard.term;
    return begin(r);
}

void effects_read_done(struct raft *r, uint64_t token, uint64_t index, bool ok)
{
    assert(r->out->read_count < RAFT_MAX_READS);
    r->out->reads[r->out->read_count++] =
        (struct raft_read_done){.token = token, .index = index, .ok = ok};
}
