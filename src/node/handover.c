/* SPDX-License-Identifier: MIT */
#include "node/handover.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "node/queue.h"

enum { ASK_AGAIN_US = 100 * 1000 };

struct handover {
    uint64_t timeout_us;
    uint64_t ask_at_us; /* the loop's */
    pthread_mutex_t lock;
    struct queue waiting; /* oldest first; that one's member is asked for */
};

static struct backend_order *order_of(struct backend_link *link)
{
    return queue_entry(link, struct backend_order, link);
}

struct handover *handover_init(uint64_t timeout_us)
{
    struct handover *h = memory_zalloc(sizeof(*h));
    h->timeout_us = timeout_us;
    pthread_mutex_init(&h->lock, NULL);
    queue_init(&h->waiting);
    return h;
}

void handover_close(struct handover *h)
{
    assert(queue_empty(&h->waiting));
    pthread_mutex_destroy(&h->lock);
    memory_free(h);
}

void handover_order(struct handover *h, struct backend_order *order)
{
    order->asked_us = clock_mono_us();
    pthread_mutex_lock(&h->lock);
    queue_push(&h->waiting, &order->link);
    pthread_mutex_unlock(&h->lock);
}

void handover_cancel(struct handover *h, struct backend_order *order)
{
    pthread_mutex_lock(&h->lock);
    bool ours = queue_linked(&order->link);
    if (ours)
        queue_remove(&order->link);
    pthread_mutex_unlock(&h->lock);
    if (ours)
        order->done(order, -EINTR);
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
    return now_us >= order->asked_us + h->timeout_us ? -ETIMEDOUT : 1;
}

/* Under the lock, which it gives up meanwhile: answers all that can be, and names who is to lead.
 */
static raft_id answer(struct handover *h, const struct raft_driver_status *status, uint64_t now_us)
{
    raft_id wanted = 0;
    struct queue waiting;
    struct backend_link *link;
    queue_init(&waiting);
    while ((link = queue_pop(&h->waiting))) {
        struct backend_order *order = order_of(link);
        raft_id to = voter_named(status, order->name);
        int result = outcome(h, order, to, status->leader, now_us);
        if (result > 0) {
            queue_push(&waiting, link);
            wanted = wanted ? wanted : to;
            continue;
        }
        pthread_mutex_unlock(&h->lock);
        order->done(order, result);
        pthread_mutex_lock(&h->lock);
    }
    queue_append(&waiting, &h->waiting);
    queue_append(&h->waiting, &waiting);
    return wanted;
}

uint64_t handover_pump(struct handover *h, struct raft_driver *driver, uint64_t now_us)
{
    pthread_mutex_lock(&h->lock);
    if (queue_empty(&h->waiting)) {
        pthread_mutex_unlock(&h->lock);
        return UINT64_MAX;
    }
    struct raft_driver_status *status = memory_alloc(sizeof(*status));
    raft_driver_status(driver, status);
    raft_id wanted = answer(h, status, now_us);
    memory_free(status);
    pthread_mutex_unlock(&h->lock);
    if (wanted == 0)
        return UINT64_MAX;
    if (now_us >= h->ask_at_us) {
        h->ask_at_us = now_us + ASK_AGAIN_US;
        raft_driver_transfer(driver, wanted);
    }
    return h->ask_at_us;
}
