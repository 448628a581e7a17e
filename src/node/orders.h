/* SPDX-License-Identifier: MIT */
/*
 * orders.h - orders that wait for the loop: handover.c and members.c carry them out.
 *
 * Whoever takes an order out under the lock answers it, without the lock. Threads: orders_add() and
 * orders_cancel() any.
 */
#ifndef RAFTFS_NODE_ORDERS_H
#define RAFTFS_NODE_ORDERS_H

#include <pthread.h>

#include "node/queue.h"

struct orders {
    uint64_t timeout_us;
    pthread_mutex_t lock;
    struct queue waiting; /* oldest first */
};

void orders_init(struct orders *orders, uint64_t timeout_us);
void orders_close(struct orders *orders);

/* The loop should be woken up. */
void orders_add(struct orders *orders, struct backend_order *order);

/* done(-EINTR), unless it has been answered. */
void orders_cancel(struct orders *orders, struct backend_order *order);

bool orders_empty(struct orders *orders);

static inline struct backend_order *order_of(struct backend_link *link)
{
    return queue_entry(link, struct backend_order, link);
}

static inline bool order_is_late(const struct orders *orders, const struct backend_order *order,
                                 uint64_t now_us)
{
    return now_us >= order->asked_us + orders->timeout_us;
}

#endif
