/* SPDX-License-Identifier: MIT */
/*
 * leader.c - appending, sending, counting.
 *
 * Entries go to the followers while this node's own disk writes them; the leader's copy counts,
 * like any other, when it is durable. A leader never truncates its own log (canonical/raft #320:
 * two entries with one index and term). An index is committed by counting only if its entry is of
 * the leader's own term (thesis 3.6.2, Figure 8); older ones follow. Followers hear of a new commit
 * index at once.
 */
#include "raft/core/core.h"

enum { CATCH_UP_ROUNDS = 10 };

/* Its no-op is committed: it knows what is. Reads and changes of configuration wait for this. */
bool leader_settled(const struct raft *r)
{
    return r->role == RAFT_LEADER && r->commit_index >= r->term_start_index;
}

/* ---- Appending ---- */

void leader_append_own(struct raft *r, enum raft_entry_kind kind, const struct raft_config *config)
{
    struct raft_write *w = &r->out->write;
    assert(r->role == RAFT_LEADER && w->count == 0);
    w->own_kind = kind;
    w->own_bytes = 0;
    if (config) {
        w->own_bytes = (uint32_t)raft_config_encode(config, w->own, sizeof(w->own));
        assert(w->own_bytes > 0);
    }
    logview_append(&r->log, r->hard.term, w->own_bytes);
    r->uncommitted_bytes += w->own_bytes;
    w->reserve = true;
    effects_write_entries(r, 0, 1, 0);
}

void leader_propose(struct raft *r, uint32_t count, const uint32_t *bytes, bool reserve)
{
    uint64_t total = 0;
    assert(count <= RAFT_MAX_PROPOSE);
    for (uint32_t i = 0; i < count; i++)
        total += bytes[i];
    if (r->role != RAFT_LEADER)
        r->out->refusal = RAFT_NOT_LEADER;
    else if (r->transfer_to)
        r->out->refusal = RAFT_MOVING;
    else if (!reserve && disk_refuses(r))
        r->out->refusal = RAFT_NO_SPACE;
    else if (!effects_write_room(r) ||
             (r->uncommitted_bytes && r->uncommitted_bytes + total > RAFT_MAX_UNCOMMITTED_BYTES))
        r->out->refusal = RAFT_BUSY;
    if (r->out->refusal != RAFT_ACCEPTED || count == 0)
        return;
    r->out->first_index = r->log.last_index + 1;
    for (uint32_t i = 0; i < count; i++)
        logview_append(&r->log, r->hard.term, bytes[i]);
    r->uncommitted_bytes += total;
    r->out->write.reserve = reserve;
    effects_write_entries(r, 0, count, 0);
}

/* ---- Sending ---- */

/* Entries for one message from p->next on; sets *bytes, or UINT32_MAX when sizes are forgotten. */
static uint32_t take_batch(const struct raft *r, const struct progress *p, uint32_t *bytes)
{
    uint32_t count = 0, size;
    *bytes = 0;
    for (uint64_t i = p->next; i <= r->log.last_index && count < RAFT_MAX_APPEND_ENTRIES; i++) {
        if (!logview_size(&r->log, i, &size)) {
            *bytes = UINT32_MAX;
            uint64_t left = r->log.last_index - p->next + 1;
            return left < RAFT_MAX_APPEND_ENTRIES ? (uint32_t)left : RAFT_MAX_APPEND_ENTRIES;
        }
        if (count > 0 && *bytes + size > RAFT_MAX_APPEND_BYTES)
            break;
        *bytes += size;
        count++;
    }
    return count;
}

static bool send_append(struct raft *r, struct progress *p)
{
    uint64_t prev = p->next - 1;
    uint32_t bytes;
    uint64_t prev_term = logview_term(&r->log, prev);
    uint32_t count = take_batch(r, p, &bytes);
    if (bytes == UINT32_MAX && p->state == PROGRESS_REPLICATE)
        progress_probe(p, p->next);
    struct raft_msg m = {.kind = RAFT_MSG_APPEND,
                         .to = p->id,
                         .term = r->hard.term,
                         .append = {.prev_index = prev,
                                    .prev_term = prev_term,
                                    .commit = r->commit_index,
                                    .count = count,
                                    .reserve = disk_refuses(r)}};
    if (!effects_send(r, &m, 0))
        return false;
    if (p->state == PROGRESS_REPLICATE)
        p->commit_told = r->commit_index < prev + count ? r->commit_index : prev + count;
    progress_sent(p, prev + count, bytes, r->now_us);
    return true;
}

void leader_replicate(struct raft *r)
{
    for (uint32_t i = 0; i < r->config.count; i++) {
        struct progress *p = &r->peers[i];
        if (peer_is_self(r, p->id))
            continue;
        if (p->state != PROGRESS_SNAPSHOT && p->next <= logview_floor(&r->log))
            snapshot_offer(r, p);
        while (p->next <= r->log.last_index && progress_has_room(p))
            if (!send_append(r, p))
                break;
    }
}

