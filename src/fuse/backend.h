/* SPDX-License-Identifier: MIT */
/*
 * backend.h - what the mount asks of the node beneath it.
 *
 * The mount turns FUSE requests into queries of the store (which it calls directly) and into the
 * requests here: a barrier before a linearizable look, a change to replicate, an order to carry
 * out, a text to show. node.c implements the table; a test may implement it over a bare store.
 *
 * Requests are embedded in the caller's own request object, so nothing is allocated here. `done`
 * runs exactly once, on a thread of the node's choosing (never under a lock that a call of this
 * table waits for, perhaps before the asking call returns), and may free the object. The asking
 * call may bring others' `done` with it: no lock that one of them takes is held meanwhile.
 */
#ifndef RAFTFS_FUSE_BACKEND_H
#define RAFTFS_FUSE_BACKEND_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "store/store.h"

/* A singly linked hook by which the node queues a request; the mount leaves it alone. */
struct backend_link {
    struct backend_link *next;
    struct backend_link *prev;
};

/*
 * "Let me look." done(0): what a query of the store now sees is at least what was committed when
 * the barrier was asked for (with consistency=local: at once). -ETIMEDOUT: no quorum answered.
 * -EINTR: cancelled. With need_session it also waits until backend->session() is not 0.
 */
struct backend_barrier {
    struct backend_link link;
    uint64_t asked_us;
    uint64_t index;
    bool need_session;
    void (*done)(struct backend_barrier *barrier, int status);
};

/*
 * "Replicate this." `command` is encoded but not sealed; the reference passes over.
 * done(0, result): applied on this node; result->status says what it came to there.
 * done(-EROFS | -EINTR, NULL): nothing happened. done(-ETIMEDOUT, NULL): unknown; it will not land
 * after a later change of this node any more.
 */
struct backend_change {
    struct backend_link link;
    struct buf *command;
    uint64_t asked_us;
    uint64_t seq;
    uint32_t copies;
    uint8_t state;
    void (*done)(struct backend_change *change, int status, const struct store_result *result);
};

/* What was written to a special file: "do this", to this node or to the cluster. */
enum backend_order_kind {
    BACKEND_ORDER_SNAPSHOT = 1, /* take one of this node's store */
    BACKEND_ORDER_TRANSFER,     /* let the member `name` lead */
    BACKEND_ORDER_MEMBER,       /* let the member `name` be as `text` says */
    BACKEND_ORDER_REMOVE,       /* remove the member `name` */
    BACKEND_ORDER_ADD,          /* add the member `name` as `text` says, which has an address */
};

enum { BACKEND_TEXT_BYTES = 256 };

/*
 * done(0): it is done. -EINVAL: it makes no sense, as leadership for a member that is none.
 * -ENOENT: there is no such member to change. -EBUSY: the voters that answer would be no majority
 * afterwards. -EHOSTUNREACH: nobody listens at that address, -EADDRINUSE: somebody else does.
 * -ENOSPC: the cluster has all the members or voters that it can have. -ETIMEDOUT: it was not done
 * in time, and may still be. -EINTR: cancelled, or the node stops. Else what failed.
 */
struct backend_order {
    struct backend_link link;
    uint64_t asked_us;
    enum backend_order_kind kind;
    char name[NAME_MAX + 1];
    char text[BACKEND_TEXT_BYTES]; /* words, "ADDRESS voter|nonvoter" or some of them */
    void (*done)(struct backend_order *order, int status);
};

struct backend {
    void *ctx;
    struct store *store;

    void (*barrier)(void *ctx, struct backend_barrier *barrier);
    void (*change)(void *ctx, struct backend_change *change);
    void (*order)(void *ctx, struct backend_order *order);

    /*
     * The caller has died (a fatal signal): done(-EINTR) soon, if it has not run yet. What left
     * this node may still happen. Safe at any time before done() returns.
     */
    void (*cancel_barrier)(void *ctx, struct backend_barrier *barrier);
    void (*cancel_change)(void *ctx, struct backend_change *change);
    void (*cancel_order)(void *ctx, struct backend_order *order);

    /*
     * The number that the log granted to this boot, 0 until then; below 2^30. A new inode's number
     * is (session << 32) + a counter of this node.
     */
    uint64_t (*session)(void *ctx);

    /* The text of .status, .leader, .raft/snapshot; bytes written. Never waits for anything. */
    size_t (*status_text)(void *ctx, char *out, size_t out_bytes);
    size_t (*leader_text)(void *ctx, char *out, size_t out_bytes);
    size_t (*snapshot_text)(void *ctx, char *out, size_t out_bytes);
    /* Line k of .raft/members as (name, "ADDRESS voter|nonvoter"); false when there is none. */
    bool (*member)(void *ctx, unsigned k, char *name, size_t name_bytes, char *text,
                   size_t text_bytes);

    /* How long an operation may wait, in ms: -o timeout. */
    uint32_t timeout_ms;
};

#endif
