/* SPDX-License-Identifier: MIT */
/*
 * queue.h - first in, first out, through the link embedded in every request.
 *
 * Circular and doubly linked, so that a cancelled request leaves from the middle in O(1). A link is
 * in at most one queue; one that is in none has next == NULL. The owner's lock guards it.
 */
#ifndef RAFTFS_NODE_QUEUE_H
#define RAFTFS_NODE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

#include "fuse/backend.h"

struct queue {
    struct backend_link head;
};

/* What becomes of a request that was submitted. */
enum submitted {
    SUBMITTED_DONE = 0, /* it is answered already */
    SUBMITTED_BEHIND,   /* it waits for a turn of the loop's, and others are on their way */
    SUBMITTED_ALONE,    /* likewise, and none of its kind is */
};

#define queue_entry(link_, type, member) ((type *)((char *)(link_)-offsetof(type, member)))

static inline void queue_init(struct queue *q)
{
    q->head.next = q->head.prev = &q->head;
}

static inline bool queue_empty(const struct queue *q)
{
    return q->head.next == &q->head;
}

static inline bool queue_linked(const struct backend_link *link)
{
    return link->next != NULL;
}

static inline void queue_push(struct queue *q, struct backend_link *link)
{
    link->next = &q->head;
    link->prev = q->head.prev;
    q->head.prev->next = link;
    q->head.prev = link;
}

static inline void queue_remove(struct backend_link *link)
{
    link->next->prev = link->prev;
    link->prev->next = link->next;
    link->next = link->prev = NULL;
}

/* The oldest, still in the queue; NULL if it is empty. */
static inline struct backend_link *queue_first(const struct queue *q)
{
    return queue_empty(q) ? NULL : q->head.next;
}

static inline struct backend_link *queue_pop(struct queue *q)
{
    struct backend_link *link = queue_first(q);
    if (link)
        queue_remove(link);
    return link;
}

/* Appends all of `from`, which is empty afterwards. */
static inline void queue_append(struct queue *to, struct queue *from)
{
    if (queue_empty(from))
        return;
    from->head.next->prev = to->head.prev;
    to->head.prev->next = from->head.next;
    from->head.prev->next = &to->head;
    to->head.prev = from->head.prev;
    queue_init(from);
}

#endif
