/* SPDX-License-Identifier: MIT */
/*
 * step.c - one event in, its effects out.
 *
 * Validate, apply the rules about terms that hold whatever the message is, hand over to the file
 * with the rule, then do what became due. What a peer sends is checked and dropped, never asserted.
 */
#include <stddef.h>
#include <string.h>

#include "raft/core/core.h"

/* ---- Memory ---- */

static size_t align_up(size_t bytes)
{
    size_t a = _Alignof(max_align_t);
    return (bytes + a - 1) / a * a;
}

size_t raft_bytes(const struct raft_options *o)
{
    return align_up(sizeof(struct raft)) +
           align_up(o->term_run_capacity * sizeof(struct raft_term_run)) +
           align_up(o->entry_size_capacity * sizeof(uint32_t));
}

struct raft *raft_init(void *memory, const struct raft_options *o)
{
    struct raft *r = memory;
    uint8_t *runs = (uint8_t *)memory + align_up(sizeof(*r));
    uint8_t *sizes = runs + align_up(o->term_run_capacity * sizeof(struct raft_term_run));
    assert(o->id != 0 && o->election_us > o->heartbeat_us && o->heartbeat_us > 0);
    assert(o->lease_us <= RAFT_MAX_LEASE_US && o->lease_us <= o->election_us);
    assert(o->grant_us <= o->lease_us);
    assert(o->term_run_capacity > 1 && o->entry_size_capacity > 0);
    memset(r, 0, sizeof(*r));
    r->options = *o;
    r->rng = o->seed;
    r->wake_at_us = UINT64_MAX;
    logview_init(&r->log, (struct raft_term_run *)(void *)runs, o->term_run_capacity,
                 (uint32_t *)(void *)sizes, o->entry_size_capacity);
    return r;
}

/* ---- Events ---- */

static void start(struct raft *r, const struct raft_event *e)
{
    struct logview *v = &r->log;
    assert(!r->started);
    assert(e->start.base_index <= e->start.applied_index);
    assert(e->start.applied_index <= e->start.last_index);
    r->started = true;
    r->hard = e->start.hard;
    v->base_index = e->start.base_index;
    v->base_term = e->start.base_term;
    v->last_index = v->durable_index = e->start.last_index;
    v->sizes_from = v->last_index + 1;
    uint32_t skip = e->start.run_count > v->run_capacity ? e->start.run_count - v->run_capacity : 0;
    v->run_count = e->start.run_count - skip;
    if (v->run_count)
        memcpy(v->runs, e->start.runs + skip, v->run_count * sizeof(*v->runs));
    r->commit_index = e->start.applied_index;
    if (e->start.config) {
        r->config = *e->start.config;
        r->config_index = e->start.config_index;
    }
    if (e->start.previous_config) {
        r->previous_config = *e->start.previous_config;
        r->previous_config_index = e->start.previous_config_index;
    }
    r->out->changed = true;
    /* The state machine may know of a term that the log lost in a crash: no vote was given in it.
     */
    if (r->hard.term < logview_last_term(v)) {
        r->hard = (struct raft_hard_state){.term = logview_last_term(v)};
        effects_write_hard(r);
    }
    election_reset_timer(r);
    uint32_t voters = 0;
    for (uint32_t i = 0; i < r->config.count; i++)
        voters += r->config.members[i].voter || r->config.members[i].voter_out;
    if (voters == 1 && membership_is_voter(r, r->options.id))
        /* There is nobody to wait for, but for the end of what others were granted before. */
        r->election_at_us = r->promise_until_us = r->now_us + r->options.grant_us;
    else
        lease_promise(r, r->options.lease_us); /* what it promised before, it has forgotten */
}

/* No cluster holds so many elections; a term above would soon be the last one. */
static const uint64_t MAX_TERM = UINT64_MAX / 2;

static bool from_leader(enum raft_msg_kind kind)
{
    return kind == RAFT_MSG_APPEND || kind == RAFT_MSG_HEARTBEAT || kind == RAFT_MSG_TIMEOUT_NOW ||
           kind == RAFT_MSG_SNAPSHOT;
}

static bool about_votes(enum raft_msg_kind kind)
{
    return kind >= RAFT_MSG_PREVOTE && kind <= RAFT_MSG_VOTE_REPLY;
}

/* An old leader learns from any answer that its term is over. */
static void answer_old_term(struct raft *r, const struct raft_msg *m)
{
    struct raft_msg reply = {.to = m->from, .term = r->hard.term};
    if (m->kind == RAFT_MSG_APPEND)
        reply.kind = RAFT_MSG_APPEND_REPLY;
    else if (m->kind == RAFT_MSG_HEARTBEAT)
        reply.kind = RAFT_MSG_HEARTBEAT_REPLY;
    else
        return;
    effects_send(r, &reply, 0);
}

