/* SPDX-License-Identifier: MIT */
#include "raft/outbox.h"

#include "base/memory.h"

enum { INITIAL_CAPACITY = 64 };

static struct raft_send *slot(const struct raft_outbox *box, uint32_t k)
{
    return &box->ring[(box->head + k) & (box->capacity - 1)];
}

void raft_outbox_init(struct raft_outbox *box)
{
    *box = (struct raft_outbox){.capacity = INITIAL_CAPACITY};
    box->ring = memory_alloc(INITIAL_CAPACITY * sizeof(*box->ring));
}

void raft_outbox_close(struct raft_outbox *box)
{
    memory_free(box->ring);
    box->ring = NULL;
}

static void grow(struct raft_outbox *box)
{
    struct raft_send *bigger = memory_alloc(2 * box->capacity * sizeof(*bigger));
    for (uint32_t k = 0; k < box->count; k++)
        bigger[k] = *slot(box, k);
    memory_free(box->ring);
    box->ring = bigger;
    box->head = 0;
    box->capacity *= 2;
}

void raft_outbox_put(struct raft_outbox *box, const struct raft_send *send)
{
    if (box->count == box->capacity)
        grow(box);
    *slot(box, box->count++) = *send;
}

bool raft_outbox_take(struct raft_outbox *box, uint64_t durable_write, struct raft_msg *msg)
{
    if (box->count == 0 || slot(box, 0)->after_write > durable_write)
        return false;
    *msg = slot(box, 0)->msg;
    box->head = (box->head + 1) & (box->capacity - 1);
    box->count--;
    return true;
}
