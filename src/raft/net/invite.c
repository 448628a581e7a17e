/* SPDX-License-Identifier: MIT */
/*
 * Asking who is there: whoever listens at an address is asked to introduce itself, so that it can
 * be made a member. Asking changes nothing there.
 */
#include <stdio.h>
#include <string.h>

#include "raft/net/internal.h"

static void tell(struct raft_net *net, const struct raft_net_introduction *introduction)
{
    struct net_invite *i = &net->invite;
    if (!i->running)
        return;
    i->running = introduction->status == RAFT_INVITE_UNREACHABLE;
    i->on_reply(i->ctx, introduction);
}

static bool on_answer(struct raft_net *net, const uint8_t *body, size_t bytes)
{
    struct raft_net_introduction introduction = {.status = RAFT_INVITE_INTRODUCED};
    uint16_t version;
    if (!wire_get_join(&introduction.join, &version, body, bytes) || version != RAFT_NET_PROTOCOL)
        return false;
    tell(net, &introduction);
    return true;
}

static void on_refused(struct raft_net *net, const char *why)
{
    struct raft_net_introduction introduction = {.status = RAFT_INVITE_REFUSED};
    snprintf(introduction.why, sizeof(introduction.why), "%s", why);
    tell(net, &introduction);
}

static void on_unreachable(struct raft_net *net, const char *what)
{
    struct raft_net_introduction introduction = {.status = RAFT_INVITE_UNREACHABLE};
    snprintf(introduction.why, sizeof(introduction.why), "%s cannot be reached: %s",
             net->invite.address, what);
    tell(net, &introduction);
}

static const struct net_question_role inviting = {.type = WIRE_INVITE,
                                                  .answer = WIRE_JOIN,
                                                  .on_answer = on_answer,
                                                  .on_refused = on_refused,
                                                  .on_unreachable = on_unreachable};

void net_invite_tick(struct raft_net *net, uint64_t now_ms)
{
    struct net_invite *i = &net->invite;
    if (!i->running || net_question_busy(&i->question))
        return;
    if (i->asked_ms && now_ms + NET_TICK_MS / 2 < i->asked_ms + RAFT_NET_REDIAL_MS)
        return;
    i->asked_ms = now_ms;
    net_question_ask(net, &i->question, i->address);
}

void raft_net_invite_start(struct raft_net *net, const char *name, const char *address,
                           void (*on_reply)(void *ctx,
                                            const struct raft_net_introduction *introduction),
                           void *ctx)
{
    struct net_invite *i = &net->invite;
    struct raft_net_invitation invitation = {.cluster = net->identity.cluster};
    raft_net_invite_stop(net);
    snprintf(invitation.name, sizeof(invitation.name), "%s", name);
    snprintf(i->address, sizeof(i->address), "%s", address);
    i->asked_ms = 0;
    i->on_reply = on_reply;
    i->ctx = ctx;
    i->question.role = &inviting;
    i->question.bytes = wire_put_invitation(i->question.body, &invitation);
    i->running = true;
    net_invite_tick(net, uv_now(net->loop));
}

void raft_net_invite_stop(struct raft_net *net)
{
    net->invite.running = false;
    net_question_drop(&net->invite.question);
}