/* Whether the message may go on to its handler. Votes have rules of their own (stickiness). */
static bool settle_term(struct raft *r, const struct raft_msg *m)
{
    if (about_votes(m->kind))
        return true;
    if (m->term < r->hard.term) {
        answer_old_term(r, m);
        return false;
    }
    bool leads = from_leader(m->kind);
    if (m->term == r->hard.term && leads &&
        (r->role == RAFT_LEADER || (r->leader != 0 && r->leader != m->from))) {
        r->dropped++; /* two leaders of one term: one of them lies */
        return false;
    }
    if (m->term > r->hard.term || leads)
        become_follower(r, m->term, leads ? m->from : 0);
    if (leads)
        election_leader_heard(r);
    return true;
}

static void dispatch(struct raft *r, const struct raft_msg *m)
{
    switch (m->kind) {
    case RAFT_MSG_PREVOTE:
    case RAFT_MSG_VOTE:
        election_on_vote(r, m);
        break;
    case RAFT_MSG_PREVOTE_REPLY:
    case RAFT_MSG_VOTE_REPLY:
        election_on_vote_reply(r, m);
        break;
    case RAFT_MSG_APPEND:
        follower_on_append(r, m);
        break;
    case RAFT_MSG_HEARTBEAT:
        follower_on_heartbeat(r, m);
        break;
    case RAFT_MSG_APPEND_REPLY:
        if (r->role == RAFT_LEADER)
            leader_on_append_reply(r, m);
        else
            election_answered_late(r);
        break;
    case RAFT_MSG_HEARTBEAT_REPLY:
        if (r->role == RAFT_LEADER)
            leader_on_heartbeat_reply(r, m);
        else
            election_answered_late(r);
        break;
    case RAFT_MSG_READ:
        read_on_request(r, m);
        break;
    case RAFT_MSG_READ_REPLY:
        read_on_reply(r, m);
        break;
    case RAFT_MSG_TIMEOUT_NOW:
        election_on_timeout_now(r, m);
        break;
    case RAFT_MSG_TRANSFER:
        leader_transfer(r, m->transfer.to); /* refused: the asker asks again, or gives up */
        break;
    case RAFT_MSG_SNAPSHOT:
        snapshot_on_offer(r, m);
        break;
    default:
        r->dropped++;
    }
}

static void on_message(struct raft *r, const struct raft_msg *m)
{
    if (m->to != r->options.id || m->from == 0 || m->from == r->options.id || m->term == 0 ||
        m->term > MAX_TERM) {
        r->dropped++;
        return;
    }
    if (m->term > r->hard.term && !effects_write_room(r)) {
        r->dropped++; /* the disk stands still: no more terms until it has written these */
        return;
    }
    if (settle_term(r, m))
        dispatch(r, m);
}

static void on_lost(struct raft *r, raft_id peer)
{
    int slot = membership_slot(r, peer);
    if (r->role == RAFT_LEADER && slot >= 0)
        leader_on_lost(&r->peers[slot]);
    election_on_lost(r, peer);
}

static void handle(struct raft *r, const struct raft_event *e)
{
    switch (e->kind) {
    case RAFT_START:
        start(r, e);
        break;
    case RAFT_TICK:
        break;
    case RAFT_MESSAGE:
        on_message(r, e->message);
        break;
    case RAFT_PERSISTED:
        disk_learn(r, e->persisted.write_id);
        if (logview_write_done(&r->log, e->persisted.write_id, r->now_us))
            election_on_durable(r);
        break;
    case RAFT_PROPOSE:
        leader_propose(r, e->propose.count, e->propose.bytes, e->propose.reserve);
        break;
    case RAFT_CHANGE:
        membership_change(r, e->change.kind, &e->change.member, e->change.replaces);
        break;
    case RAFT_READ:
        read_ask(r, e->read.token);
        break;
    case RAFT_TRANSFER:
        leader_ask_transfer(r, e->transfer.to);
        break;
    case RAFT_PEER_LOST:
        on_lost(r, e->lost.peer);
        break;
    case RAFT_INSTALLED:
        snapshot_installed(r, e);
        break;
    case RAFT_DISK:
        r->disk_full = e->disk.full;
        break;
    }
}

static bool has_peers(const struct raft *r)
{
    return r->config.count > 1 || (r->config.count == 1 && membership_slot(r, r->options.id) < 0);
}

static bool waits_for_commit(const struct raft *r)
{
    return r->commit_index < r->log.last_index;
}

