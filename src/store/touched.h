/* SPDX-License-Identifier: MIT */
/*
 * touched.h - what one batch has touched, for whoever caches names, attributes or content.
 *
 * Collected while the batch is applied, in order; the same thing may occur twice. The apply
 * thread's own.
 */
#ifndef RAFTFS_STORE_TOUCHED_H
#define RAFTFS_STORE_TOUCHED_H

#include "store/store.h"

struct touched {
    struct store_touched *items;
    uint32_t count;
    uint32_t capacity;
};

/* `attr` as they are now; NULL: the inode is gone, or they are about to change. */
void touched_inode(struct touched *touched, uint64_t ino, const struct store_attr *attr, bool data);
void touched_new_inode(struct touched *touched, const struct store_attr *attr);
void touched_name(struct touched *touched, uint64_t dir, const char *name, uint8_t name_bytes,
                  uint64_t ino, bool added);
void touched_free(struct touched *touched);

#endif
