/* SPDX-License-Identifier: MIT */
/* requests.c - what the mount asks for: each request to whoever of the node answers it. */
#include <errno.h>

#include "base/clock.h"
#include "base/memory.h"
#include "node/internal.h"
#include "node/status.h"

/*
 * A leader with a lease, or who has its grant, looks at once, on the thread that asks: two hops
 * less, and the loop is left to the writers. The store is asked, not the barriers: it knows of a
 * batch before the batch's writers do, whose next request must not wait.
 */
static bool may_look_now(struct node *n, const struct backend_barrier *barrier)
{
    uint64_t index;
    return raft_driver_read_now(n->driver, &index) && index <= store_applied_index(n->store) &&
           (!barrier->need_session || changes_session(n->changes) != 0);
}

static void send_on(struct node *n, enum submitted submitted)
{
    if (submitted == SUBMITTED_ALONE)
        node_take_turn(n);
    else if (submitted == SUBMITTED_BEHIND)
        node_wake(n);
}

static void backend_barrier(void *ctx, struct backend_barrier *barrier)
{
    struct node *n = ctx;
    if (may_look_now(n, barrier))
        barrier->done(barrier, 0);
    else
        send_on(n, barriers_submit(n->barriers, barrier));
}

static void backend_change(void *ctx, struct backend_change *change)
{
    struct node *n = ctx;
    send_on(n, changes_submit(n->changes, change));
}

/* Who carries it out; NULL: the snapshot thread. */
static struct orders *orders_for(struct node *n, const struct backend_order *order)
{
    switch (order->kind) {
    case BACKEND_ORDER_TRANSFER:
        return handover_orders(n->handover);
    case BACKEND_ORDER_MEMBER:
    case BACKEND_ORDER_REMOVE:
    case BACKEND_ORDER_ADD:
        return members_orders(n->members);
    case BACKEND_ORDER_SNAPSHOT:
        break;
    }
    return NULL;
}

static void backend_order(void *ctx, struct backend_order *order)
{
    struct node *n = ctx;
    struct orders *orders = orders_for(n, order);
    if (!orders) {
        snapshots_order(n->snapshots, order);
        return;
    }
    if (n->claimed && orders == members_orders(n->members)) {
        order->done(order, -EROFS);
        return;
    }
    orders_add(orders, order);
    node_wake(n);
}

static void backend_cancel_barrier(void *ctx, struct backend_barrier *barrier)
{
    struct node *n = ctx;
    barriers_cancel(n->barriers, barrier);
}

static void backend_cancel_change(void *ctx, struct backend_change *change)
{
    struct node *n = ctx;
    changes_cancel(n->changes, change);
}

static void backend_cancel_order(void *ctx, struct backend_order *order)
{
    struct node *n = ctx;
    struct orders *orders = orders_for(n, order);
    if (orders)
        orders_cancel(orders, order);
    else
        snapshots_cancel(n->snapshots, order);
}

static uint64_t backend_session(void *ctx)
{
    struct node *n = ctx;
    return changes_session(n->changes);
}

static size_t backend_status_text(void *ctx, char *out, size_t out_bytes)
{
    struct node *n = ctx;
    struct raft_driver_status *raft = memory_alloc(sizeof(*raft));
    struct store_totals totals;
    raft_driver_status(n->driver, raft);
    store_totals(n->store, &totals);
    pthread_mutex_lock(&n->dir_lock);
    struct raft_net_identity identity = n->dir.identity;
    pthread_mutex_unlock(&n->dir_lock);
    struct status_source source = {.identity = &identity,
                                   .raft = raft,
                                   .store = &totals,
                                   .snapshot_index = snapshots_newest(n->snapshots).index,
                                   .uptime_ms = (clock_mono_us() - n->started_us) / 1000};
    size_t used = status_format(&source, out, out_bytes);
    memory_free(raft);
    return used;
}

static size_t backend_leader_text(void *ctx, char *out, size_t out_bytes)
{
    struct node *n = ctx;
    struct raft_driver_status *raft = memory_alloc(sizeof(*raft));
    raft_driver_status(n->driver, raft);
    size_t used = status_leader(raft, out, out_bytes);
    memory_free(raft);
    return used;
}

static size_t backend_snapshot_text(void *ctx, char *out, size_t out_bytes)
{
    struct node *n = ctx;
    return snapshots_text(n->snapshots, out, out_bytes);
}

static bool backend_member(void *ctx, unsigned k, char *name, size_t name_bytes, char *text,
                           size_t text_bytes)
{
    struct node *n = ctx;
    struct raft_driver_status *raft = memory_alloc(sizeof(*raft));
    raft_driver_status(n->driver, raft);
    bool found = status_member(raft, k, name, name_bytes, text, text_bytes);
    memory_free(raft);
    return found;
}

struct backend node_backend(struct node *n)
{
    return (struct backend){.ctx = n,
                            .store = n->store,
                            .barrier = backend_barrier,
                            .change = backend_change,
                            .order = backend_order,
                            .cancel_barrier = backend_cancel_barrier,
                            .cancel_change = backend_cancel_change,
                            .cancel_order = backend_cancel_order,
                            .session = backend_session,
                            .status_text = backend_status_text,
                            .leader_text = backend_leader_text,
                            .snapshot_text = backend_snapshot_text,
                            .member = backend_member,
                            .timeout_ms = n->options->timeout_ms};
}
