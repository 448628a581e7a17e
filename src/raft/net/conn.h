/* SPDX-License-Identifier: MIT */
/*
 * conn.h - one TCP connection: frames in, frames out.
 *
 * What is sent during one turn of the loop leaves together, in one write, at the end of that turn
 * (net_flush). Incoming bytes gather in one buffer until a frame is whole; its length is bounded by
 * what the connection may carry at that stage before a byte of it is stored.
 *
 * A connection belongs to the net from init until its on_closed has run, which frees it.
 */
#ifndef RAFTFS_RAFT_NET_CONN_H
#define RAFTFS_RAFT_NET_CONN_H

#include <uv.h>

#include "raft/net/wire.h"

struct net_peer;
struct net_question;
struct raft_net;
struct net_conn;

enum {
    NET_GREETING_MS = 2000, /* from the start of a connection until it is accepted */
    NET_STALL_MS = 5000,    /* a frame that was begun must go on within this time */
};

/* What a connection is for; chosen by who made it. */
struct net_conn_role {
    /* A whole frame. False: bad input, which closes the connection and is counted. */
    bool (*on_frame)(struct net_conn *c, const struct wire_header *header, const uint8_t *body);
    /* It is being closed, with the reason as a negative errno of libuv, or 0 if by this side. */
    void (*on_broken)(struct net_conn *c, int status);
};

/* A part of the outgoing stream. */
struct net_piece {
    struct buf *buf;
    uint32_t sent_bytes;
};

struct net_conn {
    uv_tcp_t tcp;
    int fd; /* its socket, from net_conn_start() on */
    struct raft_net *net;
    const struct net_conn_role *role;
    struct net_conn *next, *prev;  /* of all the net's connections */
    struct net_peer *peer;         /* once known; NULL of one that joins */
    struct net_question *question; /* that it was made for */
    enum wire_lane lane;
    bool greeted; /* both sides have accepted each other */
    bool last;    /* close it when everything queued has been written */
    bool closing;
    uint64_t deadline_ms; /* 0: none */
    char remote[64];      /* for messages */

    uint8_t *in;
    size_t in_bytes;
    size_t in_capacity;
    uint64_t in_since_ms; /* last progress of an unfinished frame */

    struct net_piece *out; /* a ring */
    uint32_t out_head;
    uint32_t out_count;
    uint32_t out_capacity; /* a power of two */
    size_t out_bytes;
    uint32_t writing; /* pieces handed to the write in flight */
    uv_write_t write;
};

/* A connection without a socket yet. */
struct net_conn *net_conn_new(struct raft_net *net, const struct net_conn_role *role);

/* The socket is connected: sets its options and starts reading. 0 or a negative errno. */
int net_conn_start(struct net_conn *c);

/* Queues a frame; takes over `head`, references the payloads (of which some may be NULL). */
void net_conn_send(struct net_conn *c, struct buf *head, struct buf *const *payloads,
                   uint32_t count);

/* Writes what is queued, as far as the socket takes it; the rest follows by itself. */
void net_conn_flush(struct net_conn *c);

/* Checks the deadlines. */
void net_conn_tick(struct net_conn *c, uint64_t now_ms);

/* Runs on_broken and closes. Harmless when it is closing already. */
void net_conn_close(struct net_conn *c, int status);

/* The peer sent what no node would send: counts it, says so, and closes. */
void net_conn_bad_input(struct net_conn *c, const char *what);

#endif
