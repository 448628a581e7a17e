/* SPDX-License-Identifier: MIT */
#include "node/orders.h"

#include <assert.h>
#include <errno.h>

#include "base/clock.h"

void orders_init(struct orders *o, uint64_t timeout_us)
{
    o->timeout_us = timeout_us;
    pthread_mutex_init(&o->lock, NULL);
    queue_init(&o->waiting);
}

void orders_close(struct orders *o)
{
    assert(queue_empty(&o->waiting));
    pthread_mutex_destroy(&o->lock);
}

void orders_add(struct orders *o, struct backend_order *order)
{
    order->asked_us = clock_mono_us();
    pthread_mutex_lock(&o->lock);
    queue_push(&o->waiting, &order->link);
    pthread_mutex_unlock(&o->lock);
}

void orders_cancel(struct orders *o, struct backend_order *order)
{
    pthread_mutex_lock(&o->lock);
    bool ours = queue_linked(&order->link);
    if (ours)
        queue_remove(&order->link);
    pthread_mutex_unlock(&o->lock);
    if (ours)
        order->done(order, -EINTR);
}

bool orders_empty(struct orders *o)
{
    pthread_mutex_lock(&o->lock);
    bool empty = queue_empty(&o->waiting);
    pthread_mutex_unlock(&o->lock);
    return empty;
}
