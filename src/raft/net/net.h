/* SPDX-License-Identifier: MIT */
/*
 * net.h - messages between members over TCP, on the driver's libuv loop.
 *
 * Two connections per peer and direction of dialling: `control` for what must never wait (votes,
 * heartbeats, reads, small appends' replies), `bulk` for entries, forwarded proposals and
 * pieces of snapshots. A node
 * dials every member of its configuration and sends only on connections it dialled itself; what it
 * accepts it only reads from. So an answer that arrives proves that the address on file works.
 * wire.h is the format. A connection opens with a hello (magic, version, cluster id, the sender's
 * id, name and address, the id expected at the other end); a hello that does not fit is answered
 * with a refusal that says why, and closed.
 *
 * Every length is bounded before it is believed. A peer's bad input closes that connection, is
 * counted and reported (at most once a minute a peer), and never trips an assertion.
 *
 * Everything here runs on the loop's thread, callbacks too.
 */
#ifndef RAFTFS_RAFT_NET_H
#define RAFTFS_RAFT_NET_H

#include <uv.h>

#include "base/buf.h"
#include "raft/log/log.h"
#include "raft/raft.h"

struct raft_net;

enum {
    RAFT_NET_PROTOCOL = 5,
    RAFT_NET_REDIAL_MS = 500,            /* at most, between two attempts at a member */
    RAFT_NET_MAX_QUEUE_BYTES = 32 << 20, /* unsent, a peer: beyond it bulk sends are dropped */
    RAFT_NET_WHY_BYTES = 256,
    RAFT_NET_PIECE_BYTES = 256 * 1024, /* of a snapshot, at most in one answer */
};

struct raft_net_identity {
    uint64_t cluster; /* 0: not known yet (a node that joins) */
    raft_id id;
    char name[RAFT_NAME_BYTES];
    char address[RAFT_ADDRESS_BYTES]; /* where peers reach this node */
};

/* A node that wants to become a member, as it introduces itself. */
struct raft_net_join {
    raft_id id;
    char name[RAFT_NAME_BYTES];
    char address[RAFT_ADDRESS_BYTES];
    bool voter;       /* false: stays a learner */
    raft_id replaces; /* its predecessor in the same data directory; 0: it knows of none */
};

enum raft_net_join_status {
    RAFT_JOIN_OK = 0,     /* the configuration holds it, and is committed */
    RAFT_JOIN_REDIRECT,   /* ask the leader: address in the answer */
    RAFT_JOIN_RETRY,      /* no leader, or another change is in flight: ask again */
    RAFT_JOIN_NAME_TAKEN, /* by a member that is in contact */
    RAFT_JOIN_REFUSED,    /* full, or a version too old; `why` says */
    RAFT_JOIN_PENDING,    /* the configuration that holds it is on its way: ask again */
};

struct raft_net_join_reply {
    enum raft_net_join_status status;
    uint64_t cluster;
    char leader_address[RAFT_ADDRESS_BYTES];
    char why[RAFT_NET_WHY_BYTES];
};

/* A member asks whoever listens at an address to introduce itself: it is to be added as `name`. */
struct raft_net_invitation {
    uint64_t cluster;
    char name[RAFT_NAME_BYTES];
};

enum raft_net_invite_status {
    RAFT_INVITE_INTRODUCED = 0, /* `join` says who is there */
    RAFT_INVITE_REFUSED,        /* somebody who will not or must not become this member */
    RAFT_INVITE_UNREACHABLE,    /* nobody yet; asking goes on */
};

struct raft_net_introduction {
    enum raft_net_invite_status status;
    struct raft_net_join join;
    char why[RAFT_NET_WHY_BYTES];
};

/* What a forwarded proposal came to. Applied ones are not answered: applying answers them. */
enum raft_net_forward_status {
    RAFT_FORWARD_APPENDED = 0,
    RAFT_FORWARD_REFUSED, /* nothing was appended */
    RAFT_FORWARD_FULL,    /* nor was it, and will not be before there is room on disks */
};

