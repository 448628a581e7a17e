/* SPDX-License-Identifier: MIT */
/*
 * A passive checkpoint copies what no reader needs any more and waits for nobody, so the log can
 * only start over at a moment when all of it has been copied and nobody reads it. Under constant
 * load that moment may never come by itself: beyond CHECKPOINT_MAX_PAGES the apply thread waits,
 * and the checkpoint waits for the readers there are; new ones read the database alone.
 */
#include "store/checkpoint.h"

#include <errno.h>
#include <pthread.h>

#include "base/memory.h"
#include "base/report.h"
#include "store/sql.h"
#include "store/vfs.h"

struct checkpoint {
    struct sql sql;
    const _Atomic(uint64_t) *applied;
    _Atomic(uint64_t) durable;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool due;
    bool grown; /* beyond CHECKPOINT_MAX_PAGES; the apply thread waits */
    bool running;
    bool held;
    bool closing;
};

/*
 * One checkpoint. 0 if all of the write-ahead log is in the database now, -EBUSY if somebody still
 * reads what stood there before, or another negative errno, reported.
 */
static int run(struct checkpoint *c, int mode)
{
    uint64_t applied = atomic_load(c->applied);
    int pages = 0;
    int copied = 0;
    int rc = sqlite3_wal_checkpoint_v2(c->sql.db, "main", mode, &pages, &copied);
    if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY) {
        report_error("store.db: cannot be checkpointed: %s; check this node's disk",
                     sqlite3_errmsg(c->sql.db));
        return sql_errno(rc);
    }
    /* Both are -1 for a connection that knows of no write-ahead log: then nothing was done. */
    if (pages < 0 || copied != pages)
        return -EBUSY;
    atomic_store(&c->durable, applied);
    return 0;
}

static void *checkpoint_main(void *arg)
{
    struct checkpoint *c = arg;
    pthread_mutex_lock(&c->lock);
    while (!c->closing) {
        if (!c->due) {
            pthread_cond_wait(&c->changed, &c->lock);
            continue;
        }
        c->due = false;
        c->running = true;
        int mode = c->grown ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE;
        pthread_mutex_unlock(&c->lock);
        run(c, mode);
        pthread_mutex_lock(&c->lock);
        c->running = false;
        pthread_cond_broadcast(&c->changed);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* A connection learns of the write-ahead log by reading; before that it has none to checkpoint. */
static int open_connection(struct sql *sql, const char *path)
{
    int error = sql_open(sql, path, SQLITE_OPEN_READWRITE);
    if (error)
        return error;
    error = sql_exec(sql, "SELECT 1 FROM meta");
    if (error)
        sql_close(sql);
    return error;
}

int checkpoint_open(struct checkpoint **out, const char *path, const _Atomic(uint64_t) *applied)
{
    struct checkpoint *c = memory_zalloc(sizeof(*c));
    int error = open_connection(&c->sql, path);
    if (error) {
        memory_free(c);
        return error;
    }
    c->applied = applied;
    /* What recovery found may be in the page cache only: make it durable before it is counted. */
    run(c, SQLITE_CHECKPOINT_PASSIVE);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    int rc = pthread_create(&c->thread, NULL, checkpoint_main, c);
    if (rc)
        report_fatal("cannot start the checkpoint thread; raise the limit of threads");
    *out = c;
    return 0;
}

void checkpoint_grown(struct checkpoint *c, int pages)
{
    if (pages < CHECKPOINT_PAGES)
        return;
    pthread_mutex_lock(&c->lock);
    c->grown = pages >= CHECKPOINT_MAX_PAGES;
    if (!c->running && !c->held)
        c->due = true;
    pthread_cond_broadcast(&c->changed);
    while (c->grown && (c->due || c->running))
        pthread_cond_wait(&c->changed, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

void checkpoint_hold(struct checkpoint *c, bool held)
{
    pthread_mutex_lock(&c->lock);
    c->held = held;
    pthread_mutex_unlock(&c->lock);
}

int checkpoint_all(struct checkpoint *c)
{
    pthread_mutex_lock(&c->lock);
    while (c->due || c->running)
        pthread_cond_wait(&c->changed, &c->lock);
    c->running = true; /* the connection is ours */
    pthread_mutex_unlock(&c->lock);
    vfs_set_paced(c->sql.db, true);
    int status = run(c, SQLITE_CHECKPOINT_FULL);
    vfs_set_paced(c->sql.db, false);
    pthread_mutex_lock(&c->lock);
    c->running = false;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    return status;
}

uint64_t checkpoint_durable_index(const struct checkpoint *c)
{
    return atomic_load(&c->durable);
}

void checkpoint_close(struct checkpoint *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->closing = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    run(c, SQLITE_CHECKPOINT_TRUNCATE);
    sql_close(&c->sql);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    memory_free(c);
}
