/* SPDX-License-Identifier: MIT */
/*
 * Who dials this node: members, nodes that want to become one, and everybody else on the network.
 *
 * A hello is accepted when it names this cluster and this node's id; the answer to any other says
 * what does not fit. What an accepted peer sends is handed on at once, in order.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/report.h"
#include "raft/net/internal.h"

/* ---- Greetings ---- */

static bool answer_refused(struct net_conn *c, const char *why)
{
    net_conn_send(c, wire_frame(WIRE_REFUSED, why, strlen(why), NULL, 0), NULL, 0);
    c->last = true;
    return true;
}

static bool __attribute__((format(printf, 2, 3)))
refuse(struct net_conn *c, const char *format, ...)
{
    char why[RAFT_NET_WHY_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    if (net_may_report(c->net, &c->net->bad_reported_ms))
        report_warn("a connection from %s is refused: %s", c->remote, why);
    return answer_refused(c, why);
}

static bool refuse_version(struct net_conn *c, unsigned version)
{
    return refuse(c,
                  "it speaks version %u of the protocol, this node version %d; run the same "
                  "raftfs on both",
                  version, RAFT_NET_PROTOCOL);
}

/*
 * A peer of another cluster that means this node, by name or id: a joining node may adopt that
 * cluster (the callback sets it), a node that was to found one learns that it must not.
 */
static enum raft_net_claim hear_claim(struct raft_net *net, const struct wire_hello *h)
{
    bool named =
        h->expected == net->identity.id || strcmp(h->expected_name, net->identity.name) == 0;
    if (h->cluster == net->identity.cluster || !named)
        return RAFT_CLAIM_IGNORED;
    enum raft_net_claim claim = net->callbacks.on_claim(net->callbacks.ctx, h->cluster, h->from,
                                                        h->name, h->address, h->expected);
    if (claim == RAFT_CLAIM_ADOPTED)
        net->identity.cluster = h->cluster;
    return claim;
}

static void welcome(struct net_conn *c, struct net_peer *peer, enum wire_lane lane)
{
    if (peer->accepted[lane])
        net_conn_close(peer->accepted[lane], 0); /* its end was lost on the way here */
    peer->accepted[lane] = c;
    c->peer = peer;
    c->lane = lane;
    c->greeted = true;
    c->deadline_ms = 0;
    net_conn_send(c, wire_frame(WIRE_WELCOME, NULL, 0, NULL, 0), NULL, 0);
    net_peer_dial(peer);
}

static bool on_hello(struct net_conn *c, const uint8_t *body, size_t bytes)
{
    struct raft_net *net = c->net;
    struct wire_hello h;
    if (!wire_get_hello(&h, body, bytes))
        return false;
    if (h.version != RAFT_NET_PROTOCOL)
        return refuse_version(c, h.version);
    if (hear_claim(net, &h) == RAFT_CLAIM_NOTED)
        return answer_refused(c, "it was started as a cluster of its own");
    if (h.cluster != net->identity.cluster)
        return refuse(c,
                      "%s belongs to cluster %016llx and this node to %016llx; one of them "
                      "has the wrong data directory or address",
                      h.name, (unsigned long long)h.cluster,
                      (unsigned long long)net->identity.cluster);
    if (h.expected != net->identity.id || h.from == net->identity.id)
        return refuse(c,
                      "it looks for %s as %016llx, and here is %s as %016llx; a wiped node "
                      "joins again with -join",
                      h.expected_name, (unsigned long long)h.expected, net->identity.name,
                      (unsigned long long)net->identity.id);
    if (net->callbacks.is_removed(net->callbacks.ctx, h.from, h.config_index)) {
        net_conn_send(c, wire_frame(WIRE_REMOVED, NULL, 0, NULL, 0), NULL, 0);
        c->last = true;
        return true;
    }
    struct net_peer *peer = net_peer_find(net, h.from);
    if (!peer)
        peer = net_peer_add(net, h.from, h.name, h.address);
    if (!peer)
        return refuse(c, "this node knows too many peers; restart it when the others are in order");
    peer->config_index = h.config_index;
    welcome(c, peer, h.lane);
    return true;
}

static bool on_join(struct net_conn *c, const uint8_t *body, size_t bytes)
{
    struct raft_net *net = c->net;
    struct raft_net_join join;
    uint16_t version;
    if (!wire_get_join(&join, &version, body, bytes))
        return false;
    if (version != RAFT_NET_PROTOCOL)
        return refuse_version(c, version);
    struct raft_net_join_reply reply = {.status = RAFT_JOIN_RETRY};
    net->callbacks.on_join(net->callbacks.ctx, &join, &reply);
    uint8_t out[WIRE_MAX_GREETING_BYTES];
    size_t n = wire_put_join_reply(out, &reply);
    net_conn_send(c, wire_frame(WIRE_JOIN_REPLY, out, n, NULL, 0), NULL, 0);
    c->last = true;
    return true;
}

static bool on_invite(struct net_conn *c, const uint8_t *body, size_t bytes)
{
    struct raft_net *net = c->net;
    struct raft_net_invitation invitation;
    struct raft_net_join self;
    char why[RAFT_NET_WHY_BYTES] = "";
    uint16_t version;
    if (!wire_get_invitation(&invitation, &version, body, bytes))
        return false;
    if (version != RAFT_NET_PROTOCOL)
        return refuse_version(c, version);
    if (!net->callbacks.on_invite(net->callbacks.ctx, &invitation, &self, why))
        return refuse(c, "%s", why);
    uint8_t out[WIRE_MAX_GREETING_BYTES];
    size_t n = wire_put_join(out, &self);
    net_conn_send(c, wire_frame(WIRE_JOIN, out, n, NULL, 0), NULL, 0);
    c->last = true;
    return true;
}

/* ---- What peers send ---- */

static bool on_message(struct net_conn *c, const uint8_t *body, size_t bytes)
{
    struct raft_net *net = c->net;
    struct raft_msg msg;
    if (!wire_get_message(&msg, net->metas, net->payloads, body, bytes))
        return false;
    msg.from = c->peer->id;
    msg.to = net->identity.id;
    net->callbacks.on_message(net->callbacks.ctx, &msg, net->payloads);
    return true;
}

static bool on_forward(struct net_conn *c, const uint8_t *body, size_t bytes)
{
    struct raft_net *net = c->net;
    struct wire_forward f;
    if (!wire_get_forward(&f, net->payloads, body, bytes))
        return false;
    net->callbacks.on_forward(net->callbacks.ctx, c->peer->id, f.seq, net->payloads, f.count);
    return true;
}

static bool on_forward_reply(struct net_conn *c, const uint8_t *body, size_t bytes)
{
    struct raft_net *net = c->net;
    struct wire_forward f;
    if (!wire_get_forward_reply(&f, body, bytes))
        return false;
    net->callbacks.on_forward_reply(net->callbacks.ctx, c->peer->id, f.seq, f.count, f.status);
    return true;
}

static bool on_change(struct net_conn *c, const uint8_t *body, size_t bytes)
{
    struct raft_net *net = c->net;
    struct raft_net_change change;
    if (!wire_get_change(&change, body, bytes))
        return false;
    net->callbacks.on_change(net->callbacks.ctx, c->peer->id, &change);
    return true;
}

static bool on_change_reply(struct net_conn *c, const uint8_t *body, size_t bytes)
{
    struct raft_net *net = c->net;
    uint64_t seq;
    enum raft_refusal refusal;
    if (!wire_get_change_reply(&seq, &refusal, body, bytes))
        return false;
    net->callbacks.on_change_reply(net->callbacks.ctx, seq, refusal);
    return true;
}

static bool on_snapshot_ask(struct net_conn *c, const uint8_t *body, size_t bytes)
{
    struct raft_net *net = c->net;
    struct raft_net_snapshot_ask ask;
    if (!wire_get_snapshot_ask(&ask, body, bytes))
        return false;
    net->callbacks.on_snapshot_ask(net->callbacks.ctx, c->peer->id, &ask);
    return true;
}

static bool on_snapshot_piece(struct net_conn *c, const uint8_t *body, size_t bytes)
{
    struct raft_net *net = c->net;
    struct raft_net_snapshot_piece piece;
    struct buf *data;
    if (!wire_get_snapshot_piece(&piece, &data, body, bytes))
        return false;
    net->callbacks.on_snapshot_piece(net->callbacks.ctx, c->peer->id, &piece, data);
    return true;
}

static bool on_frame(struct net_conn *c, const struct wire_header *header, const uint8_t *body)
{
    switch (header->type) {
    case WIRE_HELLO:
        return !c->greeted && on_hello(c, body, header->body_bytes);
    case WIRE_JOIN:
        return !c->greeted && on_join(c, body, header->body_bytes);
    case WIRE_INVITE:
        return !c->greeted && on_invite(c, body, header->body_bytes);
    case WIRE_MESSAGE:
        return c->greeted && on_message(c, body, header->body_bytes);
    case WIRE_FORWARD:
        return c->greeted && on_forward(c, body, header->body_bytes);
    case WIRE_FORWARD_REPLY:
        return c->greeted && on_forward_reply(c, body, header->body_bytes);
    case WIRE_CHANGE:
        return c->greeted && on_change(c, body, header->body_bytes);
    case WIRE_CHANGE_REPLY:
        return c->greeted && on_change_reply(c, body, header->body_bytes);
    case WIRE_SNAPSHOT_ASK:
        return c->greeted && on_snapshot_ask(c, body, header->body_bytes);
    case WIRE_SNAPSHOT_PIECE:
        return c->greeted && on_snapshot_piece(c, body, header->body_bytes);
    default:
        return false;
    }
}

/* ---- Connections ---- */

static void on_broken(struct net_conn *c, int status)
{
    (void)status;
    struct net_peer *peer = c->peer;
    if (!peer || peer->accepted[c->lane] != c)
        return;
    peer->accepted[c->lane] = NULL;
    if (!peer->up) /* else the lanes to it tell whether it has died, or just dials again */
        net_peer_dial(peer);
}

static const struct net_conn_role accepted = {.on_frame = on_frame, .on_broken = on_broken};

void net_on_connection(uv_stream_t *listener, int status)
{
    struct raft_net *net = listener->data;
    if (status < 0)
        return; /* out of descriptors: the next attempt may find one */
    struct net_conn *c = net_conn_new(net, &accepted);
    int rc = uv_accept(listener, (uv_stream_t *)&c->tcp);
    if (rc == 0 && net->conn_count > NET_MAX_ACCEPTED + 2 * NET_MAX_PEERS)
        rc = UV_EMFILE;
    if (rc == 0)
        rc = net_conn_start(c);
    if (rc < 0)
        net_conn_close(c, rc);
}
