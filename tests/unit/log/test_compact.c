/* SPDX-License-Identifier: MIT */
/* test_compact.c - the log loses its beginning, or starts over, while it runs and across crashes.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"

enum { SMALL = 8 * 1024, ENTRY = 1000 };

static const uint32_t thousand[] = {ENTRY, ENTRY, ENTRY, ENTRY, ENTRY};

/* The segment that each entry went to. */
static uint64_t segment_of[FIXTURE_MAX_ENTRIES];

static void append_many(struct fixture *f, uint64_t term, uint32_t count)
{
    uint64_t first, last;
    for (uint32_t i = 0; i < count; i++) {
        fixture_append(f, term, i % 10 == 3 ? RAFT_ENTRY_CONFIG : RAFT_ENTRY_COMMAND, ENTRY);
        fixture_segments(f, &first, &last);
        segment_of[f->model.last_index] = last;
    }
}

static void truncate_at(struct fixture *f, uint64_t from)
{
    fixture_wait_durable(f, fixture_submit(f, &(struct fixture_write){.truncate_from = from}));
}

/* The log as a crash would find it: its directory, copied aside and put back. */
static void in_top(struct fixture *f, const char *command)
{
    char line[FIXTURE_PATH_BYTES * 2];
    snprintf(line, sizeof(line), "cd '%s' && %s", f->top, command);
    assert_int_equal(system(line), 0);
}

static void save(struct fixture *f)
{
    in_top(f, "rm -rf saved && cp -r log saved");
}

static void restore_without(struct fixture *f, uint64_t first, uint64_t number)
{
    char path[FIXTURE_PATH_BYTES * 2];
    in_top(f, "rm -rf log && cp -r saved log");
    for (; first < number; first++) {
        fixture_segment(f, first, path);
        assert_int_equal(unlink(path), 0);
    }
}

static void whole_segments_go_and_the_rest_stays(void **state)
{
    struct fixture *f = *state;
    uint64_t first, last, index = 30;
    uint32_t count;
    f->segment_bytes = SMALL;
    fixture_open(f, true);
    append_many(f, 1, 60);
    fixture_segments(f, &first, &last);
    assert_int_equal(raft_log_bytes(f->log), last * SMALL);
    raft_log_compact(f->log, index);
    fixture_wait_first(f, segment_of[index + 1]);
    raft_log_compact(f->log, index - 20);
    f->model.base_index = index;
    while (f->model.base_index > 0 && segment_of[f->model.base_index] == segment_of[index + 1])
        f->model.base_index--;
    fixture_read_all(f);
    for (uint64_t i = 0; i <= f->model.base_index; i++)
        assert_int_equal(fixture_read(f, i, 60, &count), -ESTALE);
    append_many(f, 2, 20);
    fixture_reopen(f);
    fixture_segments(f, &first, &last);
    assert_int_equal(first, segment_of[index + 1]);
    assert_int_equal(raft_log_bytes(f->log), (last - first + 1) * SMALL);
}

static void more_than_there_is_leaves_the_last_segment(void **state)
{
    struct fixture *f = *state;
    uint64_t first, last;
    f->segment_bytes = SMALL;
    fixture_open(f, true);
    append_many(f, 1, 40);
    fixture_segments(f, &first, &last);
    raft_log_compact(f->log, UINT64_MAX);
    fixture_wait_first(f, last);
    fixture_close(f);
    fixture_open_compacted(f, 40);
    append_many(f, 2, 40);
    fixture_reopen(f);
}

static void reads_and_appends_go_on_meanwhile(void **state)
{
    struct fixture *f = *state;
    uint32_t count;
    f->segment_bytes = SMALL;
    fixture_open(f, true);
    for (uint32_t round = 1; round <= 100; round++) {
        uint64_t id = fixture_submit(
            f, &(struct fixture_write){.term = round, .count = 5, .bytes = thousand});
        if (f->model.last_index > 20)
            raft_log_compact(f->log, f->model.last_index - 20);
        for (uint64_t at = 1; at <= f->model.last_index; at += 13) {
            int status = fixture_read(f, at, f->model.last_index, &count);
            assert_true(status == 0 || status == -ESTALE);
        }
        fixture_wait_durable(f, id);
    }
    fixture_close(f);
    fixture_open_compacted(f, f->model.last_index - 20);
}

/* Entries lie in a segment whose header counts others, which a truncation dropped. */
static void make_log_with_truncations(struct fixture *f)
{
    f->segment_bytes = SMALL;
    fixture_open(f, true);
    append_many(f, 1, 20);
    truncate_at(f, 8);
    append_many(f, 2, 2);
    truncate_at(f, 10);
    truncate_at(f, 9); /* two in a row, with nothing between them */
    append_many(f, 3, 30);
    fixture_wait_durable(
        f, fixture_submit(f, &(struct fixture_write){.hard = {.term = 4, .vote = 3}}));
}

