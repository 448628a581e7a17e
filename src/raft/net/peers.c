/* SPDX-License-Identifier: MIT */
/*
 * What this node dials: two lanes to every member, and to whoever greeted this node without being
 * one (a leader that this node, new here, does not know yet wants its answers).
 *
 * The lanes of a peer live and die together. While they are down they are dialled again every
 * RAFT_NET_REDIAL_MS, and at once when the peer itself has just come to us.
 */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/report.h"
#include "raft/net/internal.h"

enum { LOST_PROBES = 4 };

struct net_peer *net_peer_find(struct raft_net *net, raft_id id)
{
    struct net_peer *peer = net->peers;
    while (peer && peer->id != id)
        peer = peer->next;
    return peer;
}

static void set_names(struct net_peer *peer, const char *name, const char *address)
{
    snprintf(peer->name, sizeof(peer->name), "%s", name);
    snprintf(peer->address, sizeof(peer->address), "%s", address);
}

struct net_peer *net_peer_add(struct raft_net *net, raft_id id, const char *name,
                              const char *address)
{
    if (net->peer_count >= NET_MAX_PEERS)
        return NULL;
    struct net_peer *peer = memory_zalloc(sizeof(*peer));
    peer->net = net;
    peer->id = id;
    set_names(peer, name, address);
    peer->next = net->peers;
    net->peers = peer;
    net->peer_count++;
    return peer;
}

/* ---- Losing ---- */

static void hang_up(struct net_peer *peer)
{
    for (int lane = 0; lane < WIRE_LANES; lane++)
        if (peer->dialled[lane])
            net_conn_close(peer->dialled[lane], 0);
}

/*
 * That a connection broke says little: a middlebox, a proxy or an overflowing queue does that too,
 * and a leader is not to be replaced for it. That nobody listens at its address any more says that
 * the process has died. So a peer that was up is dialled again at once, and lost if that is
 * refused. A process that is just dying may still take a connection, and reset it: a few tries.
 */
static void on_broken(struct net_conn *c, int status)
{
    struct net_peer *peer = c->peer;
    struct raft_net *net = peer->net;
    if (peer->up)
        peer->probes = LOST_PROBES;
    peer->dialled[c->lane] = NULL;
    peer->up = false;
    hang_up(peer);
    if (status == UV_ECONNREFUSED && !net->closing && !peer->told_lost) {
        peer->told_lost = true;
        net->callbacks.on_peer_lost(net->callbacks.ctx, peer->id);
    } else if (status < 0 && status != UV_ECONNREFUSED && peer->probes > 0) {
        peer->probes--;
        net_peer_dial(peer);
    }
}

/* ---- Dialling ---- */

static void say_hello(struct net_conn *c)
{
    const struct raft_net_identity *self = &c->net->identity;
    struct wire_hello hello = {.version = RAFT_NET_PROTOCOL,
                               .cluster = self->cluster,
                               .from = self->id,
                               .expected = c->peer->id,
                               .lane = c->lane,
                               .config_index = c->net->config_index};
    memcpy(hello.name, self->name, sizeof(hello.name));
    memcpy(hello.address, self->address, sizeof(hello.address));
    memcpy(hello.expected_name, c->peer->name, sizeof(hello.expected_name));
    uint8_t body[WIRE_MAX_GREETING_BYTES];
    size_t bytes = wire_put_hello(body, &hello);
    net_conn_send(c, wire_frame(WIRE_HELLO, body, bytes, NULL, 0), NULL, 0);
}

static void on_welcome(struct net_conn *c)
{
    struct net_peer *peer = c->peer;
    c->greeted = true;
    c->deadline_ms = 0;
    for (int lane = 0; lane < WIRE_LANES; lane++)
        if (!peer->dialled[lane] || !peer->dialled[lane]->greeted)
            return;
    peer->up = true;
    peer->told_lost = false;
    peer->net->callbacks.on_peer_up(peer->net->callbacks.ctx, peer->id);
}

static void on_refused(struct net_conn *c, const uint8_t *body, uint32_t bytes)
{
    struct net_peer *peer = c->peer;
    if (net_may_report(c->net, &peer->reported_ms))
        report_warn("member %s at %s refuses this node: %.*s", peer->name, peer->address,
                    (int)bytes, (const char *)body);
    net_conn_close(c, 0);
}

static bool on_frame(struct net_conn *c, const struct wire_header *header, const uint8_t *body)
{
    if (c->greeted)
        return false; /* answers come over the connections that the peer dials */
    if (header->type == WIRE_WELCOME && header->body_bytes == 0)
        on_welcome(c);
    else if (header->type == WIRE_REMOVED && header->body_bytes == 0)
        c->net->callbacks.on_removed(c->net->callbacks.ctx, c->peer->name);
    else if (header->type == WIRE_REFUSED)
        on_refused(c, body, header->body_bytes);
    else
        return false;
    return true;
}

