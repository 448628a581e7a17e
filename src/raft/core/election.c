/* SPDX-License-Identifier: MIT */
/*
 * election.c - time-outs, pre-votes, votes, stickiness, the end of a leader without a quorum.
 *
 * A node that hears no leader asks first whether it could win (thesis 9.6): a pre-vote changes
 * nobody's term, so a node that was cut off does not disturb the others when it comes back. A voter
 * that heard its leader within an election timeout refuses (thesis 4.2.3), unless the leader itself
 * asked for the election. A refusal carries the voter's term, or a higher term would never spread
 * among pre-candidates. A broken connection to the leader ends that loyalty at once, but not what
 * was promised for the leader's lease (lease.c). Who grants a pre-vote lets the asker go first: all
 * survivors notice a death together, and would split the vote (give_way()).
 *
 * How long a leader may be silent grows with how long the living have been (patience.h), for its
 * followers as for the leader that waits for a majority's answers. And silence means something only
 * to who was there to hear it. A process that was stopped, starved or asleep wakes up with timers
 * that have run out long ago, while what the others sent meanwhile still waits in its sockets; and
 * while it leads, nobody answers what it never asked. So after an absence silence counts anew, once
 * until the others are heard again: a node that is away all the time still finds a dead leader out.
 *
 * Votes are given without a look at the local configuration, which may be older than the
 * candidate's (thesis 4.1); a learner that was promoted without knowing it must vote.
 */
#include "raft/core/core.h"

