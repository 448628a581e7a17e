/* SPDX-License-Identifier: MIT */
/* requests.c - what the node asks of the core: proposals, reads, leadership, and how it stands. */
#include <assert.h>

#include "base/clock.h"
#include "raft/internal.h"

/* ---- Asking ---- */

enum raft_driver_sent raft_driver_append(struct raft_driver *d, struct buf *const *payloads,
                                         uint32_t count)
{
    uint32_t bytes[RAFT_MAX_PROPOSE];
    bool reserve = true;
    assert(count <= RAFT_MAX_PROPOSE);
    for (uint32_t i = 0; i < count; i++) {
        if (!d->callbacks.stamp(d->callbacks.ctx, payloads[i]))
            return RAFT_SENT_NOWHERE;
        bytes[i] = payloads[i]->bytes;
        reserve = reserve && d->callbacks.frees_space(d->callbacks.ctx, payloads[i]);
    }
    raft_driver_step_with(
        d, &(struct raft_event){.kind = RAFT_PROPOSE, .propose = {count, bytes, reserve}},
        (struct payload_source){.payloads = payloads});
    return d->out->refusal == RAFT_ACCEPTED   ? RAFT_SENT_APPENDED
           : d->out->refusal == RAFT_NO_SPACE ? RAFT_SENT_FULL
                                              : RAFT_SENT_NOWHERE;
}

enum raft_driver_sent raft_driver_propose(struct raft_driver *d, uint64_t seq,
                                          struct buf *const *payloads, uint32_t count)
{
    if (raft_role(d->core) == RAFT_LEADER)
        return raft_driver_append(d, payloads, count);
    raft_id leader = raft_leader(d->core);
    if (leader == 0 || !raft_net_forward(d->net, leader, seq, payloads, count))
        return RAFT_SENT_NOWHERE;
    return RAFT_SENT_FORWARDED;
}

bool raft_driver_read(struct raft_driver *d, uint64_t token)
{
    raft_driver_step(d, &(struct raft_event){.kind = RAFT_READ, .read = {token}});
    return d->out->refusal == RAFT_ACCEPTED;
}

/*
 * The lease is read before the index: whoever sees a lease sees the commit index that was published
 * with it, or a later one. The clock is read last: nobody else can have committed anything until
 * the lease ends. A grant likewise: what this member acknowledges later, and others may then be
 * told of, it acknowledges after both have been published anew.
 */
bool raft_driver_read_now(const struct raft_driver *d, uint64_t *index)
{
    uint64_t until_us = atomic_load(&d->lease_until_us);
    *index = atomic_load(&d->lease_index);
    return until_us != 0 && clock_boot_us() < until_us;
}

void raft_driver_transfer(struct raft_driver *d, raft_id to)
{
    raft_driver_step(d, &(struct raft_event){.kind = RAFT_TRANSFER, .transfer = {to}});
}

bool raft_driver_hand_over(struct raft_driver *d)
{
    if (raft_role(d->core) != RAFT_LEADER)
        return false;
    const struct raft_config *config = raft_config(d->core, NULL);
    uint64_t now_us = clock_boot_us(), best_match = 0;
    raft_id best = 0;
    for (uint32_t i = 0; i < config->count; i++) {
        const struct raft_member *m = &config->members[i];
        struct raft_peer_status s = raft_peer_status(d->core, m->id, now_us);
        bool there = raft_net_is_up(d->net, m->id) && s.contact_us <= RAFT_DRIVER_ELECTION_US;
        if (m->id == d->identity.id || !m->voter || !there)
            continue;
        if (best == 0 || s.match > best_match) {
            best = m->id;
            best_match = s.match;
        }
    }
    if (best)
        raft_driver_transfer(d, best);
    return best != 0;
}

void raft_driver_join(struct raft_driver *d, const char *addresses,
                      const struct raft_net_join *join,
                      void (*on_reply)(void *ctx, const struct raft_net_join_reply *reply),
                      void *ctx)
{
    raft_net_join_start(d->net, addresses, join, on_reply, ctx);
}

void raft_driver_join_stop(struct raft_driver *d)
{
    raft_net_join_stop(d->net);
}

