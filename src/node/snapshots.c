/* SPDX-License-Identifier: MIT */
#include "node/snapshots.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/memory.h"
#include "base/thread.h"
#include "node/orders.h"

enum {
    NICENESS = 10,
    RETRY_S = 60, /* after one that failed, unless somebody asks */
};

struct snapshots {
    struct snapshots_options options;
    char *dir;
    pthread_t thread;
    atomic_bool closing;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct snapshot newest; /* index 0: none */
    uint64_t applied_index;
    uint64_t log_bytes;    /* since the newest was begun */
    uint64_t wanted_index; /* another node needs one at or above it */
    bool damaged;          /* the newest */
    bool failed;
    struct queue asked;  /* for the next one */
    struct queue taking; /* for the one that is being taken */
};

static bool is_due(const struct snapshots *s)
{
    if (s->failed)
        return false;
    if (s->damaged)
        return true;
    if (s->applied_index <= s->newest.index)
        return false;
    if (s->wanted_index > s->newest.index && s->wanted_index <= s->applied_index)
        return true;
    uint64_t entries = s->options.entries;
    return entries > 0 && s->applied_index >= s->newest.index + entries &&
           s->log_bytes >= s->newest.bytes;
}

/* Under the lock, which it gives up meanwhile. */
static void answer(struct snapshots *s, struct queue *queue, int status)
{
    struct backend_link *link;
    while ((link = queue_pop(queue))) {
        pthread_mutex_unlock(&s->lock);
        order_of(link)->done(order_of(link), status);
        pthread_mutex_lock(&s->lock);
    }
}

/* Under the lock, which it gives up meanwhile. */
static void take(struct snapshots *s)
{
    struct snapshot taken;
    uint64_t log_bytes = s->log_bytes;
    queue_append(&s->taking, &s->asked);
    pthread_mutex_unlock(&s->lock);
    int status = snapshot_take(s->options.store, s->dir, &s->closing, &taken);
    pthread_mutex_lock(&s->lock);
    s->failed = status < 0;
    if (status == 0 && taken.index >= s->newest.index) { /* else one was received meanwhile */
        s->newest = taken;
        s->damaged = false;
        s->log_bytes -= log_bytes < s->log_bytes ? log_bytes : s->log_bytes;
    }
    s->options.on_taken(s->options.ctx);
    answer(s, &s->taking, status == -ECANCELED ? -EINTR : status);
}

/* Waits for something to do; after a failure not for ever. */
static void wait_for_work(struct snapshots *s)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += RETRY_S;
    if (!s->failed)
        pthread_cond_wait(&s->changed, &s->lock);
    else if (pthread_cond_timedwait(&s->changed, &s->lock, &until) == ETIMEDOUT)
        s->failed = false;
}

static void *snapshot_thread(void *arg)
{
    struct snapshots *s = arg;
    /* Linux has a priority for each thread; one that is refused changes nothing. */
    (void)setpriority(PRIO_PROCESS, 0, NICENESS);
    pthread_mutex_lock(&s->lock);
    while (!s->closing) {
        if (is_due(s) || !queue_empty(&s->asked))
            take(s);
        else
            wait_for_work(s);
    }
    answer(s, &s->asked, -EINTR);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

int snapshots_init(struct snapshots **out, const struct snapshots_options *options,
                   char why[STORE_WHY_BYTES])
{
    struct snapshot found[SNAPSHOT_KEPT];
    int count = snapshot_open_dir(options->dir, found, why);
    if (count < 0)
        return count;
    struct snapshots *s = memory_zalloc(sizeof(*s));
    s->options = *options;
    s->dir = memory_strdup(options->dir);
    s->applied_index = store_applied_index(options->store);
    if (count > 0)
        s->newest = found[0];
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    queue_init(&s->asked);
    queue_init(&s->taking);
    thread_start(&s->thread, "snapshot", snapshot_thread, s);
    *out = s;
    return 0;
}

void snapshots_stop(struct snapshots *s)
{
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
}

void snapshots_close(struct snapshots *s)
{
    if (!s->closing)
        snapshots_stop(s);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    memory_free(s->dir);
    memory_free(s);
}

void snapshots_received(struct snapshots *s, const struct snapshot *received)
{
    pthread_mutex_lock(&s->lock);
    if (received->index > s->newest.index) {
        s->newest = *received;
        s->log_bytes = 0;
    }
    if (received->index > s->applied_index)
        s->applied_index = received->index;
    pthread_mutex_unlock(&s->lock);
}

void snapshots_want(struct snapshots *s, uint64_t index)
{
    pthread_mutex_lock(&s->lock);
    s->wanted_index = index > s->wanted_index ? index : s->wanted_index;
    if (s->newest.index >= index)
        s->damaged = true; /* or it would have been found */
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

void snapshots_renew(struct snapshots *s)
{
    pthread_mutex_lock(&s->lock);
    s->damaged = s->newest.index > 0;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

void snapshots_applied(struct snapshots *s, uint64_t index, uint64_t log_bytes)
{
    pthread_mutex_lock(&s->lock);
    s->applied_index = index;
    s->log_bytes += log_bytes;
    if (is_due(s))
        pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

void snapshots_order(struct snapshots *s, struct backend_order *order)
{
    pthread_mutex_lock(&s->lock);
    bool taken = !s->closing;
    if (taken)
        queue_push(&s->asked, &order->link);
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (!taken)
        order->done(order, -EINTR);
}

void snapshots_cancel(struct snapshots *s, struct backend_order *order)
{
    pthread_mutex_lock(&s->lock);
    bool ours = queue_linked(&order->link);
    if (ours)
        queue_remove(&order->link);
    pthread_mutex_unlock(&s->lock);
    if (ours)
        order->done(order, -EINTR);
}

struct snapshot snapshots_newest(struct snapshots *s)
{
    pthread_mutex_lock(&s->lock);
    struct snapshot newest = s->newest;
    pthread_mutex_unlock(&s->lock);
    return newest;
}

size_t snapshots_text(struct snapshots *s, char *out, size_t out_bytes)
{
    char time[32];
    struct tm utc;
    struct snapshot newest = snapshots_newest(s);
    if (newest.index == 0)
        return 0;
    time_t made_s = newest.made_ns / 1000000000;
    strftime(time, sizeof(time), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&made_s, &utc));
    int n = snprintf(out, out_bytes,
                     "index: %" PRIu64 "\nterm: %" PRIu64 "\nbytes: %" PRIu64
                     "\nfile: %s/%s\ntime: %s\n",
                     newest.index, newest.term, newest.bytes, s->dir, newest.name, time);
    return n < 0 || (size_t)n >= out_bytes ? 0 : (size_t)n;
}