/* A change of the configuration that a member asks the leader for. */
struct raft_net_change {
    uint64_t seq; /* the asker's */
    enum raft_change_kind kind;
    raft_id member;
    char address[RAFT_ADDRESS_BYTES]; /* of RAFT_CHANGE_ADDRESS and _ADD */
    char name[RAFT_NAME_BYTES];       /* of RAFT_CHANGE_ADD */
    bool promote;                     /* of RAFT_CHANGE_ADD */
};

/* A node asks another for a piece of a snapshot. */
struct raft_net_snapshot_ask {
    uint64_t seq;       /* the asker's */
    uint64_t id;        /* of that snapshot; 0: of the newest at or above min_index */
    uint64_t min_index; /* of id 0 */
    uint64_t offset;
    uint32_t bytes; /* at most RAFT_NET_PIECE_BYTES; fewer come at the end of the file */
};

/* The answer, with the snapshot that the bytes are of. */
struct raft_net_snapshot_piece {
    uint64_t seq;
    int32_t status; /* 0; -ENOENT: none such here; -EIO: it cannot be read. Not 0: no more fields */
    uint64_t id;
    uint64_t index;
    uint64_t term;
    uint64_t total_bytes;
    uint64_t offset;
    uint32_t bytes;
};

/* What a node makes of a cluster that has it as a member, and that it is not in. */
enum raft_net_claim {
    RAFT_CLAIM_IGNORED,
    RAFT_CLAIM_ADOPTED, /* it has no cluster, was joining, and this is it from now on: accept */
    RAFT_CLAIM_NOTED,   /* it has been started by mistake, and has said so */
};

struct raft_net_callbacks {
    void *ctx;

    /*
     * A message of the core from a peer, addressed to this node. For RAFT_MSG_APPEND, `payloads`
     * holds append.count references (NULL for a no-op) that the callee takes over, and the metas
     * stand in msg->append.entries; both arrays are valid during the call only.
     */
    void (*on_message)(void *ctx, const struct raft_msg *msg, struct buf **payloads);

    /* `count` forwarded proposals, numbered from `seq` by the sender; references pass over. */
    void (*on_forward)(void *ctx, raft_id from, uint64_t seq, struct buf **payloads,
                       uint32_t count);
    void (*on_forward_reply)(void *ctx, raft_id from, uint64_t seq, uint32_t count,
                             enum raft_net_forward_status status);

    void (*on_change)(void *ctx, raft_id from, const struct raft_net_change *change);
    void (*on_change_reply)(void *ctx, uint64_t seq, enum raft_refusal refusal);

    void (*on_snapshot_ask)(void *ctx, raft_id from, const struct raft_net_snapshot_ask *ask);
    /* `data` holds piece->bytes bytes, or is NULL if there are none; the reference passes over. */
    void (*on_snapshot_piece)(void *ctx, raft_id from, const struct raft_net_snapshot_piece *piece,
                              struct buf *data);

    /* Somebody asks to join; fill the reply. */
    void (*on_join)(void *ctx, const struct raft_net_join *join, struct raft_net_join_reply *reply);

    /* A member wants to know who is here: introduce this node, or return false and say why not. */
    bool (*on_invite)(void *ctx, const struct raft_net_invitation *invitation,
                      struct raft_net_join *self, char why[RAFT_NET_WHY_BYTES]);

    /* A hello that names this node by name or id in a cluster this node is not in. */
    enum raft_net_claim (*on_claim)(void *ctx, uint64_t cluster, raft_id from,
                                    const char *from_name, const char *from_address,
                                    raft_id expected_id);

    /*
     * A hello from `from`, which the configuration of entry config_index had as a member: is it
     * known for certain that it is none any more?
     */
    bool (*is_removed)(void *ctx, raft_id from, uint64_t config_index);

    /* A member said so of this node. */
    void (*on_removed)(void *ctx, const char *by_name);

    /* Both lanes to this peer are open and its hello was accepted. */
    void (*on_peer_up)(void *ctx, raft_id peer);

    /*
     * Nobody listens at the peer's address (any more): its process has died. A connection that only
     * breaks is dialled again and comes up again. Called at most once until it is up.
     */
    void (*on_peer_lost)(void *ctx, raft_id peer);
};

/* Whether these bytes are HOST:PORT, short enough for a member's address. Any thread. */
bool raft_net_is_address(const char *text, size_t bytes);

