/* SPDX-License-Identifier: MIT */
#include "fuse/timer.h"

#include <time.h>

#include "base/clock.h"
#include "base/thread.h"

static const uint64_t delay_us[TIMER_DELAYS] = {0, 10 * 1000, 20 * 1000, 1000 * 1000};

/* The timer that is due first; NULL if none runs. */
static struct timer *earliest(struct timers *timers)
{
    struct timer *first = NULL;
    for (int i = 0; i < TIMER_DELAYS; i++) {
        struct timer *head = timers->queues[i].next;
        if (head != &timers->queues[i] && (!first || head->due_us < first->due_us))
            first = head;
    }
    return first;
}

static void sleep_until(struct timers *timers, uint64_t us)
{
    timers->wake_us = us;
    if (us == UINT64_MAX) {
        pthread_cond_wait(&timers->cond, timers->lock);
    } else {
        struct timespec t = {.tv_sec = (time_t)(us / 1000000),
                             .tv_nsec = (long)(us % 1000000) * 1000};
        pthread_cond_timedwait(&timers->cond, timers->lock, &t);
    }
    timers->wake_us = 0;
}

static void *timer_thread(void *arg)
{
    struct timers *timers = arg;
    pthread_mutex_lock(timers->lock);
    while (!timers->stopping) {
        struct timer *timer = earliest(timers);
        if (timer && timer->due_us <= clock_mono_us()) {
            timer_stop(timer);
            timer->expired(timer);
        } else {
            sleep_until(timers, timer ? timer->due_us : UINT64_MAX);
        }
    }
    pthread_mutex_unlock(timers->lock);
    return NULL;
}

void timers_init(struct timers *timers, pthread_mutex_t *lock)
{
    timers->lock = lock;
    timers->stopping = false;
    timers->wake_us = 0;
    for (int i = 0; i < TIMER_DELAYS; i++)
        timers->queues[i].prev = timers->queues[i].next = &timers->queues[i];
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&timers->cond, &attr);
    pthread_condattr_destroy(&attr);
    thread_start(&timers->thread, "fuse-timer", timer_thread, timers);
}

void timers_close(struct timers *timers)
{
    pthread_mutex_lock(timers->lock);
    timers->stopping = true;
    pthread_cond_signal(&timers->cond);
    pthread_mutex_unlock(timers->lock);
    pthread_join(timers->thread, NULL);
    pthread_cond_destroy(&timers->cond);
}

void timer_start(struct timers *timers, struct timer *timer, enum timer_delay delay)
{
    timer_stop(timer);
    struct timer *head = &timers->queues[delay];
    timer->due_us = clock_mono_us() + delay_us[delay];
    timer->prev = head->prev;
    timer->next = head;
    head->prev->next = timer;
    head->prev = timer;
    /* Most timers are stopped long before they are due: wake the thread only if it oversleeps. */
    if (timer->due_us < timers->wake_us)
        pthread_cond_signal(&timers->cond);
}

void timer_stop(struct timer *timer)
{
    if (!timer->prev)
        return;
    timer->prev->next = timer->next;
    timer->next->prev = timer->prev;
    timer->prev = timer->next = NULL;
}
