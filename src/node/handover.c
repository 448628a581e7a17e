/* SPDX-License-Identifier: MIT */
#include "node/handover.h"

#include <errno.h>
#include <string.h>

#include "base/memory.h"

enum { ASK_AGAIN_US = 100 * 1000 };

struct handover {
    struct orders orders;
    uint64_t ask_at_us;
};

struct handover *handover_init(uint64_t timeout_us)
{
    struct handover *h = memory_zalloc(sizeof(*h));
    orders_init(&h->orders, timeout_us);
    return h;
}

void handover_close(struct handover *h)
{
    orders_close(&h->orders);
    memory_free(h);
}

struct orders *handover_orders(struct handover *h)
{
    return &h->orders;
}

static raft_id voter_named(const struct raft_driver_status *status, const char *name)
{
    for (uint32_t i = 0; i < status->member_count; i++) {
        const struct raft_member *m = &status->members[i].member;
        if (m->voter && strcmp(m->name, name) == 0)
            return m->id;
    }
    return 0;
}

/* What has become of an order: 1 while it has to wait. */
static int outcome(const struct handover *h, const struct backend_order *order, raft_id to,
                   raft_id leader, uint64_t now_us)
{
    if (to == 0)
        return -EINVAL;
    if (to == leader)
        return 0;
    return order_is_late(&h->orders, order, now_us) ? -ETIMEDOUT : 1;
}

/* Under the lock, which it gives up meanwhile: answers all that can be, and names who is to lead.
 */
static raft_id answer(struct handover *h, const struct raft_driver_status *status, uint64_t now_us)
{
    raft_id wanted = 0;
    struct queue waiting;
    struct backend_link *link;
    queue_init(&waiting);
    pthread_mutex_lock(&h->orders.lock);
    while ((link = queue_pop(&h->orders.waiting))) {
        struct backend_order *order = order_of(link);
        raft_id to = voter_named(status, order->name);
        int result = outcome(h, order, to, status->leader, now_us);
        if (result > 0) {
            queue_push(&waiting, link);
            wanted = wanted ? wanted : to;
            continue;
        }
        pthread_mutex_unlock(&h->orders.lock);
        order->done(order, result);
        pthread_mutex_lock(&h->orders.lock);
    }
    queue_append(&waiting, &h->orders.waiting);
    queue_append(&h->orders.waiting, &waiting);
    pthread_mutex_unlock(&h->orders.lock);
    return wanted;
}

uint64_t handover_pump(struct handover *h, struct raft_driver *driver, uint64_t now_us)
{
    if (orders_empty(&h->orders))
        return UINT64_MAX;
    struct raft_driver_status *status = memory_alloc(sizeof(*status));
    raft_driver_status(driver, status);
    raft_id wanted = answer(h, status, now_us);
    memory_free(status);
    if (wanted == 0)
        return UINT64_MAX;
    if (now_us >= h->ask_at_us) {
        h->ask_at_us = now_us + ASK_AGAIN_US;
        raft_driver_transfer(driver, wanted);
    }
    return h->ask_at_us;
}
