/* SPDX-License-Identifier: MIT */
/*
 * read.c - ReadIndex (thesis 6.4): linearizable reads without a log entry.
 *
 * The leader notes its commit index, then proves by a round of heartbeats that it still leads, and
 * answers with the index. A round is a number of the leader's own, and a read asks for one that has
 * not begun: an echo of an earlier round, or of a token that the asker may use twice, proves
 * nothing about the time after the read was asked for (etcd #20418). Until the leader's no-op is
 * committed it does not know what is (etcd #7331), so the index is noted only then. Followers
 * forward the question. While the leader's lease holds (lease.c) it answers at once, and a member
 * that it has granted a moment (grant.c) does not even ask.
 */
#include "raft/core/core.h"

static void reply(struct raft *r, const struct pending_read *p, uint64_t index, bool ok)
{
    bool grant = ok && p->takes_grant;
    if (peer_is_self(r, p->from)) {
        effects_read_done(r, p->token, index, ok);
        return;
    }
    effects_send(r,
                 &(struct raft_msg){.kind = RAFT_MSG_READ_REPLY,
                                    .to = p->from,
                                    .term = r->hard.term,
                                    .read_reply = {.token = p->token,
                                                   .index = index,
                                                   .ok = ok,
                                                   .grant_us = grant ? grant_give(r, p->from) : 0}},
                 0);
}

static bool add(struct raft *r, raft_id from, uint64_t token, bool takes_grant)
{
    if (r->read_count == MAX_READ_TOKENS)
        return false;
    r->reads[r->read_count++] =
        (struct pending_read){.token = token,
                              .from = from,
                              .index = leader_settled(r) ? r->commit_index : 0,
                              .round = r->round + 1,
                              .asked_us = r->now_us,
                              .takes_grant = takes_grant};
    if (r->role == RAFT_LEADER && !lease_holds(r))
        r->round_wanted = true;
    return true;
}

void read_ask(struct raft *r, uint64_t token)
{
    if (r->leader == 0) {
        r->out->refusal = RAFT_NO_LEADER;
        return;
    }
    if (grant_holds(r)) {
        effects_read_done(r, token, r->commit_index, true);
        return;
    }
    if (!add(r, r->options.id, token, false)) {
        r->out->refusal = RAFT_BUSY;
        return;
    }
    if (r->role != RAFT_LEADER)
        effects_send(r,
                     &(struct raft_msg){.kind = RAFT_MSG_READ,
                                        .to = r->leader,
                                        .term = r->hard.term,
                                        .read = {.token = token, .takes_grant = r->options.lease}},
                     0);
}

void read_on_request(struct raft *r, const struct raft_msg *m)
{
    int slot = membership_slot(r, m->from);
    if (r->role == RAFT_LEADER && slot >= 0)
        r->peers[slot].asked_us = m->read.takes_grant ? r->now_us : 0;
    if (r->role != RAFT_LEADER || !add(r, m->from, m->read.token, m->read.takes_grant))
        reply(r, &(struct pending_read){.token = m->read.token, .from = m->from}, 0, false);
}

static void drop(struct raft *r, uint32_t k)
{
    r->read_count--;
    for (; k < r->read_count; k++)
        r->reads[k] = r->reads[k + 1];
}

void read_on_reply(struct raft *r, const struct raft_msg *m)
{
    if (m->from != r->leader || r->role == RAFT_LEADER)
        return;
    for (uint32_t k = 0; k < r->read_count; k++) {
        if (r->reads[k].token != m->read_reply.token)
            continue;
        effects_read_done(r, m->read_reply.token, m->read_reply.index, m->read_reply.ok);
        if (m->read_reply.ok)
            grant_take(r, r->reads[k].asked_us, m->read_reply.grant_us);
        drop(r, k);
        return;
    }
}

/* Answers what a quorum has confirmed. Rounds grow along the list, so the first refusal ends it. */
void read_confirm(struct raft *r)
{
    bool echoed[RAFT_MAX_MEMBERS];
    uint32_t done = 0;
    if (!leader_settled(r))
        return;
    bool leased = lease_holds(r);
    for (; done < r->read_count; done++) {
        struct pending_read *p = &r->reads[done];
        for (uint32_t i = 0; i < r->config.count; i++)
            echoed[i] = peer_is_self(r, r->peers[i].id) || r->peers[i].round >= p->round;
        if (!leased && !quorum_reached(&r->config, echoed))
            break;
        reply(r, p, p->index ? p->index : r->commit_index, true);
    }
    for (uint32_t k = done; done > 0 && k < r->read_count; k++)
        r->reads[k - done] = r->reads[k];
    r->read_count -= done;
}

void read_fail_all(struct raft *r)
{
    for (uint32_t k = 0; k < r->read_count; k++)
        reply(r, &r->reads[k], 0, false);
    r->read_count = 0;
}

/* A question, or its answer, was lost. */
void read_tick(struct raft *r)
{
    if (r->role == RAFT_LEADER)
        return;
    while (r->read_count > 0 && r->now_us >= r->reads[0].asked_us + r->options.election_us) {
        reply(r, &r->reads[0], 0, false);
        drop(r, 0);
    }
}
