/* SPDX-License-Identifier: MIT */
/*
 * The log can only start over at a moment when all of it has been copied and nobody reads it. Under
 * constant load that moment does not come by itself, and each try for it costs two syncs beside
 * those of the Raft log. So there are two rounds. The first copies what is there, in pieces and
 * waiting for nobody. The second copies the rest, which is little, while the apply thread waits;
 * and it waits for the readers there are, for new ones read the database alone.
 *
 * If the log grows beyond CHECKPOINT_MAX_PAGES during the first round, the apply thread waits for
 * that, too, and it is done without any rest.
 */
#include "store/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/report.h"
#include "base/thread.h"
#include "store/pace.h"
#include "store/sql.h"
#include "store/vfs.h"
#include "store/wal.h"

enum {
    ROOM_PAGES = CHECKPOINT_PAGES, /* are made at a time */
    SECOND_WAIT_MS = 10,
    WAIT_MS = 10, /* before SQLite is asked anew */
};

struct checkpoint {
    struct sql sql;
    int log_fd; /* of SQLite's write-ahead log */
    const _Atomic(uint64_t) *saved_index;
    _Atomic(uint64_t) durable;
    atomic_bool waited_for; /* by the apply thread: no rest */
    int pages;              /* the log's, as the apply thread knows; its own */
    int room_pages;         /* that its file has room for; under the store's writer_lock */

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool due;
    int due_pages;     /* what the log had then */
    int from_pages;    /* none is due below */
    bool second;       /* the next round is that */
    bool started_over; /* the log, since the last round began */
    bool running;
    bool held;
    bool closing;
};

static const atomic_bool no_hurry;

/*
 * One checkpoint. 0 if all of the write-ahead log is in the database now, -EBUSY if somebody still
 * reads what stood there before, or another negative errno, reported.
 */
static int run(struct checkpoint *c, int mode)
{
    uint64_t saved_index = atomic_load(c->saved_index);
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
    atomic_store(&c->durable, saved_index);
    return 0;
}

/* What the first round leaves is little. */
static void first_round(struct checkpoint *c, int pages)
{
    pace_write_back(c->log_fd, (int64_t)pages * WAL_FRAME_BYTES, &c->waited_for);
    vfs_set_pace(c->sql.db, &c->waited_for);
    run(c, SQLITE_CHECKPOINT_PASSIVE);
    vfs_set_pace(c->sql.db, NULL);
}

/*
 * One that waits for readers. SQLite waits until nobody has the place of an old state, and goes on
 * waiting when readers of the newest have moved in there, one after the other, for ever; asked
 * anew, it sees who they are.
 */
static int run_waiting(struct checkpoint *c, int mode, uint64_t most_ms)
{
    uint64_t until_us = clock_mono_us() + most_ms * 1000;
    int status;
    sqlite3_busy_timeout(c->sql.db, WAIT_MS);
    while ((status = run(c, mode)) == -EBUSY && clock_mono_us() < until_us)
        nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
    sqlite3_busy_timeout(c->sql.db, SQL_BUSY_MS);
    return status;
}

/* Not long for readers either, while the log may still grow. */
static int second_round(struct checkpoint *c, int pages)
{
    return run_waiting(c, SQLITE_CHECKPOINT_RESTART,
                       pages < CHECKPOINT_MAX_PAGES ? SECOND_WAIT_MS : SQL_BUSY_MS);
}

/* Under the lock, which it gives up meanwhile. */
static void run_due(struct checkpoint *c)
{
    bool second = c->second;
    int pages = c->due_pages, status = 0;
    c->due = false;
    c->started_over = false;
    c->running = true;
    pthread_mutex_unlock(&c->lock);
    if (second)
        status = second_round(c, pages);
    else
        first_round(c, pages);
    pthread_mutex_lock(&c->lock);
    c->running = false;
    c->second = !second && !c->started_over;
    if (status < 0)
        c->from_pages = pages + CHECKPOINT_PAGES; /* not at once again */
    pthread_cond_broadcast(&c->changed);
}

