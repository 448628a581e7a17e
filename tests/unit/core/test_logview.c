/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "raft/core/logview.h"

enum { RUNS = 8, SIZES = 16 };

static struct logview view;
static struct raft_term_run runs[RUNS];
static uint32_t sizes[SIZES];

/* A log with one entry for each digit: its term. */
static void fill(const char *terms)
{
    logview_init(&view, runs, RUNS, sizes, SIZES);
    for (; *terms; terms++)
        logview_append(&view, (uint64_t)(*terms - '0'), 10);
}

static void terms_are_found_by_index(void **state)
{
    (void)state;
    fill("1112255");
    const uint64_t terms[] = {0, 1, 1, 1, 2, 2, 5, 5, 0};
    for (uint64_t i = 0; i <= 8; i++)
        assert_int_equal(logview_term(&view, i), terms[i]);
    assert_int_equal(logview_last_term(&view), 5);
    assert_int_equal(logview_run_start(&view, 5), 4);
}

/* The follower logs of Figure 7, asked by a leader whose prev is of term 6 or 4. */
static void conflicts_back_up_a_term_at_a_time(void **state)
{
    (void)state;
    fill("1114455666");
    assert_int_equal(logview_last_at_most(&view, 10, 6), 10);
    assert_int_equal(logview_last_at_most(&view, 10, 5), 7);
    assert_int_equal(logview_last_at_most(&view, 10, 3), 3);
    assert_int_equal(logview_last_at_most(&view, 10, 0), 0);
    assert_int_equal(logview_last_at_most(&view, 99, 4), 5);
}

static void truncation_forgets_runs(void **state)
{
    (void)state;
    fill("112233");
    logview_truncate(&view, 4);
    assert_int_equal(view.last_index, 3);
    assert_int_equal(logview_last_term(&view), 2);
    logview_append(&view, 7, 1);
    assert_int_equal(logview_term(&view, 4), 7);
    assert_int_equal(logview_term(&view, 5), 0);
}

/* The ABA race: the old write's completion must not vouch for the entry that replaced its own. */
static void a_truncation_caps_writes_on_their_way(void **state)
{
    (void)state;
    fill("11");
    uint64_t old = logview_write_begin(&view, 0);
    logview_truncate(&view, 2);
    logview_append(&view, 2, 1);
    uint64_t fresh = logview_write_begin(&view, 0);
    logview_write_done(&view, old, 1);
    assert_int_equal(view.durable_index, 1);
    logview_write_done(&view, fresh, 2);
    assert_int_equal(view.durable_index, 2);
}

static void one_completion_covers_all_before_it(void **state)
{
    (void)state;
    fill("1");
    logview_write_begin(&view, 0);
    logview_append(&view, 1, 1);
    uint64_t last = logview_write_begin(&view, 5);
    assert_true(logview_write_done(&view, last, 9));
    assert_int_equal(view.durable_index, 2);
    assert_int_equal(view.write_count, 0);
    assert_false(logview_write_done(&view, last, 9));
}

static void compaction_keeps_the_term_at_the_base(void **state)
{
    (void)state;
    fill("1122333");
    logview_compact(&view, 4);
    assert_int_equal(view.base_index, 4);
    assert_int_equal(logview_term(&view, 4), 2);
    assert_int_equal(logview_term(&view, 3), 0);
    assert_int_equal(logview_term(&view, 5), 3);
}

static void old_runs_and_sizes_are_forgotten(void **state)
{
    (void)state;
    uint32_t bytes;
    logview_init(&view, runs, RUNS, sizes, SIZES);
    for (uint64_t term = 1; term <= 2 * SIZES; term++)
        logview_append(&view, term, (uint32_t)term);
    assert_int_equal(logview_term(&view, 1), 0);
    assert_int_equal(logview_term(&view, 2 * SIZES), 2 * SIZES);
    assert_false(logview_size(&view, SIZES, &bytes));
    assert_true(logview_size(&view, SIZES + 1, &bytes));
    assert_int_equal(bytes, SIZES + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(terms_are_found_by_index),
        cmocka_unit_test(conflicts_back_up_a_term_at_a_time),
        cmocka_unit_test(truncation_forgets_runs),
        cmocka_unit_test(a_truncation_caps_writes_on_their_way),
        cmocka_unit_test(one_completion_covers_all_before_it),
        cmocka_unit_test(compaction_keeps_the_term_at_the_base),
        cmocka_unit_test(old_runs_and_sizes_are_forgotten),
    };
    return cmocka_run_group_tests_name("logview", tests, NULL, NULL);
}
