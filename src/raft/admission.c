/* SPDX-License-Identifier: MIT */
/*
 * admission.c - who joins, and who has left.
 *
 * A node names itself and its address, again and again until it is a member. It is told apart from
 * others by its incarnation: another incarnation under a member's name is either a second node with
 * a name that is taken, or the same node whose data directory was lost. The address tells.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "raft/internal.h"

static bool in_contact(struct raft_driver *d, const struct raft_member *m)
{
    if (m->id == d->identity.id)
        return true;
    struct raft_peer_status status = raft_peer_status(d->core, m->id, clock_mono_us());
    return status.contact_us < 2 * RAFT_DRIVER_ELECTION_US;
}

static enum raft_net_join_status change_members(struct raft_driver *d, enum raft_change_kind kind,
                                                const struct raft_member *member)
{
    raft_driver_step(d, &(struct raft_event){.kind = RAFT_CHANGE, .change = {kind, *member}});
    switch (d->out->refusal) {
    case RAFT_ACCEPTED:
        return RAFT_JOIN_PENDING;
    case RAFT_INVALID:
        return RAFT_JOIN_REFUSED;
    default:
        return RAFT_JOIN_RETRY;
    }
}

/* Joining is idempotent by name and incarnation: a node repeats it until it is a member. */
static enum raft_net_join_status admit(struct raft_driver *d, const struct raft_net_join *join,
                                       struct raft_net_join_reply *reply)
{
    uint64_t index = 0;
    const struct raft_config *config = raft_config(d->core, &index);
    struct raft_member wanted = {.id = join->id, .promote = join->voter};
    memcpy(wanted.name, join->name, sizeof(wanted.name));
    memcpy(wanted.address, join->address, sizeof(wanted.address));
    const struct raft_member *known = raft_config_find(config, join->id);
    if (known && strcmp(known->address, join->address) == 0)
        return index <= raft_commit_index(d->core) ? RAFT_JOIN_OK : RAFT_JOIN_PENDING;
    if (known)
        return change_members(d, RAFT_CHANGE_ADDRESS, &wanted);

    const struct raft_member *holder = raft_config_find_name(config, join->name);
    if (!holder)
        return change_members(d, RAFT_CHANGE_ADD, &wanted);
    /* Who asks from the holder's own address listens there, or knows it: the holder is gone. */
    bool gone = strcmp(holder->address, join->address) == 0 || holder->id == join->replaces;
    if (!gone && in_contact(d, holder)) {
        snprintf(reply->why, sizeof(reply->why),
                 "the name %s is taken by the member at %s: choose another -id", holder->name,
                 holder->address);
        return RAFT_JOIN_NAME_TAKEN;
    }
    /* The holder's data directory is gone, or it is down: its successor comes as a new member. */
    enum raft_net_join_status status = change_members(d, RAFT_CHANGE_REMOVE, holder);
    return status == RAFT_JOIN_PENDING ? RAFT_JOIN_RETRY : status;
}

void raft_driver_on_join(void *ctx, const struct raft_net_join *join,
                         struct raft_net_join_reply *reply)
{
    struct raft_driver *d = ctx;
    *reply = (struct raft_net_join_reply){.status = RAFT_JOIN_RETRY};
    snprintf(reply->why, sizeof(reply->why), "no leader yet");
    if (!d->core || d->closing)
        return;
    reply->cluster = d->identity.cluster;
    raft_id leader = raft_leader(d->core);
    const struct raft_member *m = raft_config_find(raft_config(d->core, NULL), leader);
    if (leader == d->identity.id) {
        snprintf(reply->why, sizeof(reply->why), "the leader is busy with another change");
        reply->status = admit(d, join, reply);
        if (reply->status == RAFT_JOIN_REFUSED)
            snprintf(reply->why, sizeof(reply->why),
                     "the cluster is full (%d members) or %s names a member already",
                     RAFT_MAX_MEMBERS, join->address);
        d->callbacks.settled(d->callbacks.ctx);
    } else if (leader && m) {
        reply->status = RAFT_JOIN_REDIRECT;
        memcpy(reply->leader_address, m->address, sizeof(m->address));
    }
}

/* ---- Members that change ---- */

static enum raft_refusal change(struct raft_driver *d, const struct raft_net_change *c)
{
    struct raft_event event = {
        .kind = RAFT_CHANGE,
        .change = {.kind = c->kind, .member = {.id = c->member, .promote = c->promote}}};
    memcpy(event.change.member.address, c->address, sizeof(c->address));
    memcpy(event.change.member.name, c->name, sizeof(c->name));
    raft_driver_step(d, &event);
    return d->out->refusal;
}

void raft_driver_on_change(void *ctx, raft_id from, const struct raft_net_change *c)
{
    struct raft_driver *d = ctx;
    if (!d->core || d->closing)
        return;
    raft_net_change_reply(d->net, from, c->seq, change(d, c));
    d->callbacks.settled(d->callbacks.ctx);
}

bool raft_driver_change(struct raft_driver *d, const struct raft_net_change *c)
{
    raft_id leader = raft_leader(d->core);
    if (leader != d->identity.id)
        return leader && raft_net_change(d->net, leader, c);
    d->callbacks.change_done(d->callbacks.ctx, c->seq, change(d, c));
    return true;
}

/*
 * Configurations are committed one after the other, and an incarnation that left never comes back:
 * who was a member once and is none of a later one was removed. Who never was (config_index 0) is
 * new, and this node may just not have heard of it.
 */
bool raft_driver_is_removed(void *ctx, raft_id from, uint64_t config_index)
{
    struct raft_driver *d = ctx;
    uint64_t index = 0;
    if (!d->core || config_index == 0)
        return false;
    const struct raft_config *config = raft_config(d->core, &index);
    return index > config_index && index <= raft_commit_index(d->core) &&
           !raft_config_find(config, from);
}