/*
 * To every member, as a round; or to those that do not know of a commit that they hold: the one
 * whose answer made the commit and the one whose answer comes after it hear of it at once, not with
 * the next round, for their callers wait for it. That is no round, and nobody answers it: an answer
 * would cost both ends as much as the acknowledgement did, and prove nothing that it has not.
 */
static void send_heartbeats(struct raft *r, bool round)
{
    for (uint32_t i = 0; i < r->config.count; i++) {
        struct progress *p = &r->peers[i];
        if (peer_is_self(r, p->id))
            continue;
        uint64_t commit = p->match < r->commit_index ? p->match : r->commit_index;
        if (!round && commit <= p->commit_told)
            continue;
        p->commit_told = commit;
        effects_send(r,
                     &(struct raft_msg){.kind = RAFT_MSG_HEARTBEAT,
                                        .to = p->id,
                                        .term = r->hard.term,
                                        .heartbeat = {.commit = commit,
                                                      .round = round ? r->round : 0,
                                                      .lease_us = round ? lease_wanted_us(r) : 0,
                                                      .grant_us = grant_again(r, p)}},
                     0);
    }
}

/* The end of each of a leader's steps: all that has become due leaves together. */
void leader_flush(struct raft *r)
{
    bool due = r->now_us >= r->heartbeat_at_us;
    leader_replicate(r);
    bool round = due || r->round_wanted;
    if (round) {
        r->round++;
        r->round_wanted = false;
        lease_round_begins(r);
    }
    if (due) {
        r->heartbeat_at_us = r->now_us + r->options.heartbeat_us;
        snapshot_offer_again(r);
    }
    send_heartbeats(r, round);
}

/* ---- Counting ---- */

void leader_advance_commit(struct raft *r)
{
    uint64_t match[RAFT_MAX_MEMBERS];
    uint32_t size;
    for (uint32_t i = 0; i < r->config.count; i++)
        match[i] = peer_is_self(r, r->peers[i].id) ? r->log.durable_index : r->peers[i].match;
    uint64_t index = grant_commit(r, quorum_commit(&r->config, match));
    if (index <= r->commit_index || logview_term(&r->log, index) != r->hard.term)
        return;
    for (uint64_t i = r->commit_index + 1; i <= index && r->uncommitted_bytes; i++)
        if (logview_size(&r->log, i, &size))
            r->uncommitted_bytes -= size < r->uncommitted_bytes ? size : r->uncommitted_bytes;
    r->commit_index = index;
    if (index == r->log.last_index)
        r->uncommitted_bytes = 0;
}

/*
 * A learner has caught up when it kept pace for a round shorter than an election timeout, or for
 * ten rounds of any length: on a busy machine none may ever be that short (thesis 4.2.1). Asked
 * with each answer, heartbeats too: an idle log brings no others.
 */
static void note_catching_up(struct raft *r, struct progress *p)
{
    if (p->catch_up_index == 0) {
        p->catch_up_index = r->log.last_index;
        p->catch_up_since_us = r->now_us;
    }
    if (p->match < p->catch_up_index)
        return;
    p->catch_up_rounds++;
    p->caught_up = r->now_us < p->catch_up_since_us + r->options.election_us ||
                   p->catch_up_rounds >= CATCH_UP_ROUNDS;
    p->catch_up_index = r->log.last_index;
    p->catch_up_since_us = r->now_us;
}

static void on_refusal(struct raft *r, struct progress *p, const struct raft_msg *m)
{
    uint64_t prev = m->append_reply.match;
    bool stale = p->state == PROGRESS_REPLICATE ? prev <= p->match : prev != p->next - 1;
    if (stale || prev == 0 || p->state == PROGRESS_SNAPSHOT)
        return;
    uint64_t hint = m->append_reply.hint_index < prev ? m->append_reply.hint_index : prev - 1;
    if (hint >= logview_floor(&r->log))
        hint = logview_last_at_most(&r->log, hint, m->append_reply.hint_term);
    progress_probe(p, hint + 1); /* behind the floor: it needs a snapshot */
}

void leader_on_append_reply(struct raft *r, const struct raft_msg *m)
{
    int slot = membership_slot(r, m->from);
    if (slot < 0)
        return;
    struct progress *p = &r->peers[slot];
    p->contact_us = r->now_us;
    p->disk = m->append_reply.disk;
    if (!m->append_reply.ok) {
        on_refusal(r, p, m);
        return;
    }
    if (m->append_reply.match > r->log.last_index) {
        r->dropped++;
        return;
    }
    uint32_t size;
    bool news = progress_matched(p, m->append_reply.match, r->now_us);
    if (news && p->state != PROGRESS_REPLICATE && p->match >= logview_floor(&r->log)) {
        progress_probe(p, p->match + 1);
        if (p->next > r->log.last_index || logview_size(&r->log, p->next, &size))
            progress_replicate(p);
    }
    note_catching_up(r, p);
}

