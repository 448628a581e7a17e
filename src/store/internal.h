/* SPDX-License-Identifier: MIT */
/* internal.h - the store as its own files see it. */
#ifndef RAFTFS_STORE_INTERNAL_H
#define RAFTFS_STORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/checkpoint.h"
#include "store/orphans.h"
#include "store/readers.h"
#include "store/tree.h"

struct store {
    struct store_options options;
    char path[4096];
    struct sql writer; /* the apply thread's */
    struct readers *readers;
    struct checkpoint *checkpoint;
    struct orphans *orphans;

    /* What the last batch left: the apply thread writes it, everybody reads it. */
    pthread_mutex_t published_lock;
    struct store_state published;
    _Atomic(uint64_t) applied_index;

    /* The apply thread's: the write-ahead log's length, and room for a decoded command. */
    int wal_pages;
    uint32_t groups[COMMAND_MAX_GROUPS];
};

#endif
