/* SPDX-License-Identifier: MIT */
#include "node/barriers.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/thread.h"

enum {
    QUERY_THREADS = 2,
    ROUNDS = 4,          /* read indexes asked for at a time: more only makes batches smaller */
    RETRY_US = 5 * 1000, /* after a refusal: the one asked leads no more, or is full */
    PROBE_US = 100 * 1000,
};

struct round {
    uint64_t token; /* 0: free */
    struct queue batch;
};

struct barriers {
    struct contact *contact;
    bool local;
    uint64_t next_token;
    uint64_t probed_us;
    uint64_t hold_until_us;

    pthread_mutex_t lock;
    bool session_open;
    uint64_t applied_index;
    struct queue asked; /* no read index asked for yet */
    struct round rounds[ROUNDS];
    struct queue applying;    /* the index is known, ascending, and not applied yet */
    struct queue sessionless; /* wait for nothing but the session */

    struct queue ready;  /* for the query threads */
    unsigned made_ready; /* since the lock was taken */
    pthread_cond_t ready_cond;
    bool closing;
    pthread_t threads[QUERY_THREADS];
};

static struct backend_barrier *barrier_of(struct backend_link *link)
{
    return queue_entry(link, struct backend_barrier, link);
}

/* ---- Query threads ---- */

static void *query_thread(void *arg)
{
    struct barriers *b = arg;
    pthread_mutex_lock(&b->lock);
    for (;;) {
        struct backend_link *link = queue_pop(&b->ready);
        if (link) {
            pthread_mutex_unlock(&b->lock);
            barrier_of(link)->done(barrier_of(link), 0);
            pthread_mutex_lock(&b->lock);
        } else if (b->closing) {
            break;
        } else {
            pthread_cond_wait(&b->ready_cond, &b->lock);
        }
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

struct barriers *barriers_init(struct contact *contact, bool local)
{
    struct barriers *b = memory_zalloc(sizeof(*b));
    b->contact = contact;
    b->local = local;
    b->next_token = clock_real_ns(); /* the leader may still answer this node's last life */
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->ready_cond, NULL);
    queue_init(&b->asked);
    queue_init(&b->applying);
    queue_init(&b->sessionless);
    queue_init(&b->ready);
    for (int i = 0; i < ROUNDS; i++)
        queue_init(&b->rounds[i].batch);
    for (int i = 0; i < QUERY_THREADS; i++)
        thread_start(&b->threads[i], "query", query_thread, b);
    return b;
}

void barriers_close(struct barriers *b)
{
    assert(!barriers_pending(b));
    pthread_mutex_lock(&b->lock);
    b->closing = true;
    pthread_cond_broadcast(&b->ready_cond);
    pthread_mutex_unlock(&b->lock);
    for (int i = 0; i < QUERY_THREADS; i++)
        pthread_join(b->threads[i], NULL);
    pthread_cond_destroy(&b->ready_cond);
    pthread_mutex_destroy(&b->lock);
    memory_free(b);
}

/* ---- From asked to ready (under the lock) ---- */

static void make_ready(struct barriers *b, struct backend_barrier *barrier)
{
    if (barrier->need_session && !b->session_open) {
        queue_push(&b->sessionless, &barrier->link);
        return;
    }
    queue_push(&b->ready, &barrier->link);
    b->made_ready++;
}

/* Gives up the lock, which those who wake up would have to wait for. */
static void unlock_and_wake(struct barriers *b)
{
    unsigned wake = b->made_ready < QUERY_THREADS ? b->made_ready : QUERY_THREADS;
    b->made_ready = 0;
    pthread_mutex_unlock(&b->lock);
    for (unsigned i = 0; i < wake; i++)
        pthread_cond_signal(&b->ready_cond);
}

static void index_known(struct barriers *b, struct backend_barrier *barrier, uint64_t index)
{
    barrier->index = index;
    if (index <= b->applied_index)
        make_ready(b, barrier);
    else
        queue_push(&b->applying, &barrier->link);
}

static bool none_on_its_way(const struct barriers *b)
{
    for (int i = 0; i < ROUNDS; i++)
        if (b->rounds[i].token)
            return false;
    return queue_empty(&b->asked);
}

enum submitted barriers_submit(struct barriers *b, struct backend_barrier *barrier)
{
    barrier->asked_us = clock_mono_us();
    bool now = false, refused = false;
    pthread_mutex_lock(&b->lock);
    bool alone = none_on_its_way(b);
    if (b->local && (b->session_open || !barrier->need_session))
        now = true;
    else if (contact_refuses(b->contact, barrier->asked_us))
        refused = true;
    else if (b->local)
        make_ready(b, barrier);
    else
        queue_push(&b->asked, &barrier->link);
    unlock_and_wake(b);
    if (now || refused)
        barrier->done(barrier, refused ? -ETIMEDOUT : 0);
    if (now || refused || b->local)
        return SUBMITTED_DONE;
    return alone ? SUBMITTED_ALONE : SUBMITTED_BEHIND;
}

void barriers_cancel(struct barriers *b, struct backend_barrier *barrier)
{
    pthread_mutex_lock(&b->lock);
    bool ours = queue_linked(&barrier->link);
    if (ours)
        queue_remove(&barrier->link);
    pthread_mutex_unlock(&b->lock);
    if (ours)
        barrier->done(barrier, -EINTR);
}

/* ---- Read indexes ---- */

static struct round *round_of(struct barriers *b, uint64_t token)
{
    for (int i = 0; i < ROUNDS; i++)
        if (b->rounds[i].token == token)
            return &b->rounds[i];
    return NULL;
}

/* Nobody's request is let through while the cluster seems stalled, so ask on nobody's behalf. */
static bool should_probe(struct barriers *b, uint64_t now_us)
{
    return contact_refuses(b->contact, now_us) && now_us >= b->probed_us + PROBE_US;
}

uint64_t barriers_pump(struct barriers *b, struct raft_driver *driver, uint64_t now_us)
{
    if (raft_driver_leader(driver) == 0)
        return UINT64_MAX;
    pthread_mutex_lock(&b->lock);
    struct round *round = round_of(b, 0);
    bool wanted = !queue_empty(&b->asked) || should_probe(b, now_us);
    bool held = b->hold_until_us > now_us;
    bool ask = wanted && round && !held;
    if (ask) {
        b->probed_us = now_us;
        round->token = b->next_token++;
        queue_append(&round->batch, &b->asked);
    }
    pthread_mutex_unlock(&b->lock);
    if (ask) {
        uint64_t token = round->token;
        if (!raft_driver_read(driver, token))
            barriers_read_done(b, token, 0, false);
    }
    return wanted && held ? b->hold_until_us : UINT64_MAX;
}

/* The round is free again; those who wait in it asked before all others. */
static void take_back(struct barriers *b, struct round *round)
{
    queue_append(&round->batch, &b->asked);
    queue_append(&b->asked, &round->batch);
    round->token = 0;
}

void barriers_resend(struct barriers *b)
{
    pthread_mutex_lock(&b->lock);
    for (int i = ROUNDS - 1; i >= 0; i--)
        take_back(b, &b->rounds[i]);
    b->hold_until_us = 0;
    pthread_mutex_unlock(&b->lock);
}

void barriers_read_done(struct barriers *b, uint64_t token, uint64_t index, bool ok)
{
    pthread_mutex_lock(&b->lock);
    struct round *round = round_of(b, token);
    if (round && ok) {
        struct backend_link *link;
        while ((link = queue_pop(&round->batch)))
            index_known(b, barrier_of(link), index);
        round->token = 0;
        contact_progress(b->contact, clock_mono_us());
    } else if (round) {
        take_back(b, round);
        b->hold_until_us = clock_mono_us() + RETRY_US;
    }
    unlock_and_wake(b);
}

void barriers_applied(struct barriers *b, uint64_t index)
{
    pthread_mutex_lock(&b->lock);
    if (index > b->applied_index)
        b->applied_index = index;
    struct backend_link *link;
    while ((link = queue_first(&b->applying)) && barrier_of(link)->index <= index) {
        queue_remove(link);
        make_ready(b, barrier_of(link));
    }
    unlock_and_wake(b);
}

void barriers_session_open(struct barriers *b)
{
    pthread_mutex_lock(&b->lock);
    b->session_open = true;
    struct backend_link *link;
    while ((link = queue_pop(&b->sessionless)))
        make_ready(b, barrier_of(link));
    unlock_and_wake(b);
}

/* ---- Deadlines ---- */

/* The queue's oldest if it is overdue, taken out. */
static struct backend_barrier *take_expired(struct barriers *b, struct queue *q, uint64_t now_us)
{
    struct backend_link *link = queue_first(q);
    if (!link)
        return NULL;
    contact_watch(b->contact, barrier_of(link)->asked_us, now_us);
    if (!contact_expired(b->contact, barrier_of(link)->asked_us, now_us))
        return NULL;
    queue_remove(link);
    return barrier_of(link);
}

static void expire_queue(struct barriers *b, struct queue *q, uint64_t now_us)
{
    struct backend_barrier *barrier;
    while ((barrier = take_expired(b, q, now_us))) {
        pthread_mutex_unlock(&b->lock);
        barrier->done(barrier, -ETIMEDOUT);
        pthread_mutex_lock(&b->lock);
    }
}

void barriers_expire(struct barriers *b, uint64_t now_us)
{
    pthread_mutex_lock(&b->lock);
    for (int i = 0; i < ROUNDS; i++)
        expire_queue(b, &b->rounds[i].batch, now_us);
    expire_queue(b, &b->asked, now_us);
    expire_queue(b, &b->applying, now_us);
    expire_queue(b, &b->sessionless, now_us);
    pthread_mutex_unlock(&b->lock);
}

bool barriers_pending(struct barriers *b)
{
    pthread_mutex_lock(&b->lock);
    bool pending = !queue_empty(&b->asked) || !queue_empty(&b->applying) ||
                   !queue_empty(&b->sessionless) || !queue_empty(&b->ready);
    for (int i = 0; i < ROUNDS; i++)
        pending = pending || !queue_empty(&b->rounds[i].batch);
    pthread_mutex_unlock(&b->lock);
    return pending;
}