static void *checkpoint_main(void *arg)
{
    struct checkpoint *c = arg;
    pthread_mutex_lock(&c->lock);
    while (!c->closing) {
        if (c->due)
            run_due(c);
        else
            pthread_cond_wait(&c->changed, &c->lock);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* A connection learns of the write-ahead log by reading; before that it has none to checkpoint. */
static int open_connection(struct checkpoint *c, const char *path)
{
    char log_path[4096 + 8];
    int error = sql_open(&c->sql, path, SQLITE_OPEN_READWRITE);
    if (error)
        return error;
    error = sql_exec(&c->sql, "SELECT 1 FROM meta");
    snprintf(log_path, sizeof(log_path), "%s-wal", path);
    c->log_fd = open(log_path, O_RDWR | O_CLOEXEC);
    if (error == 0 && c->log_fd < 0)
        error = -errno;
    if (error)
        sql_close(&c->sql);
    return error;
}

int checkpoint_open(struct checkpoint **out, const char *path, const _Atomic(uint64_t) *saved_index)
{
    struct checkpoint *c = memory_zalloc(sizeof(*c));
    int error = open_connection(c, path);
    if (error) {
        memory_free(c);
        return error;
    }
    c->saved_index = saved_index;
    c->from_pages = CHECKPOINT_PAGES;
    /* What recovery found may be in the page cache only: make it durable before it is counted. */
    run(c, SQLITE_CHECKPOINT_PASSIVE);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    thread_start(&c->thread, "checkpoint", checkpoint_main, c);
    *out = c;
    return 0;
}

static bool is_nearly_full(int fd, off_t bytes)
{
    struct statvfs disk;
    return fstatvfs(fd, &disk) != 0 || (off_t)(disk.f_bavail * disk.f_frsize) / 4 < bytes;
}

void checkpoint_make_room(struct checkpoint *c, int pages)
{
    if (checkpoint_has_room(c, pages))
        return;
    int more = pages + ROOM_PAGES;
    off_t bytes = (off_t)more * WAL_FRAME_BYTES;
    if (is_nearly_full(c->log_fd, bytes))
        return; /* what is left is the Raft log's */
    if (fallocate(c->log_fd, FALLOC_FL_KEEP_SIZE, 0, bytes) == 0 || errno == EOPNOTSUPP)
        c->room_pages = more;
}

bool checkpoint_has_room(const struct checkpoint *c, int pages)
{
    return pages <= c->room_pages;
}

/* Under the lock: the log has started over. */
static void start_over(struct checkpoint *c)
{
    c->from_pages = CHECKPOINT_PAGES;
    c->second = false;
    c->started_over = true;
}

void checkpoint_grown(struct checkpoint *c, int pages)
{
    bool started_over = pages < c->pages;
    c->pages = pages;
    if (started_over)
        c->room_pages = 0; /* its file may have been cut */
    if (pages < CHECKPOINT_PAGES && !started_over)
        return;
    pthread_mutex_lock(&c->lock);
    if (started_over)
        start_over(c);
    if (pages >= c->from_pages && !c->running && !c->held) {
        c->due = true;
        c->due_pages = pages;
        pthread_cond_broadcast(&c->changed);
    }
    bool wait = pages >= CHECKPOINT_MAX_PAGES || (c->due && c->second);
    c->waited_for = wait;
    while (wait && (c->due || c->running))
        pthread_cond_wait(&c->changed, &c->lock);
    c->waited_for = false;
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
    vfs_set_pace(c->sql.db, &no_hurry);
    int status = run_waiting(c, SQLITE_CHECKPOINT_FULL, SQL_BUSY_MS);
    vfs_set_pace(c->sql.db, NULL);
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
    close(c->log_fd);
    sql_close(&c->sql);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    memory_free(c);
}
