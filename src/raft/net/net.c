/* SPDX-License-Identifier: MIT */
#include "raft/net/net.h"

#include <assert.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/report.h"
#include "raft/net/internal.h"

/* ---- What the net's files share ---- */

bool net_may_report(struct raft_net *net, uint64_t *last_ms)
{
    uint64_t now_ms = uv_now(net->loop);
    if (*last_ms && now_ms < *last_ms + NET_REPORT_EVERY_MS)
        return false;
    *last_ms = now_ms;
    return true;
}

void net_count_bad_input(struct raft_net *net, const char *remote, const char *what)
{
    net->bad_inputs++;
    if (net_may_report(net, &net->bad_reported_ms))
        report_warn("%s sent %s: its connection is closed. If that is no member, keep it off this "
                    "port",
                    remote, what);
}

void net_remote_text(const uv_tcp_t *tcp, char *out, size_t bytes)
{
    struct sockaddr_storage address;
    int length = sizeof(address);
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (uv_tcp_getpeername(tcp, (struct sockaddr *)&address, &length) == 0 &&
        getnameinfo((struct sockaddr *)&address, (socklen_t)length, host, sizeof(host), port,
                    sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        snprintf(out, bytes, "%s:%s", host, port);
}

/* ---- Turns of the loop ---- */

void raft_net_flush(struct raft_net *net)
{
    for (struct net_conn *c = net->conns; c; c = c->next)
        if (c->out_count && !c->writing)
            net_conn_flush(c);
}

static void on_before_poll(uv_prepare_t *handle)
{
    raft_net_flush(handle->data);
}

static void on_after_poll(uv_check_t *handle)
{
    raft_net_flush(handle->data);
}

static void on_tick(uv_timer_t *timer)
{
    struct raft_net *net = timer->data;
    uint64_t now_ms = uv_now(net->loop);
    for (struct net_conn *c = net->conns; c; c = c->next)
        net_conn_tick(c, now_ms);
    net_peers_sweep(net);
    for (struct net_peer *peer = net->peers; peer; peer = peer->next)
        net_peer_tick(peer, now_ms);
    net_join_tick(net, now_ms);
    net_invite_tick(net, now_ms);
}

/* ---- Opening and closing ---- */

static int listen_on(struct raft_net *net, const char *address)
{
    struct sockaddr_storage at;
    int rc = net_resolve_now(net, address, &at);
    if (rc == 0)
        rc = uv_tcp_bind(&net->listener, (struct sockaddr *)&at, 0);
    return rc ? rc : uv_listen((uv_stream_t *)&net->listener, 128, net_on_connection);
}

static void init_handles(struct raft_net *net)
{
    uv_tcp_init(net->loop, &net->listener);
    uv_timer_init(net->loop, &net->tick);
    uv_prepare_init(net->loop, &net->before_poll);
    uv_check_init(net->loop, &net->after_poll);
    net->listener.data = net->tick.data = net->before_poll.data = net->after_poll.data = net;
    net->handles = 4;
}

static void on_unopened(void *ctx)
{
    (void)ctx;
}

int raft_net_init(struct raft_net **out, uv_loop_t *loop, const struct raft_net_identity *identity,
                  const struct raft_net_callbacks *callbacks, char why[RAFT_NET_WHY_BYTES])
{
    struct raft_net *net = memory_zalloc(sizeof(*net));
    net->loop = loop;
    net->identity = *identity;
    net->callbacks = *callbacks;
    init_handles(net);
    int rc = listen_on(net, identity->address);
    if (rc < 0) {
        snprintf(why, RAFT_NET_WHY_BYTES, "cannot listen on %s: %s%s", identity->address,
                 uv_strerror(rc),
                 rc == UV_EADDRINUSE ? "; stop what listens there, or choose another -addr" : "");
        raft_net_close(net, on_unopened, NULL);
        return rc;
    }
    uv_timer_start(&net->tick, on_tick, NET_TICK_MS, NET_TICK_MS);
    uv_prepare_start(&net->before_poll, on_before_poll);
    uv_check_start(&net->after_poll, on_after_poll);
    *out = net;
    return 0;
}

void net_handle_closed(struct raft_net *net)
{
    if (!net->closing || net->handles || net->conn_count || net->resolving)
        return;
    void (*on_closed)(void *) = net->on_closed;
    void *ctx = net->closed_ctx;
    net_peers_free(net);
    memory_free(net->join.addresses);
    memory_free(net);
    on_closed(ctx);
}

static void on_own_closed(uv_handle_t *handle)
{
    struct raft_net *net = handle->data;
    net->handles--;
    net_handle_closed(net);
}

void raft_net_close(struct raft_net *net, void (*on_closed)(void *ctx), void *ctx)
{
    assert(!net->closing);
    raft_net_flush(net); /* what was promised to leave, such as a last vote */
    net->closing = true;
    net->on_closed = on_closed;
    net->closed_ctx = ctx;
    raft_net_join_stop(net);
    raft_net_invite_stop(net);
    for (struct net_conn *c = net->conns; c; c = c->next)
        net_conn_close(c, 0);
    uv_close((uv_handle_t *)&net->listener, on_own_closed);
    uv_close((uv_handle_t *)&net->tick, on_own_closed);
    uv_close((uv_handle_t *)&net->before_poll, on_own_closed);
    uv_close((uv_handle_t *)&net->after_poll, on_own_closed);
}

void raft_net_set_cluster(struct raft_net *net, uint64_t cluster)
{
    net->identity.cluster = cluster;
}

/* ---- Sending ---- */

/* The open lane to a peer with room in its queue; NULL: nothing can be sent. */
static struct net_conn *lane_to(struct raft_net *net, raft_id to, enum wire_lane lane)
{
    struct net_peer *peer = net_peer_find(net, to);
    if (net->closing || !peer || !peer->up)
        return NULL;
    struct net_conn *c = peer->dialled[lane];
    return c->out_bytes < RAFT_NET_MAX_QUEUE_BYTES ? c : NULL;
}

bool raft_net_send(struct raft_net *net, const struct raft_msg *msg,
                   const struct raft_entry *entries)
{
    uint8_t body[WIRE_MAX_HEAD_BYTES];
    struct buf *payloads[RAFT_MAX_APPEND_ENTRIES];
    bool append = msg->kind == RAFT_MSG_APPEND;
    struct net_conn *c = lane_to(net, msg->to, append ? WIRE_BULK : WIRE_CONTROL);
    if (!c)
        return false;
    uint32_t count = append ? msg->append.count : 0;
    for (uint32_t i = 0; i < count; i++)
        payloads[i] = entries[i].payload;
    size_t bytes = wire_put_message(body, msg, entries);
    net_conn_send(c, wire_frame(WIRE_MESSAGE, body, bytes, payloads, count), payloads, count);
    return true;
}

/* How many of the payloads go into one frame; at least one. */
static uint32_t fit(struct buf *const *payloads, uint32_t count)
{
    size_t bytes = payloads[0]->bytes;
    uint32_t n = 1;
    while (n < count && n < RAFT_MAX_PROPOSE && bytes + payloads[n]->bytes <= RAFT_MAX_APPEND_BYTES)
        bytes += payloads[n++]->bytes;
    return n;
}

bool raft_net_forward(struct raft_net *net, raft_id to, uint64_t seq, struct buf *const *payloads,
                      uint32_t count)
{
    uint8_t body[WIRE_MAX_HEAD_BYTES];
    struct net_conn *c = lane_to(net, to, WIRE_BULK);
    if (!c)
        return false;
    while (count > 0) {
        uint32_t n = fit(payloads, count);
        size_t bytes = wire_put_forward(body, seq, payloads, n);
        net_conn_send(c, wire_frame(WIRE_FORWARD, body, bytes, payloads, n), payloads, n);
        payloads += n;
        seq += n;
        count -= n;
    }
    return true;
}

void raft_net_forward_reply(struct raft_net *net, raft_id to, uint64_t seq, uint32_t count,
                            enum raft_net_forward_status status)
{
    uint8_t body[WIRE_MAX_HEAD_BYTES];
    struct net_conn *c = lane_to(net, to, WIRE_CONTROL);
    if (!c)
        return; /* the asker sends again when it does not hear */
    struct wire_forward reply = {.seq = seq, .count = count, .status = status};
    size_t bytes = wire_put_forward_reply(body, &reply);
    net_conn_send(c, wire_frame(WIRE_FORWARD_REPLY, body, bytes, NULL, 0), NULL, 0);
}

bool raft_net_change(struct raft_net *net, raft_id to, const struct raft_net_change *change)
{
    uint8_t body[WIRE_MAX_GREETING_BYTES];
    struct net_conn *c = lane_to(net, to, WIRE_CONTROL);
    if (!c)
        return false;
    size_t bytes = wire_put_change(body, change);
    net_conn_send(c, wire_frame(WIRE_CHANGE, body, bytes, NULL, 0), NULL, 0);
    return true;
}

void raft_net_change_reply(struct raft_net *net, raft_id to, uint64_t seq,
                           enum raft_refusal refusal)
{
    uint8_t body[WIRE_MAX_GREETING_BYTES];
    struct net_conn *c = lane_to(net, to, WIRE_CONTROL);
    if (!c)
        return; /* the asker asks again when it does not hear */
    size_t bytes = wire_put_change_reply(body, seq, refusal);
    net_conn_send(c, wire_frame(WIRE_CHANGE_REPLY, body, bytes, NULL, 0), NULL, 0);
}

bool raft_net_snapshot_ask(struct raft_net *net, raft_id to,
                           const struct raft_net_snapshot_ask *ask)
{
    uint8_t body[WIRE_MAX_GREETING_BYTES];
    struct net_conn *c = lane_to(net, to, WIRE_CONTROL);
    if (!c)
        return false;
    size_t bytes = wire_put_snapshot_ask(body, ask);
    net_conn_send(c, wire_frame(WIRE_SNAPSHOT_ASK, body, bytes, NULL, 0), NULL, 0);
    return true;
}

bool raft_net_snapshot_piece(struct raft_net *net, raft_id to,
                             const struct raft_net_snapshot_piece *piece, struct buf *data)
{
    uint8_t body[WIRE_MAX_GREETING_BYTES];
    struct net_conn *c = lane_to(net, to, WIRE_BULK);
    if (!c)
        return false;
    size_t bytes = wire_put_snapshot_piece(body, piece);
    uint32_t count = data ? 1 : 0;
    net_conn_send(c, wire_frame(WIRE_SNAPSHOT_PIECE, body, bytes, &data, count), &data, count);
    return true;
}

/* ---- Looking in ---- */

bool raft_net_is_up(const struct raft_net *net, raft_id peer)
{
    const struct net_peer *p = net->peers;
    while (p && p->id != peer)
        p = p->next;
    return p && p->up;
}

uint64_t raft_net_bad_inputs(const struct raft_net *net)
{
    return net->bad_inputs;
}
