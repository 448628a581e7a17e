/* SPDX-License-Identifier: MIT */
#include "base/buf.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"

struct buf *buf_new(uint32_t bytes)
{
    struct buf *b = memory_alloc(sizeof(*b) + bytes);
    atomic_init(&b->refs, 1);
    b->bytes = bytes;
    return b;
}

struct buf *buf_copy(const void *data, uint32_t bytes)
{
    struct buf *b = buf_new(bytes);
    if (bytes)
        memcpy(b->data, data, bytes);
    return b;
}

struct buf *buf_ref(struct buf *b)
{
    if (b)
        atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void buf_unref(struct buf *b)
{
    if (!b)
        return;
    unsigned before = atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1)
        memory_free(b);
}
