/* SPDX-License-Identifier: MIT */
/*
 * buf.h - an immutable block of bytes shared by reference count.
 *
 * A replicated command is allocated once and then shared by the log writer, the sends to every peer
 * and the apply thread. Fill it before the first buf_ref(); after that nobody writes to it.
 * buf_ref() and buf_unref() may be called from any thread.
 */
#ifndef RAFTFS_BASE_BUF_H
#define RAFTFS_BASE_BUF_H

#include <stdatomic.h>
#include <stdint.h>

struct buf {
    atomic_uint refs;
    uint32_t bytes;
    uint8_t data[];
};

/* A new block with one reference, not zeroed; never NULL (the process ends when memory does). */
struct buf *buf_new(uint32_t bytes);

/* A new block holding a copy of `data`. */
struct buf *buf_copy(const void *data, uint32_t bytes);

/* Takes another reference and returns `b`; NULL stays NULL. */
struct buf *buf_ref(struct buf *b);

/* Gives one reference back; the last one frees the block. NULL is allowed. */
void buf_unref(struct buf *b);

#endif
