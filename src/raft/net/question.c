/* SPDX-License-Identifier: MIT */
/* One question to an address, on a connection of its own, and its answer. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "raft/net/internal.h"

/* ---- The answer ---- */

/* The connection has served; the question's owner may ask another from within its callbacks. */
static struct net_question *detach(struct net_conn *c)
{
    struct net_question *q = c->question;
    c->question = NULL;
    if (q)
        q->conn = NULL;
    return q;
}

static bool on_frame(struct net_conn *c, const struct wire_header *header, const uint8_t *body)
{
    struct raft_net *net = c->net;
    char why[RAFT_NET_WHY_BYTES];
    struct net_question *q = c->question;
    if (!q)
        return true; /* nobody wants to know any more */
    if (header->type != WIRE_REFUSED && header->type != q->role->answer)
        return false;
    detach(c);
    if (header->type == WIRE_REFUSED) {
        snprintf(why, sizeof(why), "%.*s", (int)header->body_bytes, (const char *)body);
        q->role->on_refused(net, why);
    } else if (!q->role->on_answer(net, body, header->body_bytes)) {
        q->role->on_unreachable(net, "its answer made no sense");
    }
    net_conn_close(c, 0);
    return true;
}

static void on_broken(struct net_conn *c, int status)
{
    struct net_question *q = detach(c);
    if (q && !c->net->closing)
        q->role->on_unreachable(c->net,
                                status < 0 ? uv_strerror(status) : "its answer made no sense");
}

static const struct net_conn_role asking = {.on_frame = on_frame, .on_broken = on_broken};

/* ---- The question ---- */

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
    const struct net_question *q = c->question;
    net_conn_send(c, wire_frame(q->role->type, q->body, q->bytes, NULL, 0), NULL, 0);
}

static void on_resolved(struct raft_net *net, uint64_t key, const struct sockaddr *address,
                        int status)
{
    struct net_question *q = (struct net_question *)(uintptr_t)key;
    q->resolving = false;
    if (!q->wanted)
        return;
    q->wanted = false;
    if (!address) {
        q->role->on_unreachable(net, uv_strerror(status));
        return;
    }
    struct net_conn *c = net_conn_new(net, &asking);
    c->question = q;
    q->conn = c;
    uv_connect_t *connect = memory_zalloc(sizeof(*connect));
    connect->data = c;
    int rc = uv_tcp_connect(connect, &c->tcp, address, on_connected);
    if (rc < 0) {
        memory_free(connect);
        net_conn_close(c, rc);
    }
}

bool net_question_busy(const struct net_question *q)
{
    return q->conn || q->resolving;
}

void net_question_ask(struct raft_net *net, struct net_question *q, const char *address)
{
    q->wanted = q->resolving = true;
    net_resolve(net, address, on_resolved, (uint64_t)(uintptr_t)q);
}

void net_question_drop(struct net_question *q)
{
    struct net_conn *c = q->conn;
    q->wanted = false;
    if (!c)
        return;
    detach(c);
    net_conn_close(c, 0);
}