/*
 * Whether a node may have this name: it stands in file names and in space-separated lines, so it
 * has letters, digits, '.', '_' and '-', and does not begin with '.'. Any thread.
 */
bool raft_net_is_name(const char *text);

/*
 * Listens on `identity->address` (0, or a negative errno such as -EADDRINUSE with a line in
 * `why`). The callbacks' table is copied.
 */
int raft_net_init(struct raft_net **out, uv_loop_t *loop, const struct raft_net_identity *identity,
                  const struct raft_net_callbacks *callbacks, char why[RAFT_NET_WHY_BYTES]);

/* The cluster id, once a joining node knows it. */
void raft_net_set_cluster(struct raft_net *net, uint64_t cluster);

/* Dials the members that are new in `config`, of entry `index`; hangs up on those that left. */
void raft_net_set_members(struct raft_net *net, const struct raft_config *config, uint64_t index);

/*
 * A configuration is committed: whoever is connected and was removed by it is hung up on, and hears
 * it when it calls again.
 */
void raft_net_expel_removed(struct raft_net *net);

/* Sends what is queued: at once, instead of when the loop's turn ends. */
void raft_net_flush(struct raft_net *net);

/*
 * Queues a message for msg->to; false if that peer is not connected or its queue is full (Raft
 * sends again). For RAFT_MSG_APPEND `entries` are msg->append.count entries with payloads, which
 * are referenced until sent.
 */
bool raft_net_send(struct raft_net *net, const struct raft_msg *msg,
                   const struct raft_entry *entries);

/* Forwards proposals to a peer; false if nothing of them left this node. */
bool raft_net_forward(struct raft_net *net, raft_id to, uint64_t seq, struct buf *const *payloads,
                      uint32_t count);
void raft_net_forward_reply(struct raft_net *net, raft_id to, uint64_t seq, uint32_t count,
                            enum raft_net_forward_status status);

/* Asks a peer for a change; false if it is not connected. An answer may get lost. */
bool raft_net_change(struct raft_net *net, raft_id to, const struct raft_net_change *change);
void raft_net_change_reply(struct raft_net *net, raft_id to, uint64_t seq,
                           enum raft_refusal refusal);

/*
 * Asks a peer for a piece of a snapshot, and answers; false if it is not connected or its queue is
 * full: nothing was sent. Both may get lost. `data`, of piece->bytes, is referenced until sent.
 */
bool raft_net_snapshot_ask(struct raft_net *net, raft_id to,
                           const struct raft_net_snapshot_ask *ask);
bool raft_net_snapshot_piece(struct raft_net *net, raft_id to,
                             const struct raft_net_snapshot_piece *piece, struct buf *data);

/*
 * Asks to join through any of `addresses` (HOST:PORT[,HOST:PORT...]), following redirects, until an
 * answer other than RETRY or PENDING arrives; tries each address in turn, every RAFT_NET_REDIAL_MS.
 * on_reply runs for every answer; for an address that cannot be reached it gets status RETRY with
 * `why`.
 */
void raft_net_join_start(struct raft_net *net, const char *addresses,
                         const struct raft_net_join *join,
                         void (*on_reply)(void *ctx, const struct raft_net_join_reply *reply),
                         void *ctx);
void raft_net_join_stop(struct raft_net *net);

/*
 * Asks whoever listens at `address` to introduce itself as `name`, every RAFT_NET_REDIAL_MS until
 * it does or refuses to. on_reply runs for every answer, also for none.
 */
void raft_net_invite_start(struct raft_net *net, const char *name, const char *address,
                           void (*on_reply)(void *ctx,
                                            const struct raft_net_introduction *introduction),
                           void *ctx);
void raft_net_invite_stop(struct raft_net *net);

/* Whether both lanes to a peer are up. */
bool raft_net_is_up(const struct raft_net *net, raft_id peer);

uint64_t raft_net_bad_inputs(const struct raft_net *net);

/* Closes everything; `on_closed` runs when the loop holds no handle of the net any more. */
void raft_net_close(struct raft_net *net, void (*on_closed)(void *ctx), void *ctx);

#endif