static uint64_t random_below(struct raft *r, uint64_t bound)
{
    /* splitmix64 */
    uint64_t z = (r->rng += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % bound;
}

void election_reset_timer(struct raft *r)
{
    r->election_at_us =
        r->now_us + r->options.election_us + random_below(r, r->options.election_us);
}

static uint64_t patience_us(const struct raft *r)
{
    return patience_timeout_us(&r->patience, r->options.election_us, r->now_us);
}

/* Since when silence counts: the others were heard, or this node was away. */
static uint64_t silent_since_us(const struct raft *r, uint64_t heard_us)
{
    return heard_us > r->back_us ? heard_us : r->back_us;
}

/*
 * There is one leader a term, so silence that one of the same term ends was its own. But what comes
 * first of a new one may come by fits and starts, over a network that has just healed.
 */
void election_leader_heard(struct raft *r)
{
    if (r->leader_contact_term != r->hard.term)
        r->leader_since_us = r->now_us;
    else if (r->leader_contact_us >= r->leader_since_us + r->options.election_us)
        patience_learn(&r->patience, r->now_us - silent_since_us(r, r->leader_contact_us),
                       r->options.election_us, r->now_us);
    r->leader_contact_us = r->now_us;
    r->leader_contact_term = r->hard.term;
    r->leader_lost = false;
    r->election_at_us = r->now_us + patience_us(r) + random_below(r, r->options.election_us);
}

/* An answer to who led this term and gave up: too early. */
void election_answered_late(struct raft *r)
{
    if (r->led_term != r->hard.term)
        return;
    patience_learn(&r->patience, r->now_us - silent_since_us(r, r->quorum_contact_us),
                   r->options.election_us, r->now_us);
    r->led_term = 0;
}

/* This node comes a heartbeat or more too late to what it wanted to wake up for. */
void election_excuse_absence(struct raft *r)
{
    uint64_t heard_us = r->role == RAFT_LEADER ? r->quorum_contact_us : r->leader_contact_us;
    if (r->leader_lost || r->back_us > heard_us)
        return;
    r->back_us = r->now_us;
    if (r->role != RAFT_LEADER)
        election_reset_timer(r);
}

/*
 * There is nothing to wait for but one's own disk, or the end of one's promise; apart, lest two
 * candidates split the vote.
 */
static void try_soon(struct raft *r)
{
    uint64_t from_us = lease_promised(r) ? r->promise_until_us : r->now_us;
    r->election_at_us = from_us + 1 + random_below(r, r->options.heartbeat_us / 4);
}

/*
 * Only a voter campaigns. Who is one no more by an entry that is not committed yet must be able to:
 * a leader that removed itself and lost office may be the only one with that entry, and then nobody
 * else can win (thesis 4.2.2).
 */
static bool may_campaign(const struct raft *r)
{
    const struct raft_member *before = NULL;
    if (r->config_index > r->commit_index)
        before = raft_config_find(&r->previous_config, r->options.id);
    return membership_is_voter(r, r->options.id) ||
           (before && (before->voter || before->voter_out));
}

/* And not while its own log is still on the way to its disk: votes go by what is durable. */
static bool log_is_durable(const struct raft *r)
{
    return r->log.durable_index == r->log.last_index && effects_write_room(r);
}

static bool won(const struct raft *r)
{
    return quorum_reached(&r->config, r->granted);
}

static void ask_all(struct raft *r, enum raft_msg_kind kind, uint64_t term, uint64_t after_write)
{
    for (uint32_t i = 0; i < r->config.count; i++) {
        const struct raft_member *m = &r->config.members[i];
        if (!m->voter && !m->voter_out)
            continue;
        effects_send(r,
                     &(struct raft_msg){.kind = kind,
                                        .to = m->id,
                                        .term = term,
                                        .vote = {.last_index = r->log.durable_index,
                                                 .last_term = logview_durable_term(&r->log),
                                                 .transfer = r->transferred}},
                     after_write);
    }
}

static void campaign(struct raft *r, bool transferred)
{
    become_candidate(r, transferred);
    ask_all(r, RAFT_MSG_VOTE, r->hard.term, r->hard_write);
}

static uint64_t soon_us(const struct raft *r)
{
    return r->now_us + r->options.heartbeat_us / 2;
}

/* The others will notice, too, that the leader has died, and their promises end. */
static void ask_again_soon(struct raft *r)
{
    r->election_at_us = soon_us(r) + random_below(r, r->options.heartbeat_us / 2);
}

static void pre_campaign(struct raft *r)
{
    if (!may_campaign(r)) {
        set_leader(r, 0);
        election_reset_timer(r);
        return;
    }
    if (!log_is_durable(r) || lease_promised(r)) {
        set_leader(r, 0);
        try_soon(r);
        return;
    }
    become_pre_candidate(r);
    if (r->leader_lost && r->now_us < r->leader_contact_us + patience_us(r))
        ask_again_soon(r);
    r->transferred = false;
    int self = membership_slot(r, r->options.id);
    if (self >= 0)
        r->granted[self] = true; /* a pre-vote promises nothing, so nothing need be durable */
    if (won(r))
        campaign(r, false);
    else
        ask_all(r, RAFT_MSG_PREVOTE, r->hard.term + 1, 0);
}

void election_tick(struct raft *r)
{
    if (r->role != RAFT_LEADER && r->now_us >= r->election_at_us)
        pre_campaign(r);
}

/* A candidate's vote for itself counts when it is durable, like any other. */
void election_on_durable(struct raft *r)
{
    int self = membership_slot(r, r->options.id);
    if (r->role != RAFT_CANDIDATE || r->log.durable_write_id < r->hard_write)
        return;
    if (self >= 0)
        r->granted[self] = true;
    if (won(r))
        become_leader(r);
}

/* Thesis 3.6.1; against all of our log, durable or not, since we may acknowledge it any moment. */
static bool up_to_date(const struct raft *r, const struct raft_msg *m)
{
    uint64_t term = logview_last_term(&r->log);
    return m->vote.last_term > term ||
           (m->vote.last_term == term && m->vote.last_index >= r->log.last_index);
}

static bool hears_leader(const struct raft *r)
{
    if (r->role == RAFT_LEADER)
        return true; /* check-quorum ends it in time */
    return r->leader != 0 && r->now_us < silent_since_us(r, r->leader_contact_us) + patience_us(r);
}

static void answer(struct raft *r, const struct raft_msg *m, bool granted, uint64_t after_write)
{
    bool pre = m->kind == RAFT_MSG_PREVOTE;
    effects_send(r,
                 &(struct raft_msg){.kind = pre ? RAFT_MSG_PREVOTE_REPLY : RAFT_MSG_VOTE_REPLY,
                                    .to = m->from,
                                    .term = r->hard.term,
                                    .vote_reply = {.election_term = m->term, .granted = granted}},
                 after_write);
}

/*
 * Who grants a pre-vote lets the asker go first. All survivors see a dead leader's connection break
 * in one moment, and their promises (lease.c) end together: two that ask within one trip over the
 * network, or while the other's term is on its way to the disk, would both be granted, split the
 * vote and wait for a whole timeout; where the network is slow, mostly. So a follower puts its own
 * try off, and of two that ask the one with the older log steps back, or the one with the lower id.
 * On one connection the other's question comes before its grant, so two survivors of three never
 * split a vote.
 *
 * Ranks among candidates were given up for Raft: a lower one that times out again undoes what the
 * higher one has reached (thesis 3.4). A pre-vote undoes nothing. Another try soon after a split
 * vote would: where disks are slow, the votes of who has won may still be on their way to them.
 */
static void give_way(struct raft *r, const struct raft_msg *m)
{
    bool newer = m->vote.last_term != logview_last_term(&r->log) ||
                 m->vote.last_index != r->log.last_index; /* since it is not older */
    if (r->role == RAFT_PRE_CANDIDATE && (newer || m->from > r->options.id))
        become_follower(r, r->hard.term,
                        0); /* for a whole timeout: the other one is about to win */
    else if (r->role == RAFT_FOLLOWER && r->election_at_us < soon_us(r))
        ask_again_soon(r); /* it may die, or not win for all our grant */
}

void election_on_vote(struct raft *r, const struct raft_msg *m)
{
    bool pre = m->kind == RAFT_MSG_PREVOTE;
    bool sticky = (hears_leader(r) || lease_promised(r)) && !m->vote.transfer;
    if (m->term < r->hard.term || sticky || (pre && m->term == r->hard.term)) {
        answer(r, m, false, r->hard_write);
        return;
    }
    if (pre) {
        bool grant = up_to_date(r, m);
        if (grant)
            give_way(r, m);
        answer(r, m, grant, 0);
        return;
    }
    if (m->term > r->hard.term)
        become_follower(r, m->term, 0);
    bool free = r->hard.vote == 0 || r->hard.vote == m->from;
    bool grant = r->role == RAFT_FOLLOWER && free && up_to_date(r, m);
    if (grant && r->hard.vote == 0) {
        r->hard.vote = m->from;
        effects_write_hard(r);
    }
    if (grant)
        election_reset_timer(r);
    answer(r, m, grant, r->hard_write);
}

void election_on_vote_reply(struct raft *r, const struct raft_msg *m)
{
    bool pre = m->kind == RAFT_MSG_PREVOTE_REPLY;
    uint64_t asked = pre ? r->hard.term + 1 : r->hard.term;
    if (m->term > r->hard.term) {
        become_follower(r, m->term, 0);
        return;
    }
    int slot = membership_slot(r, m->from);
    if (slot < 0 || !m->vote_reply.granted || m->vote_reply.election_term != asked ||
        r->role != (pre ? RAFT_PRE_CANDIDATE : RAFT_CANDIDATE))
        return;
    r->granted[slot] = true;
    if (!won(r))
        return;
    if (pre)
        campaign(r, false);
    else
        become_leader(r);
}

/* The leader wants us to take over at once (thesis 3.10): no pre-vote, and no stickiness. */
void election_on_timeout_now(struct raft *r, const struct raft_msg *m)
{
    if (m->from == r->leader && r->role == RAFT_FOLLOWER && may_campaign(r) && log_is_durable(r))
        campaign(r, true);
}

/*
 * The leader's process has died: there is nothing left to be loyal to, and nothing to wait for but
 * what was promised to it.
 */
void election_on_lost(struct raft *r, raft_id peer)
{
    if (r->role == RAFT_LEADER || peer != r->leader)
        return;
    set_leader(r, 0);
    r->leader_lost = true;
    uint64_t otherwise_us = r->election_at_us;
    try_soon(r);
    if (otherwise_us < r->election_at_us)
        r->election_at_us = otherwise_us;
}

/*
 * Check-quorum: a leader that a majority has not answered for too long steps down and falls silent,
 * or its heartbeats would keep a bridge node loyal to it (openraft #2080).
 */
void election_check(struct raft *r)
{
    uint64_t contact_us[RAFT_MAX_MEMBERS];
    if (r->role != RAFT_LEADER)
        return;
    for (uint32_t i = 0; i < r->config.count; i++) {
        contact_us[i] = r->peers[i].contact_us;
        if (contact_us[i] < r->role_since_us)
            contact_us[i] = r->role_since_us;
        if (peer_is_self(r, r->config.members[i].id))
            contact_us[i] = r->now_us;
    }
    uint64_t heard_us = quorum_commit(&r->config, contact_us);
    uint64_t since_us = silent_since_us(r, r->quorum_contact_us);
    if (heard_us > since_us && r->quorum_contact_us >= r->role_since_us)
        patience_learn(&r->patience, heard_us - since_us, r->options.election_us, r->now_us);
    r->quorum_contact_us = heard_us;
    if (r->now_us >= silent_since_us(r, heard_us) + patience_us(r))
        become_follower(r, r->hard.term, 0);
}
