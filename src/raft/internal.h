/* SPDX-License-Identifier: MIT */
/*
 * internal.h - the driver's state, for its own files: driver.c (steps), disk.c, reading.c,
 * applying.c, requests.c, startup.c, admission.c.
 */
#ifndef RAFTFS_RAFT_INTERNAL_H
#define RAFTFS_RAFT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "raft/cache.h"
#include "raft/driver.h"
#include "raft/outbox.h"

/* A read of old entries that the log's reader thread has been asked for. */
struct fetch {
    struct raft_driver *driver;
    struct fetch *next;
    struct raft_msg msg; /* the append to send with them; kind 0: they are to be applied */
    uint64_t first;
    int status;
    uint32_t count;
    struct raft_entry entries[];
};

/* Where the payloads of the entries that one step appends come from. */
struct payload_source {
    struct buf *const *payloads;
    const struct raft_entry_meta *metas; /* NULL: proposals of the write's term */
};

struct member_heard {
    raft_id id;
    _Atomic(uint64_t) at_us; /* by every message, without the lock */
    bool up;
};

/* Since when the log's disk has not ended a write. */
struct disk_watch {
    bool waits; /* for the write behind durable_write */
    uint64_t durable_write;
    uint64_t since_us;
    bool told;
    uint64_t reported_us; /* when it was last told; 0: never */
};

struct raft_driver {
    uv_loop_t *loop;
    struct raft_driver_callbacks callbacks;
    struct raft_net_identity identity;
    struct raft_net *net;
    struct raft_log *log;

    pthread_mutex_t core_lock; /* held during a step, and by raft_driver_status() */
    struct raft *core;         /* NULL until raft_driver_start() */
    struct raft_effects *out;
    char joins_belong_at[RAFT_ADDRESS_BYTES]; /* not here; empty: here */
    uint64_t config_index;                    /* whose members the net knows */
    uint64_t committed_config_index;          /* whose removals the net has acted on */
    struct member_heard heard[RAFT_MAX_MEMBERS];

    /* Lease or grant, written in turns in this order and read by any thread in the other one. */
    _Atomic(uint64_t) lease_index;
    _Atomic(uint64_t) lease_until_us;

    struct raft_cache cache;
    struct raft_outbox outbox;
    uint64_t last_write;    /* the last one submitted to the log */
    uint64_t durable_write; /* stepped as RAFT_PERSISTED */

    uint64_t handed_index; /* given to the node to apply */
    uint64_t applied_index;
    bool apply_fetching;
    uint64_t unreadable_us; /* when the log was last reported to be */
    bool apply_paused;      /* a snapshot is taking the state machine's place */

    atomic_uint_fast64_t log_durable_write; /* by the log's writer, or the loop */
    atomic_bool log_full;                   /* by the keeper thread */
    bool told_full;                         /* stepped as RAFT_DISK */
    struct disk_watch disk;
    pthread_mutex_t fetch_lock;
    struct fetch *fetched; /* by the reader thread, newest first */
    uv_async_t log_async;
    uv_poll_t log_poll; /* raft_log_event_fd(); data NULL: there is none */
    uv_prepare_t before_poll;
    uv_check_t after_poll;
    uv_timer_t wake;

    bool closing;
    unsigned open_parts; /* handles of our own, and the net */
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

/* One event without payloads through the core, and its effects. */
void raft_driver_step(struct raft_driver *driver, struct raft_event *event);

/* The same, with payloads. */
void raft_driver_step_with(struct raft_driver *driver, struct raft_event *event,
                           struct payload_source source);

/* Stamps and proposes; for whoever leads. */
enum raft_driver_sent raft_driver_append(struct raft_driver *driver, struct buf *const *payloads,
                                         uint32_t count);

/* What was heard of a member; NULL: it is none. */
struct member_heard *raft_driver_heard(struct raft_driver *driver, raft_id peer);

/* ---- reading.c ---- */

/* Has [first, last] read: for `msg`, the append that carries them, or (NULL) to be applied. */
void raft_driver_fetch(struct raft_driver *driver, uint64_t first, uint64_t last,
                       const struct raft_msg *msg);
/* What has been read, oldest first; the caller frees each one and what it refers to. */
struct fetch *raft_driver_take_fetched(struct raft_driver *driver);
/* Gives the references of its entries back. */
void raft_driver_drop_fetched(struct fetch *fetched);

/* ---- applying.c ---- */

/* Gives the node what is committed, as long as it does not fall too far behind. */
void raft_driver_feed(struct raft_driver *driver);
/* The entries of a fetch without a message; their references pass over. */
void raft_driver_apply_fetched(struct raft_driver *driver, struct fetch *fetched);

/* ---- disk.c ---- */

/* raft_log_options.on_space: the keeper's thread. */
void raft_driver_on_space(void *ctx, bool full);
/* Steps what on_space() said, if it is news. */
void raft_driver_tell_disk(struct raft_driver *driver);
/* Says, once a minute, that a write does not end, and then that it did. Part of each step. */
void raft_driver_watch_disk(struct raft_driver *driver, uint64_t now_us);

/* ---- startup.c, admission.c, and callbacks of log and net ---- */

/* Tells the net of the members that the core has now. */
void raft_driver_adopt_members(struct raft_driver *driver);

/* From now on the loop hears of what the kernel has written for it (log/direct.c). */
void raft_driver_watch_log(struct raft_driver *driver);

/* raft_log_options.on_durable: the writer's thread. */
void raft_driver_on_durable(void *ctx, uint64_t write_id);

/* raft_net_callbacks.on_change, is_removed, on_join. */
void raft_driver_on_change(void *ctx, raft_id from, const struct raft_net_change *change);
bool raft_driver_is_removed(void *ctx, raft_id from, uint64_t config_index);
void raft_driver_on_join(void *ctx, const struct raft_net_join *join,
                         struct raft_net_join_reply *reply);

#endif
