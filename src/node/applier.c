/* SPDX-License-Identifier: MIT */
#include "node/applier.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/report.h"
#include "base/thread.h"

enum {
    BATCH_ENTRIES = 1024,
    BATCH_BYTES = 4 * 1024 * 1024, /* what one transaction may hold up */
    RECORD_BYTES = 32,             /* about what the log adds to a payload */
    RETRY_MS = 200,
    REPORT_EVERY_US = 60 * 1000 * 1000,
    SAVE_US = 10 * 1000,    /* what is unsaved waits for more */
    SLOW_US = 2000,         /* to apply one entry: it reads a disk that has much to do */
    AFTER_SLOW_US = 500000, /* the loop does not try that again */
    RECLAIM_RETRY_US = 10 * 1000 * 1000,
};

struct applier {
    struct applier_options options;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t added;
    bool closing;
    struct raft_entry *ring;
    uint32_t capacity; /* a power of two */
    uint32_t head;
    uint32_t count;
    void (*call)(void *ctx); /* NULL: none waits */
    void *call_ctx;
    uint64_t save_us;       /* when to save what is unsaved; 0: nothing is */
    uint64_t slow_until_us; /* no entry is applied at once */
    uint64_t reclaim_us;    /* no garbage is freed before; the apply thread's */

    /* Whoever applies has set `busy`, and the rest is his. */
    bool busy;
    bool thread_waits; /* the apply thread, for whoever is busy to end */
    bool ended;        /* nothing is applied any more */
    uint64_t reported_us;
    struct raft_entry batch[BATCH_ENTRIES];
    struct store_entry entries[BATCH_ENTRIES];
    struct store_result results[BATCH_ENTRIES];
};

static enum store_entry_kind store_kind(enum raft_entry_kind kind)
{
    switch (kind) {
    case RAFT_ENTRY_COMMAND:
        return STORE_ENTRY_COMMAND;
    case RAFT_ENTRY_CONFIG:
        return STORE_ENTRY_CONFIG;
    case RAFT_ENTRY_NOOP:
        break;
    }
    return STORE_ENTRY_EMPTY;
}

/* Under the lock: moves the next batch out of the ring. */
static uint32_t take_batch(struct applier *a)
{
    uint32_t n = 0;
    size_t bytes = 0;
    while (n < a->count && n < BATCH_ENTRIES && bytes < BATCH_BYTES) {
        a->batch[n] = a->ring[(a->head + n) & (a->capacity - 1)];
        bytes += a->batch[n].payload ? a->batch[n].payload->bytes : 0;
        n++;
    }
    a->head = (a->head + n) & (a->capacity - 1);
    a->count -= n;
    return n;
}

/* Once a minute. */
static bool is_time_to_report(struct applier *a)
{
    uint64_t now_us = clock_mono_us();
    if (a->reported_us && now_us < a->reported_us + REPORT_EVERY_US)
        return false;
    a->reported_us = now_us;
    return true;
}

static void report_failure(struct applier *a, int status)
{
    if (is_time_to_report(a))
        report_error(
            "store.db: changes cannot be written: %s. Reads show what was there, or fail; this "
            "goes on by itself once there is room",
            strerror(-status));
}

static bool is_closing(struct applier *a)
{
    pthread_mutex_lock(&a->lock);
    bool closing = a->closing;
    pthread_mutex_unlock(&a->lock);
    return closing;
}

static struct store_entry store_entry(const struct raft_entry *e)
{
    return (struct store_entry){.index = e->index,
                                .term = e->term,
                                .kind = store_kind(e->kind),
                                .data = e->payload ? e->payload->data : NULL,
                                .bytes = e->payload ? e->payload->bytes : 0};
}

/* 0; -EUCLEAN: the store is damaged; -ECANCELED: closed while it has no room. */
static int apply_batch(struct applier *a, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        a->entries[i] = store_entry(&a->batch[i]);
    int status;
    while ((status = store_apply(a->options.store, a->entries, n, a->results)) < 0) {
        if (status == -EUCLEAN)
            return status;
        if (status != -ENOSPC && status != -EIO)
            report_fatal("store.db: entry %ju cannot be applied: %s. Set the data directory aside "
                         "and start this node again with -join",
                         (uintmax_t)a->entries[0].index, strerror(-status));
        report_failure(a, status);
        if (is_closing(a))
            return -ECANCELED;
        nanosleep(&(struct timespec){.tv_nsec = RETRY_MS * 1000000L}, NULL);
    }
    return 0;
}

