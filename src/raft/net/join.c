/* SPDX-License-Identifier: MIT */
/*
 * Asking to be let in: one question a connection, to each given address in turn, or to the leader
 * that an answer named. Asking again is harmless; the cluster knows the node by its id.
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
    } else if (reply->status != RAFT_JOIN_RETRY) {
        j->running = false;
    }
    j->on_reply(j->ctx, reply);
}

static void unreachable(struct raft_net *net, const char *what)
{
    struct raft_net_join_reply reply = {.status = RAFT_JOIN_RETRY};
    snprintf(reply.why, sizeof(reply.why), "%s cannot be reached: %s", net->join.asked, what);
    tell(net, &reply);
}

static bool on_answer(struct net_conn *c, const uint8_t *body, size_t bytes)
{
    struct raft_net_join_reply reply;
    if (!wire_get_join_reply(&reply, body, bytes))
        return false;
    struct raft_net *net = c->net;
    net->join.conn = NULL;
    net_conn_close(c, 0);
    tell(net, &reply);
    return true;
}

static void on_refused(struct net_conn *c, const uint8_t *body, uint32_t bytes)
{
    struct raft_net_join_reply reply = {.status = RAFT_JOIN_REFUSED};
    snprintf(reply.why, sizeof(reply.why), "%.*s", (int)bytes, (const char *)body);
    struct raft_net *net = c->net;
    net->join.conn = NULL;
    net_conn_close(c, 0);
    tell(net, &reply);
}

static bool on_frame(struct net_conn *c, const struct wire_header *header, const uint8_t *body)
{
    if (header->type == WIRE_JOIN_REPLY)
        return on_answer(c, body, header->body_bytes);
    if (header->type != WIRE_REFUSED)
        return false;
    on_refused(c, body, header->body_bytes);
    return true;
}

static void on_broken(struct net_conn *c, int status)
{
    struct raft_net *net = c->net;
    if (net->join.conn != c)
        return; /* it has answered, or nobody asks any more */
    net->join.conn = NULL;
    if (!net->closing)
        unreachable(net, status < 0 ? uv_strerror(status) : "its answer made no sense");
}

static const struct net_conn_role joining = {.on_frame = on_frame, .on_broken = on_broken};

static void on_connected(uv_connect_t *connect, int status)
{
    struct net_conn *c = connect->data;
    memory_free(connect);
    if (c->closing)
        return;
    if (status == 0)
        status = net_conn_start(c);
    if (status < 0) {
        net_conn_close(c, status);
        return;
    }
    uint8_t body[WIRE_MAX_GREETING_BYTES];
    size_t bytes = wire_put_join(body, &c->net->join.self);
    net_conn_send(c, wire_frame(WIRE_JOIN, body, bytes, NULL, 0), NULL, 0);
}

static void on_resolved(struct raft_net *net, uint64_t key, const struct sockaddr *address,
                        int status)
{
    (void)key;
    net->join.resolving = false;
    if (!net->join.running)
        return;
    if (!address) {
        unreachable(net, uv_strerror(status));
        return;
    }
    struct net_conn *c = net_conn_new(net, &joining);
    net->join.conn = c;
    uv_connect_t *connect = memory_zalloc(sizeof(*connect));
    connect->data = c;
    int rc = uv_tcp_connect(connect, &c->tcp, address, on_connected);
    if (rc < 0) {
        memory_free(connect);
        net_conn_close(c, rc);
    }
}

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
    if (!j->running || j->conn || j->resolving)
        return;
    if (j->asked_ms && now_ms + NET_TICK_MS / 2 < j->asked_ms + RAFT_NET_REDIAL_MS)
        return;
    choose(j);
    j->asked_ms = now_ms;
    j->resolving = true;
    net_resolve(net, j->asked, on_resolved, 0);
}

void raft_net_join_start(struct raft_net *net, const char *addresses,
                         const struct raft_net_join *join,
                         void (*on_reply)(void *ctx, const struct raft_net_join_reply *reply),
                         void *ctx)
{
    struct net_join *j = &net->join;
    raft_net_join_stop(net);
    memory_free(j->addresses);
    *j = (struct net_join){.running = true,
                           .self = *join,
                           .addresses = memory_strdup(addresses),
                           .resolving = j->resolving,
                           .on_reply = on_reply,
                           .ctx = ctx};
    j->at = j->addresses;
    net_join_tick(net, uv_now(net->loop));
}

void raft_net_join_stop(struct raft_net *net)
{
    struct net_join *j = &net->join;
    struct net_conn *c = j->conn;
    j->running = false;
    j->conn = NULL;
    if (c)
        net_conn_close(c, 0);
}
