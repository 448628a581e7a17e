/* SPDX-License-Identifier: MIT */
/*
 * timer.h - the mount's own thread for what is due later, or due now but elsewhere.
 *
 * There are only a few delays, so each has a queue in which timers stand in the order of their
 * deadlines; starting and stopping one is a change of two pointers. TIMER_NOW hands work over from
 * a thread that must not do it (a FUSE worker inside a callback of libfuse, the Raft loop).
 *
 * All of it lives under the lock that timers_init() was given. `expired` runs on the timer thread
 * with that lock held; it may drop and retake it.
 */
#ifndef RAFTFS_FUSE_TIMER_H
#define RAFTFS_FUSE_TIMER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum timer_delay { TIMER_NOW, TIMER_10_MS, TIMER_20_MS, TIMER_1_S, TIMER_DELAYS };

struct timer {
    struct timer *prev; /* NULL: not running */
    struct timer *next;
    uint64_t due_us;
    void (*expired)(struct timer *timer);
};

struct timers {
    pthread_mutex_t *lock;
    pthread_cond_t cond;
    pthread_t thread;
    struct timer queues[TIMER_DELAYS]; /* ring heads */
    uint64_t wake_us;                  /* until when the thread sleeps */
    bool stopping;
};

void timers_init(struct timers *timers, pthread_mutex_t *lock);

/* Joins the thread; timers that still run never expire. Called without the lock. */
void timers_close(struct timers *timers);

/* Under the lock. Starting a running timer starts it over; stopping a stopped one does nothing. */
void timer_start(struct timers *timers, struct timer *timer, enum timer_delay delay);
void timer_stop(struct timer *timer);

static inline bool timer_runs(const struct timer *timer)
{
    return timer->prev != NULL;
}

#endif