/* A follower looks up when a heartbeat is missing, to know later that it was there to miss it. */
static uint64_t next_wake(const struct raft *r)
{
    uint64_t at_us = r->election_at_us;
    uint64_t look_up_us = r->now_us + 3 * (uint64_t)r->options.heartbeat_us / 2;
    if (r->leader != 0 && look_up_us < at_us)
        at_us = look_up_us;
    if (r->role == RAFT_LEADER) {
        at_us = has_peers(r) ? r->heartbeat_at_us : UINT64_MAX;
        if (r->transfer_to && r->transfer_until_us < at_us)
            at_us = r->transfer_until_us;
        uint64_t granted_us = grant_next_end_us(r); /* which may be all that is waited for */
        if (granted_us && granted_us < at_us && (waits_for_commit(r) || r->transfer_to))
            at_us = granted_us;
    } else if (r->read_count > 0 && r->reads[0].asked_us + r->options.election_us < at_us) {
        at_us = r->reads[0].asked_us + r->options.election_us;
    }
    return at_us;
}

static bool was_away(const struct raft *r)
{
    return r->wake_at_us != UINT64_MAX && r->now_us >= r->wake_at_us + r->options.heartbeat_us;
}

void raft_step(struct raft *r, const struct raft_event *e, struct raft_effects *out)
{
    assert(r->started || e->kind == RAFT_START);
    assert(e->now_us >= r->now_us);
    r->now_us = e->now_us;
    effects_begin(r, out);
    if (was_away(r))
        election_excuse_absence(r);
    handle(r, e);
    election_tick(r);
    election_check(r);
    read_tick(r);
    uint64_t committed = r->commit_index;
    if (r->role == RAFT_LEADER)
        leader_advance_commit(r);
    /*
     * A step that commits does so under one role and one configuration: neither changes in it.
     * What only waits for the commit of a configuration comes in the next step, which is at once.
     */
    bool config_committed = committed < r->config_index && r->config_index <= r->commit_index;
    if (r->role == RAFT_LEADER && r->commit_index == committed)
        leader_tick(r);
    if (r->role == RAFT_LEADER && r->commit_index == committed)
        membership_advance(r);
    if (r->role == RAFT_LEADER) {
        leader_push_transfer(r);
        leader_flush(r);
        read_confirm(r);
    }
    bool quorum = raft_has_quorum(r, r->now_us);
    if (quorum != r->had_quorum)
        out->changed = true;
    r->had_quorum = quorum;
    out->commit_index = r->commit_index;
    out->wake_at_us = r->wake_at_us = config_committed ? r->now_us : next_wake(r);
    invariant_step(r);
    r->out = NULL;
}

/* ---- Looking in ---- */

enum raft_role raft_role(const struct raft *r)
{
    return r->role;
}

uint64_t raft_term(const struct raft *r)
{
    return r->hard.term;
}

raft_id raft_vote(const struct raft *r)
{
    return r->hard.vote;
}

raft_id raft_leader(const struct raft *r)
{
    return r->leader;
}

uint64_t raft_commit_index(const struct raft *r)
{
    return r->commit_index;
}

uint64_t raft_last_index(const struct raft *r)
{
    return r->log.last_index;
}

uint64_t raft_durable_index(const struct raft *r)
{
    return r->log.durable_index;
}

uint64_t raft_base_index(const struct raft *r)
{
    return r->log.base_index;
}

uint64_t raft_elections(const struct raft *r)
{
    return r->elections;
}

uint64_t raft_dropped_messages(const struct raft *r)
{
    return r->dropped;
}

uint64_t raft_term_at(const struct raft *r, uint64_t index)
{
    return logview_term(&r->log, index);
}

const struct raft_config *raft_config(const struct raft *r, uint64_t *index)
{
    if (index)
        *index = r->config_index;
    return &r->config;
}

void raft_compacted(struct raft *r, uint64_t index)
{
    assert(index <= r->commit_index && index <= r->log.durable_index);
    logview_compact(&r->log, index);
}

struct raft_peer_status raft_peer_status(const struct raft *r, raft_id id, uint64_t now_us)
{
    struct raft_peer_status s = {.contact_us = UINT64_MAX};
    int slot = membership_slot(r, id);
    if (r->role != RAFT_LEADER || slot < 0)
        return s;
    const struct progress *p = &r->peers[slot];
    s.match = p->match;
    s.pipelining = p->state == PROGRESS_REPLICATE;
    s.snapshot = p->state == PROGRESS_SNAPSHOT;
    if (p->contact_us)
        s.contact_us = now_us > p->contact_us ? now_us - p->contact_us : 0;
    return s;
}

bool raft_has_quorum(const struct raft *r, uint64_t now_us)
{
    bool heard[RAFT_MAX_MEMBERS];
    if (r->role != RAFT_LEADER)
        return r->leader != 0 && now_us < r->leader_contact_us + 2 * r->options.election_us;
    for (uint32_t i = 0; i < r->config.count; i++) {
        const struct progress *p = &r->peers[i];
        heard[i] = peer_is_self(r, p->id) ||
                   (p->contact_us && now_us < p->contact_us + r->options.election_us);
    }
    return quorum_reached(&r->config, heard);
}
