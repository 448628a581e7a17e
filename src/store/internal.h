/* SPDX-License-Identifier: MIT */
/* internal.h - the store as its own files see it. */
#ifndef RAFTFS_STORE_INTERNAL_H
#define RAFTFS_STORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/cache.h"
#include "store/checkpoint.h"
#include "store/orphans.h"
#include "store/readers.h"
#include "store/session_table.h"
#include "store/touched.h"
#include "store/tree.h"

struct store {
    struct store_options options;
    char path[4096];
    struct sql writer; /* the apply thread's */
    struct readers *readers;
    struct checkpoint *checkpoint;
    struct orphans *orphans;
    struct cache *cache;

    /* What the last batch left: the apply thread writes it, everybody reads it. */
    pthread_mutex_t published_lock;
    struct store_state published;
    _Atomic(uint64_t) applied_index;

    /* A copy is made, or a whole other state is put in: never both. */
    pthread_mutex_t copy_lock;
    pthread_cond_t copy_changed;
    bool copying;
    _Atomic(bool) installing;

    /* The apply thread's: the write-ahead log's length, the batch, sessions, its touches, room for
     * a decoded command. */
    int wal_pages;
    struct txn txn;
    bool tried; /* the transaction is open and holds one entry, with this result */
    struct store_result tried_result;
    struct session_table sessions;
    struct touched touched;
    uint32_t groups[COMMAND_MAX_GROUPS];
};

/* The state as queries see it from now on. Apply thread. */
void store_publish(struct store *store, const struct store_state *state);

/*
 * Around a copy of the store, which reads one old state for long: it waits while another state is
 * installed, and is to end with -EAGAIN once `installing` is set.
 */
void store_begin_copying(struct store *store);
void store_end_copying(struct store *store);

/* Around an installation: no copy is being made. */
void store_begin_installing(struct store *store);
void store_end_installing(struct store *store);

#endif
