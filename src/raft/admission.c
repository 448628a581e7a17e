/* SPDX-License-Identifier: MIT */
/*
 * admission.c - who joins, and who has left.
 *
 * A node names itself and its address, again and again until it is a member. It is told apart from
 * others by its incarnation: another incarnation under a member's name is either a second node with
 * a name that is taken, or the same node whose data directory was lost. The address tells, or the
 * node itself, which may still know whom it follows. The lost one's place is taken in one step.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "raft/internal.h"

static bool in_contact(struct raft_driver *d, const struct raft_member *m)
{
    if (m->id == d->identity.id)
        return true;
    struct raft_peer_status status = raft_peer_status(d->core, m->id, clock_boot_us());
    return raft_net_is_up(d->net, m->id) && status.contact_us < 2 * RAFT_DRIVER_ELECTION_US;
}

/* A member of that name that answers; while one is being replaced, two have it. */
static const struct raft_member *answering(struct raft_driver *d, const struct raft_config *config,
                                           const char *name)
{
    for (uint32_t i = 0; i < config->count; i++)
        if (strcmp(config->members[i].name, name) == 0 && in_contact(d, &config->members[i]))
            return &config->members[i];
    return NULL;
}

static enum raft_net_join_status change_members(struct raft_driver *d, enum raft_change_kind kind,
                                                const struct raft_member *member, raft_id replaces,
                                                struct raft_net_join_reply *reply)
{
    struct raft_event event = {.kind = RAFT_CHANGE,
                               .change = {.kind = kind, .member = *member, .replaces = replaces}};
    raft_driver_step(d, &event);
    switch (d->out->refusal) {
    case RAFT_ACCEPTED:
        return RAFT_JOIN_PENDING;
    case RAFT_INVALID:
        snprintf(reply->why, sizeof(reply->why), "the cluster is full (%d members)",
                 RAFT_MAX_MEMBERS);
        return RAFT_JOIN_REFUSED;
    default:
        snprintf(reply->why, sizeof(reply->why), "the leader is busy with another change");
        return RAFT_JOIN_RETRY;
    }
}

/* Somebody whose incarnation is no member's. */
static enum raft_net_join_status admit_new(struct raft_driver *d, const struct raft_config *config,
                                           const struct raft_net_join *join,
                                           struct raft_net_join_reply *reply)
{
    struct raft_member wanted = {.id = join->id, .promote = join->voter};
    memcpy(wanted.name, join->name, sizeof(wanted.name));
    memcpy(wanted.address, join->address, sizeof(wanted.address));
    const struct raft_member *holder = raft_config_find(config, join->replaces);
    if (!holder)
        holder = raft_config_find_name(config, join->name);
    if (!holder && join->replaces) {
        snprintf(reply->why, sizeof(reply->why),
                 "%s was removed from the cluster: to bring it back, start it with an empty -data "
                 "directory and -join",
                 join->name);
        return RAFT_JOIN_REFUSED;
    }
    if (!holder)
        return change_members(d, RAFT_CHANGE_ADD, &wanted, 0, reply);
    /* Who asks from the holder's own address listens there, or is its successor: it is gone. */
    bool gone = strcmp(holder->address, join->address) == 0 || holder->id == join->replaces;
    const struct raft_member *taker = gone ? NULL : answering(d, config, join->name);
    if (taker) {
        snprintf(reply->why, sizeof(reply->why),
                 "the name %s is taken by the member at %s: choose another -id", taker->name,
                 taker->address);
        return RAFT_JOIN_NAME_TAKEN;
    }
    return change_members(d, RAFT_CHANGE_REPLACE, &wanted, holder->id, reply);
}

/* Joining is idempotent by name and incarnation: a node repeats it until it is a member. */
static enum raft_net_join_status admit(struct raft_driver *d, const struct raft_net_join *join,
                                       struct raft_net_join_reply *reply)
{
    uint64_t index = 0;
    const struct raft_config *config = raft_config(d->core, &index);
    const struct raft_member *known = raft_config_find(config, join->id);
    if (!known)
        return admit_new(d, config, join, reply);
    if (strcmp(known->address, join->address) == 0)
        return index <= raft_commit_index(d->core) ? RAFT_JOIN_OK : RAFT_JOIN_PENDING;
    struct raft_member moved = {.id = join->id};
    memcpy(moved.address, join->address, sizeof(moved.address));
    return change_members(d, RAFT_CHANGE_ADDRESS, &moved, 0, reply);
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
    if (d->joins_belong_at[0]) {
        reply->status = RAFT_JOIN_REFUSED;
        snprintf(reply->why, sizeof(reply->why),
                 "%s was started as a cluster of its own by mistake: join %s instead",
                 d->identity.name, d->joins_belong_at);
    } else if (leader == d->identity.id) {
        reply->status = admit(d, join, reply);
        d->callbacks.settled(d->callbacks.ctx);
    } else if (leader && m) {
        reply->status = RAFT_JOIN_REDIRECT;
        memcpy(reply->leader_address, m->address, sizeof(m->address));
    }
}

void raft_driver_admit_nobody(struct raft_driver *d, const char *instead)
{
    snprintf(d->joins_belong_at, sizeof(d->joins_belong_at), "%s", instead);
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