/*
 * The connection works. What is still unanswered after a while was lost: back to where the member
 * is known to be.
 */
void leader_on_heartbeat_reply(struct raft *r, const struct raft_msg *m)
{
    int slot = membership_slot(r, m->from);
    if (slot < 0)
        return;
    struct progress *p = &r->peers[slot];
    p->contact_us = r->now_us;
    p->disk = m->heartbeat_reply.disk;
    if (m->heartbeat_reply.round > r->round) {
        r->dropped++;
        return;
    }
    if (m->heartbeat_reply.round > p->round)
        p->round = m->heartbeat_reply.round;
    progress_retry(p, r->options.heartbeat_us, r->now_us);
    note_catching_up(r, p);
}

/* What was in flight is lost; what was a guess is one still. */
void leader_on_lost(struct progress *p)
{
    if (p->state != PROGRESS_SNAPSHOT)
        progress_probe(p, p->state == PROGRESS_REPLICATE ? p->match + 1 : p->next);
    progress_restart_catching_up(p);
}

/* ---- Handing over ---- */

void leader_begin_transfer(struct raft *r, raft_id to)
{
    r->transfer_to = to;
    r->transfer_sent = false;
    r->transfer_until_us = r->now_us + r->options.election_us;
}

/*
 * Nothing is proposed while a handover waits for its successor, and whoever wants one asks again
 * and again: to one who is not there, or far behind, that would stop all writes for as long.
 */
static bool can_take_over(const struct raft *r, const struct progress *p)
{
    return p->contact_us && r->now_us < p->contact_us + r->options.election_us &&
           (p->state == PROGRESS_REPLICATE || p->match == r->log.last_index);
}

void leader_transfer(struct raft *r, raft_id to)
{
    if (r->role != RAFT_LEADER)
        r->out->refusal = RAFT_NOT_LEADER;
    else if (!membership_is_voter(r, to) || peer_is_self(r, to))
        r->out->refusal = RAFT_INVALID;
    else if (r->transfer_to ? r->transfer_to != to
                            : !can_take_over(r, &r->peers[membership_slot(r, to)]))
        r->out->refusal = RAFT_BUSY;
    else if (!r->transfer_to)
        leader_begin_transfer(r, to);
}

/* Whoever does not lead asks the one who does. */
void leader_ask_transfer(struct raft *r, raft_id to)
{
    if (r->role == RAFT_LEADER)
        leader_transfer(r, to);
    else if (r->leader == 0)
        r->out->refusal = RAFT_NO_LEADER;
    else
        effects_send(r,
                     &(struct raft_msg){.kind = RAFT_MSG_TRANSFER,
                                        .to = r->leader,
                                        .term = r->hard.term,
                                        .transfer = {.to = to}},
                     0);
}

/* Who has most of the log, of the voters that answer; a sound disk may be asked for. */
raft_id leader_best_successor(const struct raft *r, bool sound)
{
    raft_id best = 0;
    uint64_t best_match = 0;
    for (uint32_t i = 0; i < r->config.count; i++) {
        const struct progress *p = &r->peers[i];
        if (peer_is_self(r, p->id) || !r->config.members[i].voter || p->contact_us == 0 ||
            r->now_us > p->contact_us + r->options.election_us ||
            (sound && (p->disk.full || p->disk.stalled)))
            continue;
        if (best == 0 || p->match > best_match) {
            best = p->id;
            best_match = p->match;
        }
    }
    return best;
}

/* Thesis 3.10: wait until the successor has everything, then tell it not to wait. */
void leader_push_transfer(struct raft *r)
{
    int slot = membership_slot(r, r->transfer_to);
    if (r->transfer_to == 0 || slot < 0 || r->transfer_sent ||
        r->peers[slot].match < r->log.last_index || grant_next_end_us(r))
        return;
    r->transfer_sent =
        effects_send(r,
                     &(struct raft_msg){
                         .kind = RAFT_MSG_TIMEOUT_NOW, .to = r->transfer_to, .term = r->hard.term},
                     0);
    r->word_given = r->word_given || r->transfer_sent;
}

void leader_tick(struct raft *r)
{
    disk_watch(r);
    if (r->role != RAFT_LEADER)
        return;
    bool removed = r->config_index <= r->commit_index && !membership_is_voter(r, r->options.id);
    if (r->transfer_to && r->now_us >= r->transfer_until_us) {
        r->transfer_to = 0;
        if (removed) {
            become_follower(r, r->hard.term, 0);
            return;
        }
    }
    /* A leader that removed itself leads until that is committed, then leaves (thesis 4.2.2). */
    if (removed && r->transfer_to == 0 && leader_best_successor(r, false))
        leader_begin_transfer(r, leader_best_successor(r, false));
}
