/* SPDX-License-Identifier: MIT */
/*
 * Asking to be let in: at each given address in turn, or at the leader that an answer named. Asking
 * again is harmless; the cluster knows the node by its id.
 */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "raft/net/internal.h"

/* Hands the reply on, unless asking was stopped. */
static void tell(struct raft_net *net, const struct raft_net_join_reply *reply)
{
    struct net_join *j = &net->join;
    if (!j->running)
        return;
    if (reply->status == RAFT_JOIN_REDIRECT) {
        memcpy(j->redirect, reply->leader_address, sizeof(j->redirect));
        j->asked_ms = 0;
    } else if (reply->status != RAFT_JOIN_RETRY && reply->status != RAFT_JOIN_PENDING) {
        j->running = false;
    }
    j->on_reply(j->ctx, reply);
}

static bool on_answer(struct raft_net *net, const uint8_t *body, size_t bytes)
{
    struct raft_net_join_reply reply;
    if (!wire_get_join_reply(&reply, body, bytes))
        return false;
    tell(net, &reply);
    return true;
}

static void on_refused(struct raft_net *net, const char *why)
{
    struct raft_net_join_reply reply = {.status = RAFT_JOIN_REFUSED};
    snprintf(reply.why, sizeof(reply.why), "%s", why);
    tell(net, &reply);
}

static void on_unreachable(struct raft_net *net, const char *what)
{
    struct raft_net_join_reply reply = {.status = RAFT_JOIN_RETRY};
    snprintf(reply.why, sizeof(reply.why), "%s cannot be reached: %s", net->join.asked, what);
    tell(net, &reply);
}

static const struct net_question_role joining = {.type = WIRE_JOIN,
                                                 .answer = WIRE_JOIN_REPLY,
                                                 .on_answer = on_answer,
                                                 .on_refused = on_refused,
                                                 .on_unreachable = on_unreachable};

/* The leader that was named, else the next of the given addresses. */
static void choose(struct net_join *j)
{
    if (j->redirect[0]) {
        memcpy(j->asked, j->redirect, sizeof(j->asked));
        j->redirect[0] = '\0';
        return;
    }
    size_t bytes = strcspn(j->at, ",");
    snprintf(j->asked, sizeof(j->asked), "%.*s", (int)bytes, j->at);
    j->at += bytes;
    j->at = *j->at ? j->at + 1 : j->addresses;
}

void net_join_tick(struct raft_net *net, uint64_t now_ms)
{
    struct net_join *j = &net->join;
    if (!j->running || net_question_busy(&j->question))
        return;
    if (j->asked_ms && now_ms + NET_TICK_MS / 2 < j->asked_ms + RAFT_NET_REDIAL_MS)
        return;
    choose(j);
    j->asked_ms = now_ms;
    net_question_ask(net, &j->question, j->asked);
}

void raft_net_join_start(struct raft_net *net, const char *addresses,
                         const struct raft_net_join *join,
                         void (*on_reply)(void *ctx, const struct raft_net_join_reply *reply),
                         void *ctx)
{
    struct net_join *j = &net->join;
    raft_net_join_stop(net);
    memory_free(j->addresses);
    j->addresses = memory_strdup(addresses);
    j->at = j->addresses;
    j->redirect[0] = '\0';
    j->asked_ms = 0;
    j->on_reply = on_reply;
    j->ctx = ctx;
    j->question.role = &joining;
    j->question.bytes = wire_put_join(j->question.body, join);
    j->running = true;
    net_join_tick(net, uv_now(net->loop));
}

void raft_net_join_stop(struct raft_net *net)
{
    net->join.running = false;
    net_question_drop(&net->join.question);
}