void raft_driver_invite(struct raft_driver *d, const char *name, const char *address,
                        void (*on_reply)(void *ctx,
                                         const struct raft_net_introduction *introduction),
                        void *ctx)
{
    raft_net_invite_start(d->net, name, address, on_reply, ctx);
}

void raft_driver_invite_stop(struct raft_driver *d)
{
    raft_net_invite_stop(d->net);
}

void raft_driver_set_cluster(struct raft_driver *d, uint64_t cluster)
{
    d->identity.cluster = cluster;
    raft_net_set_cluster(d->net, cluster);
}

raft_id raft_driver_leader(const struct raft_driver *d)
{
    return raft_leader(d->core);
}

bool raft_driver_votes(const struct raft_driver *d)
{
    const struct raft_member *self = raft_config_find(raft_config(d->core, NULL), d->identity.id);
    return self && self->voter;
}

bool raft_driver_leads(const struct raft_driver *d)
{
    return raft_role(d->core) == RAFT_LEADER;
}

uint64_t raft_driver_log_bytes(const struct raft_driver *d)
{
    return raft_log_bytes(d->log);
}

uint64_t raft_driver_commit_index(const struct raft_driver *d)
{
    return raft_commit_index(d->core);
}

bool raft_driver_snapshot_ask(struct raft_driver *d, raft_id to,
                              const struct raft_net_snapshot_ask *ask)
{
    return raft_net_snapshot_ask(d->net, to, ask);
}

bool raft_driver_snapshot_piece(struct raft_driver *d, raft_id to,
                                const struct raft_net_snapshot_piece *piece, struct buf *data)
{
    return raft_net_snapshot_piece(d->net, to, piece, data);
}

/* ---- Looking in ---- */

uint64_t raft_driver_least_match(struct raft_driver *d, uint64_t contact_us, bool unheard)
{
    const struct raft_config *config = raft_config(d->core, NULL);
    uint64_t now_us = clock_boot_us(), least = UINT64_MAX;
    for (uint32_t i = 0; raft_role(d->core) == RAFT_LEADER && i < config->count; i++) {
        if (config->members[i].id == d->identity.id)
            continue;
        struct raft_peer_status s = raft_peer_status(d->core, config->members[i].id, now_us);
        bool counts = s.contact_us == UINT64_MAX ? unheard : s.contact_us <= contact_us;
        if (counts && s.match < least)
            least = s.match;
    }
    return least;
}

static void member_status(struct raft_driver *d, const struct raft_member *m, uint64_t now_us,
                          struct raft_driver_member_status *out)
{
    const struct member_heard *heard = raft_driver_heard(d, m->id);
    *out = (struct raft_driver_member_status){.member = *m, .contact_ms = -1};
    if (m->id == d->identity.id) {
        out->match = raft_durable_index(d->core);
        out->contact_ms = 0;
        out->up = true;
        return;
    }
    out->match = raft_peer_status(d->core, m->id, now_us).match;
    if (heard) {
        uint64_t at_us = heard->at_us;
        out->up = heard->up;
        if (at_us) /* which may be later than now_us: the loop goes on meanwhile */
            out->contact_ms = at_us < now_us ? (int64_t)((now_us - at_us) / 1000) : 0;
    }
}

void raft_driver_status(struct raft_driver *d, struct raft_driver_status *out)
{
    pthread_mutex_lock(&d->core_lock);
    uint64_t now_us = clock_boot_us();
    uint64_t config_index = 0;
    const struct raft_config *config = raft_config(d->core, &config_index);
    const struct raft_member *self = raft_config_find(config, d->identity.id);
    *out = (struct raft_driver_status){
        .role = raft_role(d->core),
        .voter = self && (self->voter || self->voter_out),
        .quorum = raft_has_quorum(d->core, now_us),
        .term = raft_term(d->core),
        .leader = raft_leader(d->core),
        .elections = raft_elections(d->core),
        .commit_index = raft_commit_index(d->core),
        .last_index = raft_last_index(d->core),
        .base_index = raft_base_index(d->core),
        .config_committed = config_index <= raft_commit_index(d->core),
        .member_count = config->count,
    };
    for (uint32_t i = 0; i < config->count; i++)
        member_status(d, &config->members[i], now_us, &out->members[i]);
    pthread_mutex_unlock(&d->core_lock);
}
