/* SPDX-License-Identifier: MIT */
/*
 * internal.h - the net as its own files see it: net.c (the whole), conn.c (one connection),
 * peers.c (what this node dials), accept.c (who dials this node), question.c (one question to an
 * address), join.c (asking to be let in), invite.c (asking who is there).
 */
#ifndef RAFTFS_RAFT_NET_INTERNAL_H
#define RAFTFS_RAFT_NET_INTERNAL_H

#include "raft/net/conn.h"

enum {
    NET_TICK_MS = 250,
    NET_MAX_ACCEPTED = 256,
    NET_REPORT_EVERY_MS = 60 * 1000,
    NET_MAX_PEERS = 2 * RAFT_MAX_MEMBERS, /* members, and those that greeted without being one */
};

/* Another node: the lanes that this node dials, and what it knows of its other direction. */
struct net_peer {
    struct net_peer *next;
    struct raft_net *net;
    raft_id id;
    char name[RAFT_NAME_BYTES];
    char address[RAFT_ADDRESS_BYTES];
    bool member;                          /* of the configuration; otherwise it greeted us */
    uint64_t config_index;                /* as its hello said */
    struct net_conn *dialled[WIRE_LANES]; /* NULL: down */
    struct net_conn *accepted[WIRE_LANES];
    bool up;         /* both dialled lanes are greeted */
    bool told_lost;  /* on_peer_lost was called since it was up */
    bool resolving;  /* its address */
    unsigned probes; /* dials that need not wait, left since it was up */
    uint64_t dialled_ms;
    uint64_t reported_ms;
};

/* What kind of question it is, and who hears what becomes of it: one of the three, once. */
struct net_question_role {
    enum wire_type type;
    enum wire_type answer;
    bool (*on_answer)(struct raft_net *net, const uint8_t *body, size_t bytes); /* false: bad */
    void (*on_refused)(struct raft_net *net, const char *why);
    void (*on_unreachable)(struct raft_net *net, const char *what);
};

/* A question on its way; role and body are its owner's to set. */
struct net_question {
    const struct net_question_role *role;
    uint8_t body[WIRE_MAX_GREETING_BYTES];
    size_t bytes;
    bool wanted; /* once its address is resolved */
    bool resolving;
    struct net_conn *conn;
};

struct net_join {
    bool running;
    char *addresses;
    const char *at;                    /* the one that is asked next */
    char redirect[RAFT_ADDRESS_BYTES]; /* asked instead, if not empty */
    char asked[RAFT_ADDRESS_BYTES];
    uint64_t asked_ms;
    struct net_question question;
    void (*on_reply)(void *ctx, const struct raft_net_join_reply *reply);
    void *ctx;
};

struct net_invite {
    bool running;
    char address[RAFT_ADDRESS_BYTES];
    uint64_t asked_ms;
    struct net_question question;
    void (*on_reply)(void *ctx, const struct raft_net_introduction *introduction);
    void *ctx;
};

struct raft_net {
    uv_loop_t *loop;
    struct raft_net_identity identity;
    struct raft_net_callbacks callbacks;
    uv_tcp_t listener;
    uv_timer_t tick;
    uv_prepare_t before_poll;
    uv_check_t after_poll;
    struct net_conn *conns;
    uint32_t conn_count;
    struct net_peer *peers;
    uint32_t peer_count;
    uint64_t config_index; /* of the newest configuration that has this node as a member */
    struct net_join join;
    struct net_invite invite;
    uint32_t resolving; /* name lookups under way */
    uint64_t bad_inputs;
    uint64_t bad_reported_ms;

    unsigned handles; /* of the net's own, not closed yet */
    bool closing;
    void (*on_closed)(void *ctx);
    void *closed_ctx;

    /* Room to decode one message in. */
    struct raft_entry_meta metas[RAFT_MAX_APPEND_ENTRIES];
    struct buf *payloads[RAFT_MAX_APPEND_ENTRIES];
};

/* ---- net.c ---- */

void net_handle_closed(struct raft_net *net);
void net_count_bad_input(struct raft_net *net, const char *remote, const char *what);
/* Whether to report again something last reported at *last_ms; then updates it. */
bool net_may_report(struct raft_net *net, uint64_t *last_ms);
void net_remote_text(const uv_tcp_t *tcp, char *out, size_t bytes);

/* ---- address.c ---- */

/*
 * Resolves HOST:PORT and runs `done` with the address, or NULL and a negative errno: at once for a
 * numeric host, else when the resolver answers (never after the net is closed). `key` says whose it
 * is: a pointer might not live as long as the resolver takes.
 */
typedef void net_resolved_fn(struct raft_net *net, uint64_t key, const struct sockaddr *address,
                             int status);
void net_resolve(struct raft_net *net, const char *text, net_resolved_fn *done, uint64_t key);

/* The same, waiting; for the address that this node listens on. */
int net_resolve_now(struct raft_net *net, const char *text, struct sockaddr_storage *out);

/* ---- peers.c ---- */

struct net_peer *net_peer_find(struct raft_net *net, raft_id id);
/* A peer that greeted and is no member: dialled back for as long as it keeps its connections. */
struct net_peer *net_peer_add(struct raft_net *net, raft_id id, const char *name,
                              const char *address);
void net_peer_tick(struct net_peer *peer, uint64_t now_ms);
void net_peer_dial(struct net_peer *peer);
/* Frees the peers that are neither members nor connected. */
void net_peers_sweep(struct raft_net *net);
void net_peers_free(struct raft_net *net);

/* ---- accept.c ---- */

void net_on_connection(uv_stream_t *listener, int status);

/* ---- question.c ---- */

/* Asks; not while the question is busy. Its answer may arrive before this returns. */
void net_question_ask(struct raft_net *net, struct net_question *question, const char *address);
bool net_question_busy(const struct net_question *question);

/* Nobody hears of it any more; it may stay busy for a while. */
void net_question_drop(struct net_question *question);

/* ---- join.c ---- */

void net_join_tick(struct raft_net *net, uint64_t now_ms);

/* ---- invite.c ---- */

void net_invite_tick(struct raft_net *net, uint64_t now_ms);

#endif