static void answer_batch(struct applier *a, uint32_t n)
{
    void *ctx = a->options.ctx;
    uint64_t log_bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (a->batch[i].kind == RAFT_ENTRY_COMMAND)
            a->options.on_result(ctx, &a->results[i]);
        else if (a->batch[i].kind == RAFT_ENTRY_CONFIG)
            a->options.on_config(ctx, &a->batch[i]);
        log_bytes += RECORD_BYTES + a->entries[i].bytes;
    }
    a->options.on_applied(ctx, a->batch[n - 1].index, log_bytes);
}

static void damaged(struct applier *a)
{
    a->ended = true;
    a->options.on_damage(a->options.ctx);
}

static void carry_out(struct applier *a, uint32_t n)
{
    int status = a->ended ? -ECANCELED : apply_batch(a, n);
    if (status == 0)
        answer_batch(a, n);
    else if (status == -EUCLEAN)
        damaged(a);
    else
        a->ended = true;
    for (uint32_t i = 0; i < n; i++)
        buf_unref(a->batch[i].payload);
}

/* Under the lock, which they give up. */
static void begin_work(struct applier *a)
{
    a->busy = true;
    pthread_mutex_unlock(&a->lock);
}

static void end_work(struct applier *a)
{
    pthread_mutex_lock(&a->lock);
    a->busy = false;
}

/* ---- The apply thread (under the lock, which it gives up meanwhile) ---- */

/*
 * Freeing garbage has about half of the thread's time. After a batch it may take as long again, or
 * a writer that never ceases could make garbage faster than it is freed; otherwise a piece is
 * followed by a rest that is as long, in which the loop applies what comes alone.
 */
static bool may_reclaim(const struct applier *a)
{
    return !a->ended && !a->closing && !a->call && store_has_garbage(a->options.store);
}

static bool piece_is_due(const struct applier *a)
{
    return may_reclaim(a) && clock_mono_us() >= a->reclaim_us;
}

/* False: it failed, and is tried again later. */
static bool run_piece(struct applier *a)
{
    uint64_t since_us = clock_mono_us();
    begin_work(a);
    int status = store_reclaim(a->options.store);
    if (status == -EUCLEAN)
        damaged(a);
    else if (status < 0 && is_time_to_report(a))
        report_error("store.db: what was removed cannot be freed: %s. This is tried again; see to "
                     "this node's disk",
                     strerror(-status));
    end_work(a);
    uint64_t now_us = clock_mono_us();
    a->reclaim_us = now_us + (status < 0 ? RECLAIM_RETRY_US : now_us - since_us);
    return status == 0;
}

static void run_pieces(struct applier *a, uint64_t until_us)
{
    bool more = piece_is_due(a);
    while (more)
        more = run_piece(a) && may_reclaim(a) && clock_mono_us() < until_us;
}

static void run_batch(struct applier *a)
{
    uint64_t since_us = clock_mono_us();
    uint32_t n = take_batch(a);
    begin_work(a);
    carry_out(a, n);
    end_work(a);
    uint64_t now_us = clock_mono_us();
    run_pieces(a, now_us + (now_us - since_us));
}

static void run_call(struct applier *a)
{
    void (*call)(void *ctx) = a->call;
    a->call = NULL;
    begin_work(a);
    call(a->call_ctx);
    end_work(a);
}

static void run_save(struct applier *a)
{
    a->save_us = 0;
    begin_work(a);
    int status = a->ended ? 0 : store_save(a->options.store);
    if (status == -EUCLEAN)
        damaged(a);
    else if (status < 0)
        report_failure(a, status);
    end_work(a);
    if (status < 0)
        a->save_us = clock_mono_us() + RETRY_MS * 1000;
}

static void sleep_until(struct applier *a, uint64_t until_us)
{
    struct timespec until = {.tv_sec = (time_t)(until_us / 1000000),
                             .tv_nsec = (long)(until_us % 1000000) * 1000};
    pthread_cond_timedwait(&a->added, &a->lock, &until);
}

/* Until something is added, or it is time to save or to free something. */
static void sleep_on(struct applier *a)
{
    uint64_t until_us = a->save_us ? a->save_us : UINT64_MAX;
    if (may_reclaim(a) && a->reclaim_us < until_us)
        until_us = a->reclaim_us;
    if (until_us == UINT64_MAX)
        pthread_cond_wait(&a->added, &a->lock);
    else
        sleep_until(a, until_us);
}

