/* SPDX-License-Identifier: MIT */
/*
 * workers.c - who reads requests, and how he waits for them.
 *
 * The kernel wakes one of the readers that sleep for each request, though another be awake and have
 * it first: that costs the caller a wake-up and the processors a useless look, for each of the four
 * requests that one write is. So one worker *attends*: he reads a request, serves it, looks out for
 * the next, since open(2) alone is three, and sleeps in read(2) itself when none comes. That is one
 * system call a request; an epoll in front of it would cost three more. The others are parked. One
 * of them is called
 *
 *     when requests have been waiting for BUSY_US without a break: there is work for more
 *     when nobody attends, and he who serves does not come back: no request waits for another, but
 *     SQLite may wait for a disk, and a long READ takes long
 *
 * For the latter the first of those parked is the *deputy*. While requests come he looks every
 * DEPUTY_MS whether the one that was served then still is. When none has come he rests, until the
 * next one is served.
 *
 * Who finds nothing to do while another attends is parked again.
 *
 * He who looks out also answers what others have finished (workers_take_over), since the caller
 * sleeps on his processor (follow.h).
 *
 * Where others want the processors too, who looks out may come back a time slice late. Then looks
 * pause for a while, and for a longer one two attend: of the one that sleeps the scheduler sees
 * that he wants little, and wakes him up soon.
 *
 * To leave, they are sent a signal that does nothing but interrupt read(2).
 */
#include "fuse/workers.h"

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/spin.h"
#include "base/thread.h"
#include "fuse/follow.h"
#include "fuse/mount_state.h"
#include "fuse/request.h"

enum {
    BUSY_US = 150,
    DEPUTY_MS = 10,
    PAUSE_US = 20 * 1000, /* of looks, where the processors are crowded */
    CROWD_US = 1000 * 1000,
    LOOK_US = 60,       /* from an answer to the caller's next request */
    LOOK_LONG_US = 400, /* from a write's request to that, an answer in between */
    LEAVE_SIGNAL = SIGUSR1,
    LEAVE_RETRY_NS = 1000 * 1000,
};

/* ---- Parked (under the lock, which they give up while they wait) ---- */

/* A turn of the deputy's: whether he shall attend. */
static bool watch(struct workers *w, uint64_t *seen)
{
    if (w->served == *seen && w->attending > 0) {
        w->deputy_rests = true;
        pthread_cond_wait(&w->watch, &w->lock);
        w->deputy_rests = false;
    }
    *seen = w->served;
    uint64_t until_us = clock_mono_us() + DEPUTY_MS * 1000;
    struct timespec until = {.tv_sec = (time_t)(until_us / 1000000),
                             .tv_nsec = (long)(until_us % 1000000) * 1000};
    pthread_cond_timedwait(&w->watch, &w->lock, &until);
    return w->attending == 0 && w->served == *seen;
}

static void be_deputy(struct workers *w)
{
    uint64_t seen = w->served;
    w->has_deputy = true;
    while (w->called == 0 && !w->leaving)
        if (watch(w, &seen))
            w->called++;
    w->has_deputy = false;
    pthread_cond_signal(&w->call); /* so that another becomes it */
}

static void be_parked(struct workers *w)
{
    w->attending--;
    w->parked++;
    while (w->called == 0 && !w->leaving) {
        if (w->has_deputy)
            pthread_cond_wait(&w->call, &w->lock);
        else
            be_deputy(w);
    }
    if (w->called > 0)
        w->called--;
    w->parked--;
    w->attending++;
}

static bool is_crowded(const struct workers *w)
{
    return clock_mono_us() < w->crowded_until_us;
}

/* False if he is needed. */
static bool park(struct workers *w)
{
    pthread_mutex_lock(&w->lock);
    bool others = w->attending > (is_crowded(w) ? 2 : 1);
    if (others)
        be_parked(w);
    pthread_mutex_unlock(&w->lock);
    return others;
}

/* The deputy only if there is no other. */
static void call_one(struct workers *w)
{
    pthread_mutex_lock(&w->lock);
    bool any = w->called < w->parked;
    w->called += any;
    bool only_deputy = w->parked == 1;
    pthread_mutex_unlock(&w->lock);
    if (any)
        pthread_cond_signal(only_deputy ? &w->watch : &w->call);
}

/* ---- One request ---- */

static void begin_serving(struct workers *w)
{
    pthread_mutex_lock(&w->lock);
    w->attending--;
    w->served++;
    bool tell = w->deputy_rests;
    w->deputy_rests = false;
    pthread_mutex_unlock(&w->lock);
    if (tell)
        pthread_cond_signal(&w->watch);
}

static void end_serving(struct workers *w)
{
    pthread_mutex_lock(&w->lock);
    w->attending++;
    pthread_mutex_unlock(&w->lock);
}

/* The thread that asked is in *caller; 0: nobody, or there was no request. */
static bool serve_one(struct mount *m, struct fuse_buf *buf, pid_t *caller)
{
    int n = fuse_session_receive_buf(m->session, buf);
    *caller = 0;
    if (n > 0) {
        const struct fuse_in_header *header = buf->mem;
        *caller = (pid_t)header->pid;
        begin_serving(&m->workers);
        fuse_session_process_buf(m->session, buf);
        end_serving(&m->workers);
    }
    return n > 0 || n == -EINTR || n == -EAGAIN;
}

bool workers_serve_one(struct mount *m, struct fuse_buf *buf)
{
    pid_t caller;
    return serve_one(m, buf, &caller);
}

/* ---- From one to the next ---- */

