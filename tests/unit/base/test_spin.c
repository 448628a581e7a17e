/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/spin.h"

enum { LONG_US = 60 * 1000 * 1000 };

static void *come(void *fd)
{
    eventfd_write(*(int *)fd, 1);
    return NULL;
}

/* The processors may be crowded, so it may take several looks. */
static bool look_until_something_comes(int fd)
{
    enum spin_seen seen;
    do
        seen = spin_look(fd, NULL, LONG_US);
    while (seen == SPIN_CROWDED);
    return seen != SPIN_NOTHING;
}

static void it_sees_what_comes(void **state)
{
    (void)state;
    int fd = eventfd(0, EFD_NONBLOCK);
    for (int i = 0; i < 100; i++) {
        pthread_t other;
        eventfd_t count;
        pthread_create(&other, NULL, come, &fd);
        assert_true(look_until_something_comes(fd));
        assert_int_equal(eventfd_read(fd, &count), 0);
        pthread_join(other, NULL);
    }
    close(fd);
}

static void it_sees_what_is_there(void **state)
{
    (void)state;
    int fd = eventfd(1, EFD_NONBLOCK);
    assert_int_equal(spin_look(fd, NULL, LONG_US), SPIN_READABLE);
    close(fd);
}

static void it_sees_a_flag_that_is_set(void **state)
{
    (void)state;
    int fd = eventfd(0, EFD_NONBLOCK);
    atomic_bool flag = true;
    for (int i = 0; i < 100; i++)
        assert_int_equal(spin_look(fd, &flag, LONG_US), SPIN_READABLE);
    flag = false;
    assert_int_not_equal(spin_look(fd, &flag, 200), SPIN_READABLE);
    close(fd);
}

static void *set(void *flag)
{
    *(atomic_bool *)flag = true;
    return NULL;
}

static void it_sees_a_flag(void **state)
{
    (void)state;
    int fd = eventfd(0, EFD_NONBLOCK);
    for (int i = 0; i < 100; i++) {
        atomic_bool flag = false;
        pthread_t other;
        pthread_create(&other, NULL, set, &flag);
        while (spin_look(fd, &flag, LONG_US) == SPIN_CROWDED)
            continue;
        assert_true(flag);
        pthread_join(other, NULL);
    }
    close(fd);
}

static void it_ends_when_nothing_comes(void **state)
{
    (void)state;
    int fd = eventfd(0, EFD_NONBLOCK);
    assert_int_equal(spin_look(fd, NULL, 0), SPIN_NOTHING);
    enum spin_seen seen = spin_look(fd, NULL, 200);
    assert_true(seen == SPIN_NOTHING || seen == SPIN_CROWDED);
    close(fd);
}

static void *work(void *stop)
{
    while (!*(atomic_bool *)stop)
        continue;
    return NULL;
}

/* One processor, and threads that always have work for it: that cannot go unnoticed for ever. */
static void it_notices_a_crowd(void **state)
{
    (void)state;
    enum { OTHERS = 4 };
    atomic_bool stop = false;
    pthread_t others[OTHERS];
    cpu_set_t before, one;
    int fd = eventfd(0, EFD_NONBLOCK);
    sched_getaffinity(0, sizeof(before), &before);
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof(one), &one); /* they inherit it */
    for (int i = 0; i < OTHERS; i++)
        pthread_create(&others[i], NULL, work, &stop);
    while (spin_look(fd, NULL, LONG_US) != SPIN_CROWDED)
        continue;
    stop = true;
    for (int i = 0; i < OTHERS; i++)
        pthread_join(others[i], NULL);
    sched_setaffinity(0, sizeof(before), &before);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_sees_what_comes),
        cmocka_unit_test(it_sees_what_is_there),
        cmocka_unit_test(it_sees_a_flag),
        cmocka_unit_test(it_sees_a_flag_that_is_set),
        cmocka_unit_test(it_ends_when_nothing_comes),
        cmocka_unit_test(it_notices_a_crowd),
    };
    return cmocka_run_group_tests_name("spin", tests, NULL, NULL);
}
