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
#include "store/unsaved.h"

struct store {
    struct store_options options;
    char path[4096];
    struct readers *readers;
    struct checkpoint *checkpoint;
    struct orphans *orphans;
    struct cache *cache;

    /* What the last batch left: the apply thread writes it, everybody reads it. */
    pthread_mutex_t published_lock;
    struct store_state published;
    _Atomic(uint64_t) applied_index;
    _Atomic(uint64_t) saved_index; /* what SQLite shows */

    /* batch.c: the transaction, which may be open still, and what it holds. */
    pthread_mutex_t writer_lock;
    struct sql writer;
    struct txn txn;
    bool txn_open;
    struct store_state saved; /* as it was left by the last one */
    struct unsaved unsaved;
    struct session_table sessions;
    uint32_t groups[COMMAND_MAX_GROUPS]; /* room for a decoded command */
    int wal_pages;                       /* the write-ahead log's length */
    _Atomic(bool) garbage;               /* there may be some */
    struct touched touched;              /* whoever applies has it; not the lock's */

    /* A copy is made, or a whole other state is put in: never both. */
    pthread_mutex_t copy_lock;
    pthread_cond_t copy_changed;
    bool copying;
    _Atomic(bool) installing;
};

/* The state as queries see it from now on. */
void store_publish(struct store *store, const struct store_state *state);

/* The state that SQLite shows from now on. Under writer_lock. */
void batch_saved(struct store *store, const struct store_state *state);

/* SQLite shows at least what had been applied when this was called. Any thread. 0 or an error. */
int batch_save(struct store *store);
int batch_save_locked(struct store *store); /* the same under writer_lock */

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
