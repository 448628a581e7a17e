/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fuse/recent.h"

enum { THREAD = 4711, INO = 42, NOW_US = 1000 * 1000 };

static struct recent recent;

static int clear(void **state)
{
    (void)state;
    memset(&recent, 0, sizeof(recent));
    return 0;
}

static void a_look_is_taken_once(void **state)
{
    (void)state;
    assert_int_equal(recent_take(&recent, THREAD, NOW_US), 0);
    recent_note(&recent, THREAD, INO, NOW_US);
    assert_int_equal(recent_take(&recent, THREAD, NOW_US), INO);
    assert_int_equal(recent_take(&recent, THREAD, NOW_US), 0);
}

static void the_last_look_counts(void **state)
{
    (void)state;
    recent_note(&recent, THREAD, INO, NOW_US);
    recent_note(&recent, THREAD, INO + 1, NOW_US);
    assert_int_equal(recent_take(&recent, THREAD, NOW_US), INO + 1);
}

static void a_look_grows_old(void **state)
{
    (void)state;
    recent_note(&recent, THREAD, INO, NOW_US);
    assert_int_equal(recent_take(&recent, THREAD, NOW_US + RECENT_US), INO);
    recent_note(&recent, THREAD, INO, NOW_US);
    assert_int_equal(recent_take(&recent, THREAD, NOW_US + RECENT_US + 1), 0);
}

static void threads_do_not_share_looks(void **state)
{
    (void)state;
    recent_note(&recent, THREAD, INO, NOW_US);
    recent_note(&recent, THREAD + 1, INO + 1, NOW_US);
    assert_int_equal(recent_take(&recent, THREAD + RECENT_THREADS, NOW_US), 0); /* same place */
    assert_int_equal(recent_take(&recent, THREAD, NOW_US), INO);
    assert_int_equal(recent_take(&recent, THREAD + 1, NOW_US), INO + 1);
    recent_note(&recent, THREAD, INO, NOW_US);
    recent_note(&recent, THREAD + RECENT_THREADS, INO + 1, NOW_US);
    assert_int_equal(recent_take(&recent, THREAD, NOW_US), 0);
}

static void an_unknown_thread_has_none(void **state)
{
    (void)state;
    recent_note(&recent, 0, INO, NOW_US);
    assert_int_equal(recent_take(&recent, 0, NOW_US), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_look_is_taken_once, clear),
        cmocka_unit_test_setup(the_last_look_counts, clear),
        cmocka_unit_test_setup(a_look_grows_old, clear),
        cmocka_unit_test_setup(threads_do_not_share_looks, clear),
        cmocka_unit_test_setup(an_unknown_thread_has_none, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