struct worker {
    struct mount *m;
    uint64_t busy_since_us; /* 0: he found no request waiting the last time */
    uint64_t pause_until_us;
    struct follow follow;
};

static _Thread_local bool is_worker;

/* Whether a request is there already. */
static bool has_waiting(struct worker *me)
{
    struct pollfd events = {.fd = fuse_session_fd(me->m->session), .events = POLLIN};
    if (poll(&events, 1, 0) == 0) {
        me->busy_since_us = 0;
        return false;
    }
    uint64_t now_us = clock_mono_us();
    if (me->busy_since_us == 0) {
        me->busy_since_us = now_us;
    } else if (now_us > me->busy_since_us + BUSY_US) {
        me->busy_since_us = now_us;
        call_one(&me->m->workers);
    }
    return true;
}

/* While somebody waits for an answer he will soon be back. */
static uint32_t look_us(struct mount *m)
{
    pthread_mutex_lock(&m->lock);
    bool waits = m->running > 0;
    pthread_mutex_unlock(&m->lock);
    return waits ? LOOK_LONG_US : LOOK_US;
}

/* Whether this worker is the one who takes over. */
static bool begin_look(struct workers *w)
{
    pthread_mutex_lock(&w->lock);
    bool first = !w->looks_out;
    w->looks_out = true;
    pthread_mutex_unlock(&w->lock);
    return first;
}

/* What he was given meanwhile, or NULL. */
static struct request *end_look(struct workers *w, bool first)
{
    if (!first)
        return NULL;
    pthread_mutex_lock(&w->lock);
    struct request *given = w->given;
    w->given = NULL;
    w->is_given = false;
    w->looks_out = false;
    pthread_mutex_unlock(&w->lock);
    return given;
}

bool workers_take_over(struct request *r, void (*answer)(struct request *r))
{
    struct workers *w = &r->mount->workers;
    if (is_worker)
        return false;
    pthread_mutex_lock(&w->lock);
    bool taken = w->looks_out && !w->given && !is_crowded(w);
    if (taken) {
        r->then = answer;
        w->given = r;
        w->is_given = true;
    }
    pthread_mutex_unlock(&w->lock);
    return taken;
}

static void note_crowd(struct worker *me)
{
    struct workers *w = &me->m->workers;
    uint64_t now_us = clock_mono_us();
    bool known = is_crowded(w);
    me->pause_until_us = now_us + PAUSE_US;
    w->crowded_until_us = now_us + CROWD_US;
    if (!known)
        call_one(w);
}

static bool may_look_out(const struct worker *me)
{
    return !me->m->no_spin && clock_mono_us() >= me->pause_until_us;
}

/* False: nothing has come for a while. */
static bool look_out(struct worker *me)
{
    struct workers *w = &me->m->workers;
    int fd = fuse_session_fd(me->m->session);
    bool takes_over = begin_look(w);
    enum spin_seen seen = spin_look(fd, takes_over ? &w->is_given : NULL, look_us(me->m));
    struct request *given = end_look(w, takes_over);
    if (given)
        given->then(given);
    if (seen == SPIN_CROWDED || seen == SPIN_LATE)
        note_crowd(me);
    return given || seen == SPIN_READABLE || seen == SPIN_LATE;
}

/* Whether a request is there, or comes soon: then he need not sleep. */
static bool comes(struct worker *me)
{
    bool waits;
    while (!(waits = has_waiting(me)) && may_look_out(me) && look_out(me))
        continue;
    return waits;
}

static void *worker_thread(void *arg)
{
    struct worker me = {.m = arg};
    struct workers *w = &me.m->workers;
    struct fuse_buf buf = {0};
    bool alive = true;
    is_worker = true;
    while (alive && !w->leaving) {
        pid_t caller = 0;
        if (comes(&me) || !park(w))
            alive = serve_one(me.m, &buf, &caller);
        if (may_look_out(&me))
            follow_caller(&me.follow, caller);
    }
    free(buf.mem); /* libfuse's malloc */
    if (!alive)
        mount_session_gone(me.m);
    return NULL;
}

/* ---- Beginning and end ---- */

void workers_init(struct workers *w)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->call, NULL);
    pthread_cond_init(&w->watch, &attr);
    pthread_condattr_destroy(&attr);
    w->attending = 1;
}

static void on_leave_signal(int number)
{
    (void)number; /* it has interrupted a read: that is all it is for */
}

void workers_start(struct mount *m)
{
    struct workers *w = &m->workers;
    struct sigaction leave = {.sa_handler = on_leave_signal}; /* no SA_RESTART */
    sigaction(LEAVE_SIGNAL, &leave, NULL);
    w->attending = WORKERS;
    for (; w->started < WORKERS; w->started++)
        thread_start(&w->threads[w->started], "fuse", worker_thread, m);
}

/* A signal that comes just before the read it is meant for is lost: so it is sent again. */
void workers_stop(struct mount *m)
{
    struct workers *w = &m->workers;
    pthread_mutex_lock(&w->lock);
    w->leaving = true;
    pthread_cond_broadcast(&w->call);
    pthread_cond_broadcast(&w->watch);
    pthread_mutex_unlock(&w->lock);
    for (; w->started > 0; w->started--)
        while (pthread_tryjoin_np(w->threads[w->started - 1], NULL) == EBUSY) {
            pthread_kill(w->threads[w->started - 1], LEAVE_SIGNAL);
            nanosleep(&(struct timespec){.tv_nsec = LEAVE_RETRY_NS}, NULL);
        }
}

void workers_close(struct workers *w)
{
    pthread_cond_destroy(&w->watch);
    pthread_cond_destroy(&w->call);
    pthread_mutex_destroy(&w->lock);
}