static void what_truncations_left_goes_when_it_may(void **state)
{
    struct fixture *f = *state;
    make_log_with_truncations(f);
    assert_true(segment_of[9] > segment_of[7] + 1);
    raft_log_compact(f->log, 8);
    fixture_wait_first(f, segment_of[9]);
    f->model.base_index = 8;
    while (segment_of[f->model.base_index] == segment_of[9])
        f->model.base_index--;
    fixture_read_all(f);
    append_many(f, 4, 1);
    fixture_close(f);
    fixture_open_compacted(f, 9);
}

/* Files go oldest first: a crash leaves any number of the newest. */
static void a_crash_after_any_file_leaves_a_log(void **state)
{
    struct fixture *f = *state;
    uint64_t first, last;
    make_log_with_truncations(f);
    fixture_close(f);
    fixture_segments(f, &first, &last);
    save(f);
    struct model whole = f->model;
    for (uint64_t number = first; number <= last; number++) {
        f->model = whole;
        restore_without(f, first, number);
        fixture_open_compacted(f, f->model.last_index);
        append_many(f, 5, 7);
        fixture_reopen(f);
        fixture_close(f);
    }
}

static void a_restart_takes_its_turn_among_writes(void **state)
{
    struct fixture *f = *state;
    uint64_t first, last;
    uint32_t count;
    f->segment_bytes = SMALL;
    fixture_open(f, true);
    for (uint32_t i = 0; i < 20; i++)
        fixture_submit(f, &(struct fixture_write){.term = 1, .count = 5, .bytes = thousand});
    fixture_submit(f, &(struct fixture_write){.hard = {.term = 6, .vote = 2}});
    fixture_submit(f, &(struct fixture_write){.restart_index = 500, .restart_term = 5});
    fixture_submit(f, &(struct fixture_write){.term = 6, .count = 5, .bytes = thousand});
    uint64_t id = fixture_submit(f, &(struct fixture_write){.restart_index = 400,
                                                            .restart_term = 6,
                                                            .term = 7,
                                                            .count = 5,
                                                            .bytes = thousand,
                                                            .hard = {.term = 7, .vote = 1}});
    fixture_wait_durable(f, id);
    fixture_read_all(f);
    assert_int_equal(fixture_read(f, 1, 400, &count), -ESTALE);
    assert_int_equal(fixture_read(f, 501, 505, &count), -ESTALE);
    fixture_segments(f, &first, &last);
    fixture_wait_first(f, last);
    while (raft_log_bytes(f->log) != SMALL)
        sched_yield(); /* until the keeper has synced the directory */
    fixture_reopen(f);
    append_many(f, 7, 10);
    fixture_reopen(f);
}

/* Whatever is left of the old files, the log begins where it was started over. */
static void old_files_mean_nothing_behind_a_restart(struct fixture *f, uint64_t index,
                                                    uint64_t term)
{
    uint64_t first, last;
    make_log_with_truncations(f);
    fixture_close(f);
    fixture_segments(f, &first, &last);
    save(f);
    fixture_open(f, false);
    fixture_wait_durable(f, fixture_submit(f, &(struct fixture_write){.restart_index = index,
                                                                      .restart_term = term}));
    fixture_segments(f, &first, &last);
    first = 1;
    append_many(f, 9, 9);
    fixture_close(f);
    in_top(f, "cp log/* saved");
    struct model after = f->model;
    for (uint64_t number = first; number <= last; number++) {
        f->model = after;
        restore_without(f, first, number);
        fixture_open(f, false);
        fixture_wait_first(f, last);
        append_many(f, 10, 9);
        fixture_reopen(f);
        fixture_close(f);
    }
}

static void a_restart_far_ahead_survives_any_crash(void **state)
{
    old_files_mean_nothing_behind_a_restart(*state, 1000, 5);
}

static void a_restart_within_the_log_survives_any_crash(void **state)
{
    old_files_mean_nothing_behind_a_restart(*state, 12, 4);
}

static void a_restart_at_the_log_s_end_survives_any_crash(void **state)
{
    old_files_mean_nothing_behind_a_restart(*state, 38, 4);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(whole_segments_go_and_the_rest_stays),
        TEST(more_than_there_is_leaves_the_last_segment),
        TEST(reads_and_appends_go_on_meanwhile),
        TEST(what_truncations_left_goes_when_it_may),
        TEST(a_crash_after_any_file_leaves_a_log),
        TEST(a_restart_takes_its_turn_among_writes),
        TEST(a_restart_far_ahead_survives_any_crash),
        TEST(a_restart_within_the_log_survives_any_crash),
        TEST(a_restart_at_the_log_s_end_survives_any_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
