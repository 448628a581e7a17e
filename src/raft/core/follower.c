/* SPDX-License-Identifier: MIT */
/*
 * follower.c - what a leader's append does to our log.
 *
 * Entries that we have already are skipped; only a real conflict truncates, and never below the
 * commit index: whoever claims that is wrong, and is not answered. An acknowledgement names what is
 * durable, so it waits for the write. A refusal names the last place where the logs may agree, by
 * term, so that the leader backs up a term at a time (thesis 3.5).
 */
#include "raft/core/core.h"

static void reply(struct raft *r, raft_id leader, bool ok, uint64_t match, uint64_t hint_index,
                  uint64_t after_write)
{
    effects_send(
        r,
        &(struct raft_msg){.kind = RAFT_MSG_APPEND_REPLY,
                           .to = leader,
                           .term = r->hard.term,
                           .append_reply = {.ok = ok,
                                            .match = match,
                                            .disk = disk_state(r),
                                            .hint_index = hint_index,
                                            .hint_term = logview_term(&r->log, hint_index)}},
        after_write);
}

/* Whether this node has room for them, if only that of the reserve (disk.c). */
static bool may_use_reserve(const struct raft_msg *m, uint32_t skip)
{
    bool ordinary = false;
    for (uint32_t i = skip; i < m->append.count; i++)
        ordinary = ordinary || m->append.entries[i].kind == RAFT_ENTRY_COMMAND;
    return m->append.reserve || !ordinary;
}

static void follow_commit(struct raft *r, uint64_t commit, uint64_t matched)
{
    /* A wiped node may be told of more than it has (etcd #20269). */
    uint64_t index = commit < matched ? commit : matched;
    if (index > r->commit_index)
        r->commit_index = index;
}

/* What is committed is the same with every leader, also where its term was forgotten. */
static bool agrees(const struct raft *r, uint64_t index, uint64_t term)
{
    uint64_t ours = logview_term(&r->log, index);
    return ours == term || (ours == 0 && index <= r->commit_index);
}

/* How many of the message's entries are in our log already. */
static uint32_t already_held(const struct raft *r, const struct raft_msg *m)
{
    uint32_t held = 0;
    while (held < m->append.count && m->append.prev_index + 1 + held <= r->log.last_index &&
           agrees(r, m->append.prev_index + 1 + held, m->append.entries[held].term))
        held++;
    return held;
}

/* Terms do not fall, none is above the sender's, and a configuration is one. */
static bool well_formed(struct raft *r, const struct raft_msg *m)
{
    uint64_t term = m->append.prev_term;
    if (m->append.count > RAFT_MAX_APPEND_ENTRIES || (term == 0 && m->append.prev_index > 0))
        return false;
    for (uint32_t i = 0; i < m->append.count; i++) {
        const struct raft_entry_meta *e = &m->append.entries[i];
        if (e->term < term || e->term > m->term || e->bytes > RAFT_MAX_ENTRY_BYTES)
            return false;
        if (e->kind == RAFT_ENTRY_CONFIG &&
            (!e->config || !raft_config_decode(&r->scratch, e->config, e->bytes)))
            return false;
        term = e->term;
    }
    return true;
}

static void take_entries(struct raft *r, const struct raft_msg *m, uint32_t skip)
{
    uint64_t first = m->append.prev_index + 1 + skip;
    uint64_t truncate_from = first <= r->log.last_index ? first : 0;
    if (truncate_from) {
        logview_truncate(&r->log, truncate_from);
        membership_roll_back(r, truncate_from);
    }
    for (uint32_t i = skip; i < m->append.count; i++) {
        const struct raft_entry_meta *e = &m->append.entries[i];
        logview_append(&r->log, e->term, e->bytes);
        if (e->kind == RAFT_ENTRY_CONFIG && raft_config_decode(&r->scratch, e->config, e->bytes))
            membership_adopt(r, &r->scratch, r->log.last_index);
    }
    r->out->write.reserve = may_use_reserve(m, skip);
    effects_write_entries(r, truncate_from, m->append.count - skip, skip);
}

/* The write after which everything in the view up to index is durable; 0: it is already. */
static uint64_t write_of(const struct raft *r, uint64_t index)
{
    const struct logview *v = &r->log;
    uint64_t id = 0;
    if (index <= v->durable_index)
        return 0;
    for (uint32_t i = v->write_count; i > 0; i--) {
        const struct logview_write *w = &v->writes[(v->write_head + i - 1) % LOGVIEW_MAX_WRITES];
        if (w->end_index < index)
            break;
        id = w->id;
    }
    return id;
}

/* Tells the leader that we hold what it holds up to here, as soon as that is durable. */
void follower_acknowledge(struct raft *r, raft_id leader, uint64_t match)
{
    uint64_t needs = write_of(r, match);
    reply(r, leader, true, match, 0, needs > r->hard_write ? needs : r->hard_write);
}

void follower_on_append(struct raft *r, const struct raft_msg *m)
{
    uint64_t prev = m->append.prev_index;
    if (!well_formed(r, m)) {
        r->dropped++;
        return;
    }
    if (prev > r->log.last_index) {
        reply(r, m->from, false, prev, r->log.last_index, 0);
        return;
    }
    if (!agrees(r, prev, m->append.prev_term)) {
        if (prev <= r->commit_index) {
            r->dropped++;
            return;
        }
        uint64_t hint = logview_last_at_most(&r->log, prev - 1, m->append.prev_term);
        reply(r, m->from, false, prev, hint, 0);
        return;
    }
    uint32_t held = already_held(r, m);
    if (held < m->append.count) {
        if (prev + 1 + held <= r->commit_index ||
            m->append.entries[held].term < logview_term(&r->log, prev + held)) {
            r->dropped++;
            return;
        }
        if (!effects_write_room(r) || (r->disk_full && !may_use_reserve(m, held)))
            return; /* as if the message were lost: the leader sends it again */
        take_entries(r, m, held);
    }
    uint64_t matched = prev + m->append.count;
    follow_commit(r, m->append.commit, matched);
    follower_acknowledge(r, m->from, matched);
}

void follower_on_heartbeat(struct raft *r, const struct raft_msg *m)
{
    if (m->heartbeat.lease_us > RAFT_MAX_LEASE_US) {
        r->dropped++;
        return;
    }
    follow_commit(r, m->heartbeat.commit, r->log.last_index);
    lease_promise(r, m->heartbeat.lease_us);
    grant_take_again(r, m->heartbeat.commit, m->heartbeat.grant_us);
    if (m->heartbeat.round == 0)
        return; /* the news of a commit */
    effects_send(
        r,
        &(struct raft_msg){.kind = RAFT_MSG_HEARTBEAT_REPLY,
                           .to = m->from,
                           .term = r->hard.term,
                           .heartbeat_reply = {.round = m->heartbeat.round, .disk = disk_state(r)}},
        0);
}
