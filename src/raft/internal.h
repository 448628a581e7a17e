/* SPDX-License-Identifier: MIT */
/* internal.h - the driver's state, for its own files: driver.c, startup.c, admission.c. */
#ifndef RAFTFS_RAFT_INTERNAL_H
#define RAFTFS_RAFT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "raft/cache.h"
#include "raft/driver.h"
#include "raft/outbox.h"

struct member_heard {
    raft_id id;
    _Atomic(uint64_t) at_us; /* by every message, without the lock */
    bool up;
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
    uint64_t config_index;           /* whose members the net knows */
    uint64_t committed_config_index; /* whose removals the net has acted on */
    struct member_heard heard[RAFT_MAX_MEMBERS];

    struct raft_cache cache;
    struct raft_outbox outbox;
    uint64_t durable_write; /* stepped as RAFT_PERSISTED */

    uint64_t handed_index; /* given to the node to apply */
    uint64_t applied_index;
    bool apply_fetching;

    atomic_uint_fast64_t log_durable_write; /* by the writer thread */
    pthread_mutex_t fetch_lock;
    struct fetch *fetched; /* by the reader thread, newest first */
    uv_async_t log_async;
    uv_timer_t wake;

    bool closing;
    unsigned open_parts; /* handles of our own, and the net */
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

/* One event without payloads through the core, and its effects. */
void raft_driver_step(struct raft_driver *driver, struct raft_event *event);

/* Tells the net of the members that the core has now. */
void raft_driver_adopt_members(struct raft_driver *driver);

/* raft_log_options.on_durable: the writer's thread. */
void raft_driver_on_durable(void *ctx, uint64_t write_id);

/* raft_net_callbacks.on_change, is_removed, on_join. */
void raft_driver_on_change(void *ctx, raft_id from, const struct raft_net_change *change);
bool raft_driver_is_removed(void *ctx, raft_id from, uint64_t config_index);
void raft_driver_on_join(void *ctx, const struct raft_net_join *join,
                         struct raft_net_join_reply *reply);

#endif
