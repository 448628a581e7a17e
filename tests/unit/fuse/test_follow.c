/* SPDX-License-Identifier: MIT */
/*
 * Moving to the caller's processor. With one processor there is nowhere to move to, and the rest
 * holds all the same.
 */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "fuse/follow.h"

enum { TRIES = 20 };

/* A thread that sleeps where it has been put. */
struct caller {
    pthread_t thread;
    int processor;
    pid_t tid;
    sem_t sleeps, may_go;
};

static void put_on(int processor)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

static void *sleep_there(void *arg)
{
    struct caller *c = arg;
    put_on(c->processor);
    c->tid = gettid();
    sem_post(&c->sleeps);
    while (sem_wait(&c->may_go) != 0)
        continue;
    return NULL;
}

static void begin(struct caller *c, int processor)
{
    c->processor = processor;
    sem_init(&c->sleeps, 0, 0);
    sem_init(&c->may_go, 0, 0);
    assert_int_equal(pthread_create(&c->thread, NULL, sleep_there, c), 0);
    while (sem_wait(&c->sleeps) != 0)
        continue;
}

static void end(struct caller *c)
{
    sem_post(&c->may_go);
    pthread_join(c->thread, NULL);
    sem_destroy(&c->sleeps);
    sem_destroy(&c->may_go);
}

static cpu_set_t allowed(void)
{
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    return set;
}

/* The n-th that this thread may run on, -1 if there are fewer. */
static int nth(const cpu_set_t *set, int n)
{
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, set) && n-- == 0)
            return i;
    return -1;
}

static void serve(struct follow *follow, pid_t caller, unsigned requests)
{
    for (unsigned i = 0; i < requests; i++)
        follow_caller(follow, caller);
}

/* Where it is after serving, having begun at `from`; it may run anywhere before and after. */
static int serve_from(int from, const cpu_set_t *all, struct follow *follow, pid_t caller,
                      unsigned requests)
{
    put_on(from);
    assert_int_equal(sched_setaffinity(0, sizeof(*all), all), 0);
    serve(follow, caller, requests);
    int at = sched_getcpu();
    cpu_set_t now = allowed();
    assert_true(CPU_EQUAL(&now, all));
    return at;
}

/* The scheduler may move a thread at any time, but not in most of the tries. */
static unsigned tries_that_end_at(int at, int from, const cpu_set_t *all, pid_t caller,
                                  unsigned requests)
{
    unsigned count = 0;
    for (int i = 0; i < TRIES; i++) {
        struct follow follow = {0};
        count += serve_from(from, all, &follow, caller, requests) == at;
    }
    return count;
}

static void he_moves_to_his_caller(void **state)
{
    (void)state;
    cpu_set_t all = allowed();
    int here = nth(&all, 0), there = nth(&all, 1) < 0 ? here : nth(&all, 1);
    struct caller caller;
    begin(&caller, there);
    unsigned moved = tries_that_end_at(there, here, &all, caller.tid, FOLLOW_REQUESTS);
    unsigned stayed = tries_that_end_at(here, here, &all, caller.tid, FOLLOW_REQUESTS - 1);
    end(&caller);
    assert_true(moved > TRIES / 2);
    assert_true(stayed > TRIES / 2);
}

/* No row is long enough, and all of them together would be. */
static void he_follows_only_one_who_is_alone(void **state)
{
    (void)state;
    cpu_set_t all = allowed();
    int here = nth(&all, 0), there = nth(&all, 1) < 0 ? here : nth(&all, 1);
    struct caller caller;
    unsigned stayed = 0;
    begin(&caller, there);
    for (int i = 0; i < TRIES; i++) {
        struct follow follow = {0};
        serve(&follow, caller.tid, FOLLOW_REQUESTS - 2);
        serve(&follow, gettid(), 1);
        stayed += serve_from(here, &all, &follow, caller.tid, FOLLOW_REQUESTS - 1) == here;
    }
    end(&caller);
    assert_true(stayed > TRIES / 2);
}

/* Requests of nobody's (FORGET, writeback) do not count, and end nothing. */
static void nobody_is_not_followed(void **state)
{
    (void)state;
    cpu_set_t all = allowed(), now;
    struct follow follow = {0};
    serve(&follow, 0, 3 * FOLLOW_REQUESTS);
    assert_int_equal(follow.in_a_row, 0);
    serve(&follow, gettid(), 2);
    serve(&follow, 0, 1);
    assert_int_equal(follow.caller, gettid());
    assert_int_equal(follow.in_a_row, 2);
    now = allowed();
    assert_true(CPU_EQUAL(&now, &all));
}

static void who_is_gone_is_not_followed(void **state)
{
    (void)state;
    cpu_set_t all = allowed();
    int here = nth(&all, 0), there = nth(&all, 1);
    struct caller caller;
    begin(&caller, there < 0 ? here : there);
    end(&caller);
    assert_true(tries_that_end_at(here, here, &all, caller.tid, 2 * FOLLOW_REQUESTS) > 10);
}

/* The caller sleeps where this thread must not run. */
static void he_goes_nowhere_else_than_he_may(void **state)
{
    (void)state;
    cpu_set_t all = allowed(), one;
    int here = nth(&all, 0), there = nth(&all, 1);
    struct caller caller;
    struct follow follow = {0};
    begin(&caller, there < 0 ? here : there);
    CPU_ZERO(&one);
    CPU_SET(here, &one);
    int at = serve_from(here, &one, &follow, caller.tid, 2 * FOLLOW_REQUESTS);
    assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
    end(&caller);
    assert_int_equal(at, here);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(he_moves_to_his_caller),
        cmocka_unit_test(he_follows_only_one_who_is_alone),
        cmocka_unit_test(nobody_is_not_followed),
        cmocka_unit_test(who_is_gone_is_not_followed),
        cmocka_unit_test(he_goes_nowhere_else_than_he_may),
    };
    return cmocka_run_group_tests_name("follow", tests, NULL, NULL);
}