static void *apply_thread(void *arg)
{
    struct applier *a = arg;
    pthread_mutex_lock(&a->lock);
    while (a->busy || a->count > 0 || !a->closing) {
        a->thread_waits = a->busy;
        if (a->busy)
            pthread_cond_wait(&a->added, &a->lock);
        else if (a->count > 0)
            run_batch(a);
        else if (a->call)
            run_call(a);
        else if (a->save_us && clock_mono_us() >= a->save_us)
            run_save(a);
        else if (piece_is_due(a))
            run_piece(a);
        else
            sleep_on(a);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* ---- The loop ---- */

static bool begin_at_once(struct applier *a, uint64_t now_us)
{
    pthread_mutex_lock(&a->lock);
    if (a->busy || a->count > 0 || a->call || a->ended || now_us < a->slow_until_us) {
        pthread_mutex_unlock(&a->lock);
        return false;
    }
    begin_work(a);
    return true;
}

static void end_at_once(struct applier *a, uint64_t since_us, uint64_t now_us, bool applied)
{
    end_work(a);
    bool first = applied && a->save_us == 0;
    if (first)
        a->save_us = now_us + SAVE_US;
    if (now_us > since_us + SLOW_US)
        a->slow_until_us = now_us + AFTER_SLOW_US;
    bool wake = first || a->thread_waits;
    pthread_mutex_unlock(&a->lock);
    if (wake)
        pthread_cond_signal(&a->added);
}

/* A client that makes one change after the other waits for no thread to wake up. */
static bool apply_at_once(struct applier *a, const struct raft_entry *e)
{
    uint64_t since_us = clock_mono_us();
    if (!begin_at_once(a, since_us))
        return false;
    a->batch[0] = *e;
    a->entries[0] = store_entry(e);
    bool applied = store_apply_unsaved(a->options.store, &a->entries[0], &a->results[0]) == 0;
    uint64_t now_us = clock_mono_us();
    if (applied) {
        answer_batch(a, 1);
        buf_unref(e->payload);
    }
    end_at_once(a, since_us, now_us, applied);
    return applied;
}

struct applier *applier_init(const struct applier_options *options)
{
    struct applier *a = memory_zalloc(sizeof(*a));
    a->options = *options;
    a->capacity = BATCH_ENTRIES;
    a->ring = memory_alloc(a->capacity * sizeof(*a->ring));
    pthread_mutex_init(&a->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&a->added, &attr);
    pthread_condattr_destroy(&attr);
    thread_start(&a->thread, "apply", apply_thread, a);
    return a;
}

static void grow(struct applier *a)
{
    struct raft_entry *bigger = memory_alloc(2 * a->capacity * sizeof(*bigger));
    for (uint32_t i = 0; i < a->count; i++)
        bigger[i] = a->ring[(a->head + i) & (a->capacity - 1)];
    memory_free(a->ring);
    a->ring = bigger;
    a->head = 0;
    a->capacity *= 2;
}

void applier_add(struct applier *a, const struct raft_entry *entries, uint32_t count)
{
    if (count == 1 && apply_at_once(a, entries))
        return;
    pthread_mutex_lock(&a->lock);
    assert(!a->closing);
    while (a->count + count > a->capacity)
        grow(a);
    for (uint32_t i = 0; i < count; i++)
        a->ring[(a->head + a->count++) & (a->capacity - 1)] = entries[i];
    pthread_mutex_unlock(&a->lock);
    pthread_cond_signal(&a->added); /* without the lock, which it would wake up to wait for */
}

void applier_call(struct applier *a, void (*call)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&a->lock);
    assert(!a->closing && !a->call);
    a->call = call;
    a->call_ctx = ctx;
    pthread_cond_signal(&a->added);
    pthread_mutex_unlock(&a->lock);
}

void applier_close(struct applier *a)
{
    pthread_mutex_lock(&a->lock);
    a->closing = true;
    pthread_cond_signal(&a->added);
    pthread_mutex_unlock(&a->lock);
    pthread_join(a->thread, NULL);
    pthread_cond_destroy(&a->added);
    pthread_mutex_destroy(&a->lock);
    memory_free(a->ring);
    memory_free(a);
}
