/* SPDX-License-Identifier: MIT */
/* A wait ends with the event, or with its time, asleep or awake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "node/spin.h"

static bool readable(int fd)
{
    struct pollfd events = {.fd = fd, .events = POLLIN};
    return poll(&events, 1, 0) == 1;
}

static uint64_t processor_time_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static void *come(void *fd)
{
    eventfd_write(*(int *)fd, 1);
    return NULL;
}

/* Each of many waits ends although nothing but the event can end it. */
static void wait_for_others(struct spin *spin, bool awake)
{
    int fd = eventfd(0, EFD_NONBLOCK);
    for (int i = 0; i < 100; i++) {
        pthread_t other;
        pthread_create(&other, NULL, come, &fd);
        if (awake)
            spin_stay_awake(spin);
        spin_wait(spin, fd, -1);
        assert_true(readable(fd));
        eventfd_t count;
        eventfd_read(fd, &count);
        pthread_join(other, NULL);
    }
    close(fd);
}

static void asleep_it_ends_with_the_event(void **state)
{
    (void)state;
    wait_for_others(&(struct spin){0}, false);
}

static void awake_it_ends_with_the_event(void **state)
{
    (void)state;
    wait_for_others(&(struct spin){0}, true);
}

static void awake_or_not_it_ends_in_time(void **state)
{
    (void)state;
    struct spin spin = {0};
    int fd = eventfd(0, EFD_NONBLOCK);
    for (int in_ms = 0; in_ms < 3; in_ms++) {
        spin_wait(&spin, fd, in_ms);
        spin_stay_awake(&spin);
        spin_wait(&spin, fd, in_ms);
        assert_false(readable(fd));
    }
    close(fd);
}

/* Awake for ever, it would use all of the time that it waits. */
static void it_falls_asleep(void **state)
{
    (void)state;
    struct spin spin = {0};
    int fd = eventfd(0, EFD_NONBLOCK);
    enum { WAIT_MS = 500 };
    spin_stay_awake(&spin);
    uint64_t before_us = processor_time_us();
    spin_wait(&spin, fd, WAIT_MS);
    assert_true(processor_time_us() - before_us < WAIT_MS * 1000 / 2);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asleep_it_ends_with_the_event),
        cmocka_unit_test(awake_it_ends_with_the_event),
        cmocka_unit_test(awake_or_not_it_ends_in_time),
        cmocka_unit_test(it_falls_asleep),
    };
    return cmocka_run_group_tests_name("spin", tests, NULL, NULL);
}
