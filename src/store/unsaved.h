/* SPDX-License-Identifier: MIT */
/*
 * unsaved.h - what is applied and visible, but not committed to SQLite yet (batch.c).
 *
 * The entries themselves, to be applied anew should their transaction come to nothing; and a filter
 * of what they have touched, by which a query knows whether SQLite, which it has asked, may show
 * something older than this. The filter errs on one side only: what it does not have is untouched.
 *
 * Both are bounded: when there is no room, it is time to save.
 *
 * Threads: unsaved_touches() any; all else is serialized by the store's writer_lock.
 */
#ifndef RAFTFS_STORE_UNSAVED_H
#define RAFTFS_STORE_UNSAVED_H

#include <stdatomic.h>

#include "store/store.h"

enum {
    UNSAVED_ENTRIES = 64,
    UNSAVED_ENTRY_BYTES = 4096, /* a bigger one is saved at once */
    UNSAVED_FILTER_WORDS = 256, /* some hundred bits of 16,384 are set at most */
};

struct unsaved {
    struct store_entry entries[UNSAVED_ENTRIES]; /* with copies of their data */
    uint32_t count;
    _Atomic(uint64_t) filter[UNSAVED_FILTER_WORDS];
};

/* Whether this entry may be added. */
bool unsaved_has_room(const struct unsaved *unsaved, const struct store_entry *entry);

/* Before any of it becomes visible. */
void unsaved_add(struct unsaved *unsaved, const struct store_entry *entry,
                 const struct store_touched *items, uint32_t count);

/* It is saved: empty again, after SQLite and saved_index show it. */
void unsaved_clear(struct unsaved *unsaved);

/* What the filter knows an inode, or a name in a directory, by. */
uint64_t unsaved_inode(uint64_t ino);
uint64_t unsaved_name(uint64_t dir, const char *name, size_t name_bytes);

bool unsaved_touches(const struct unsaved *unsaved, uint64_t what);

#endif