static const struct net_conn_role dialled = {.on_frame = on_frame, .on_broken = on_broken};

static void on_connected(uv_connect_t *connect, int status)
{
    struct net_conn *c = connect->data;
    memory_free(connect);
    if (c->closing)
        return;
    if (status == 0)
        status = net_conn_start(c);
    if (status < 0)
        net_conn_close(c, status);
    else
        say_hello(c);
}

static void dial_lane(struct net_peer *peer, enum wire_lane lane, const struct sockaddr *address)
{
    struct net_conn *c = net_conn_new(peer->net, &dialled);
    c->peer = peer;
    c->lane = lane;
    peer->dialled[lane] = c;
    uv_connect_t *connect = memory_zalloc(sizeof(*connect));
    connect->data = c;
    int rc = uv_tcp_connect(connect, &c->tcp, address, on_connected);
    if (rc < 0) {
        memory_free(connect);
        net_conn_close(c, rc);
    }
}

static void on_resolved(struct raft_net *net, uint64_t key, const struct sockaddr *address,
                        int status)
{
    struct net_peer *peer = net_peer_find(net, key);
    if (!peer)
        return;
    peer->resolving = false;
    if (!address) {
        if (net_may_report(net, &peer->reported_ms))
            report_warn("the address %s of member %s cannot be resolved: %s", peer->address,
                        peer->name, uv_strerror(status));
        return;
    }
    dial_lane(peer, WIRE_CONTROL, address);
    if (peer->dialled[WIRE_CONTROL])
        dial_lane(peer, WIRE_BULK, address);
}

void net_peer_dial(struct net_peer *peer)
{
    struct raft_net *net = peer->net;
    bool busy = peer->dialled[WIRE_CONTROL] || peer->dialled[WIRE_BULK] || peer->resolving;
    if (net->closing || net->identity.cluster == 0 || busy)
        return;
    peer->dialled_ms = uv_now(net->loop);
    peer->resolving = true;
    net_resolve(net, peer->address, on_resolved, peer->id);
}

void net_peer_tick(struct net_peer *peer, uint64_t now_ms)
{
    /* The tick is not exact: rather a little early than a whole tick late. */
    if (now_ms + NET_TICK_MS / 2 >= peer->dialled_ms + RAFT_NET_REDIAL_MS)
        net_peer_dial(peer);
}

/* ---- The set of members ---- */

static void free_peer(struct raft_net *net, struct net_peer **at)
{
    struct net_peer *gone = *at;
    *at = gone->next;
    net->peer_count--;
    memory_free(gone);
}

static bool is_connected(const struct net_peer *peer)
{
    return peer->dialled[WIRE_CONTROL] || peer->dialled[WIRE_BULK] ||
           peer->accepted[WIRE_CONTROL] || peer->accepted[WIRE_BULK];
}

void net_peers_sweep(struct raft_net *net)
{
    for (struct net_peer **at = &net->peers; *at;) {
        struct net_peer *peer = *at;
        bool wanted = peer->member || peer->accepted[WIRE_CONTROL] || peer->accepted[WIRE_BULK];
        if (!wanted)
            hang_up(peer);
        if (!wanted && !is_connected(peer))
            free_peer(net, at);
        else
            at = &peer->next;
    }
}

void net_peers_free(struct raft_net *net)
{
    while (net->peers)
        free_peer(net, &net->peers);
}

static void update_member(struct raft_net *net, const struct raft_member *m)
{
    struct net_peer *peer = net_peer_find(net, m->id);
    if (!peer)
        peer = net_peer_add(net, m->id, m->name, m->address);
    if (!peer)
        return; /* strangers take all places; they are swept when they go */
    peer->member = true;
    if (strcmp(peer->address, m->address) != 0)
        hang_up(peer);
    set_names(peer, m->name, m->address);
    net_peer_dial(peer);
}

static void hang_up_on(struct net_peer *peer)
{
    for (int lane = 0; lane < WIRE_LANES; lane++)
        if (peer->accepted[lane])
            net_conn_close(peer->accepted[lane], 0);
}

void raft_net_expel_removed(struct raft_net *net)
{
    for (struct net_peer *peer = net->peers; peer; peer = peer->next)
        if (!peer->member &&
            net->callbacks.is_removed(net->callbacks.ctx, peer->id, peer->config_index))
            hang_up_on(peer);
}

void raft_net_set_members(struct raft_net *net, const struct raft_config *config, uint64_t index)
{
    if (raft_config_find(config, net->identity.id))
        net->config_index = index;
    for (struct net_peer *peer = net->peers; peer; peer = peer->next) {
        bool was_member = peer->member;
        peer->member = raft_config_find(config, peer->id) != NULL;
        if (was_member && !peer->member)
            hang_up_on(peer);
    }
    for (uint32_t i = 0; i < config->count; i++)
        if (config->members[i].id != net->identity.id)
            update_member(net, &config->members[i]);
    net_peers_sweep(net);
}
