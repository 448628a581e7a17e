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
#include "base/spin.h"
#include "base/thread.h"

enum {
    BATCH_ENTRIES = 1024,
    BATCH_BYTES = 4 * 1024 * 1024, /* what one transaction may hold up */
    RECORD_BYTES = 32,             /* about what the log adds to a payload */
    RETRY_MS = 200,
    REPORT_EVERY_US = 60 * 1000 * 1000,
    LOOK_US = 400,          /* for a commit: a round trip and two disks */
    ASLEEP_US = 500 * 1000, /* where the processors are crowded */
    TRIED_US = 200 * 1000,  /* SQLite's lock of writers is held meanwhile */
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
    _Atomic(uint32_t) count;    /* changes under the lock */
    struct raft_entry expected; /* index 0: none */
    void (*call)(void *ctx);    /* NULL: none waits */
    void *call_ctx;
    uint64_t reported_us;
    bool ended; /* nothing is applied any more */

    /* The apply thread's own: one batch, and until when it does not look out for it. */
    uint64_t asleep_until_us;
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

static void report_failure(struct applier *a, int status)
{
    uint64_t now_us = clock_mono_us();
    if (a->reported_us && now_us < a->reported_us + REPORT_EVERY_US)
        return;
    a->reported_us = now_us;
    report_error("store.db: changes cannot be written: %s. Reads show what was there; this goes on "
                 "by itself once there is room",
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

static void carry_out(struct applier *a, uint32_t n)
{
    int status = a->ended ? -ECANCELED : apply_batch(a, n);
    if (status == 0)
        answer_batch(a, n);
    else
        a->ended = true;
    if (status == -EUCLEAN)
        a->options.on_damage(a->options.ctx);
    for (uint32_t i = 0; i < n; i++)
        buf_unref(a->batch[i].payload);
}

/* ---- Under the lock, which they give up meanwhile ---- */

static void run_batch(struct applier *a)
{
    uint32_t n = take_batch(a);
    pthread_mutex_unlock(&a->lock);
    carry_out(a, n);
    pthread_mutex_lock(&a->lock);
}

static void run_call(struct applier *a)
{
    void (*call)(void *ctx) = a->call;
    a->call = NULL;
    pthread_mutex_unlock(&a->lock);
    store_undo(a->options.store);
    call(a->call_ctx);
    pthread_mutex_lock(&a->lock);
}

static bool is_added(void *ctx)
{
    struct applier *a = ctx;
    return a->count > 0;
}

static void look_out(struct applier *a)
{
    if (a->options.no_spin || clock_mono_us() < a->asleep_until_us)
        return;
    enum spin_seen seen = spin_until(is_added, a, LOOK_US);
    if (seen == SPIN_LATE || seen == SPIN_CROWDED)
        a->asleep_until_us = clock_mono_us() + ASLEEP_US;
}

static bool is_idle(const struct applier *a)
{
    return a->count == 0 && !a->call && !a->closing && a->expected.index == 0;
}

/* For the commit of what was tried, but not for long: true if it may come yet. */
static bool await_commit(struct applier *a)
{
    uint64_t until_us = clock_mono_us() + TRIED_US;
    struct timespec until = {.tv_sec = (time_t)(until_us / 1000000),
                             .tv_nsec = (long)(until_us % 1000000) * 1000};
    int status = 0;
    while (is_idle(a) && status == 0)
        status = pthread_cond_timedwait(&a->added, &a->lock, &until);
    return !is_idle(a);
}

static void give_up(struct applier *a)
{
    pthread_mutex_unlock(&a->lock);
    store_undo(a->options.store); /* which may read the disk */
    pthread_mutex_lock(&a->lock);
}

static void run_expected(struct applier *a)
{
    struct raft_entry e = a->expected;
    a->expected.index = 0;
    pthread_mutex_unlock(&a->lock);
    struct store_entry entry = store_entry(&e);
    bool tried = !a->ended && store_try(a->options.store, &entry);
    buf_unref(e.payload);
    if (tried)
        look_out(a);
    pthread_mutex_lock(&a->lock);
    if (tried && !await_commit(a))
        give_up(a);
}

static void *apply_thread(void *arg)
{
    struct applier *a = arg;
    pthread_mutex_lock(&a->lock);
    while (a->count > 0 || !a->closing) {
        if (a->count > 0)
            run_batch(a);
        else if (a->call)
            run_call(a);
        else if (a->expected.index)
            run_expected(a);
        else
            pthread_cond_wait(&a->added, &a->lock);
    }
    pthread_mutex_unlock(&a->lock);
    store_undo(a->options.store);
    return NULL;
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
    pthread_mutex_lock(&a->lock);
    assert(!a->closing);
    while (a->count + count > a->capacity)
        grow(a);
    for (uint32_t i = 0; i < count; i++)
        a->ring[(a->head + a->count++) & (a->capacity - 1)] = entries[i];
    pthread_mutex_unlock(&a->lock);
    pthread_cond_signal(&a->added); /* without the lock, which it would wake up to wait for */
}

void applier_expect(struct applier *a, const struct raft_entry *entry)
{
    pthread_mutex_lock(&a->lock);
    if (a->expected.index)
        buf_unref(a->expected.payload);
    a->expected = *entry;
    bool idle = a->count == 0;
    pthread_mutex_unlock(&a->lock);
    if (idle)
        pthread_cond_signal(&a->added);
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
    if (a->expected.index)
        buf_unref(a->expected.payload);
    memory_free(a->ring);
    memory_free(a);
}
