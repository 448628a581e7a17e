/* SPDX-License-Identifier: MIT */
/* test_log.c - what is written is read back, now and after a reopening. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

static const uint32_t hundred[] = {100, 100, 100, 100, 100, 100, 100, 100, 100, 100};

static void entries_of_all_sizes_come_back(void **state)
{
    static const uint32_t bytes[] = {
        0,    1,     479,     480,     507, 508, 509,  511,  512,   513,
        4096, 65535, 1048576, 1044480, 3,   983, 1016, 1500, 20000, RAFT_MAX_ENTRY_BYTES};
    struct fixture *f = *state;
    f->segment_bytes = 0;
    fixture_open(f, true);
    for (uint32_t i = 0; i < sizeof(bytes) / sizeof(*bytes); i++)
        fixture_append(f, 1 + i / 4, RAFT_ENTRY_COMMAND, bytes[i]);
    fixture_read_all(f);
    fixture_reopen(f);
    assert_false(f->recovered.torn);
    assert_int_equal(f->recovered.run_count, 5);
    fixture_append(f, 9, RAFT_ENTRY_NOOP, 0);
    fixture_reopen(f);
}

static void every_kind_and_the_hard_state_come_back(void **state)
{
    struct fixture *f = *state;
    fixture_open(f, true);
    fixture_append(f, 1, RAFT_ENTRY_CONFIG, 300);
    fixture_append(f, 1, RAFT_ENTRY_NOOP, 0);
    fixture_submit(f, &(struct fixture_write){.hard = {.term = 7, .vote = UINT64_MAX}});
    fixture_append(f, 7, RAFT_ENTRY_CONFIG, 400);
    fixture_reopen(f);
    uint64_t id = fixture_submit(
        f, &(struct fixture_write){
               .term = 8, .count = 2, .bytes = hundred, .hard = {.term = 8, .vote = 3}});
    fixture_wait_durable(f, id);
    fixture_append(f, 8, RAFT_ENTRY_CONFIG, 500);
    fixture_reopen(f);
    fixture_reopen(f);
}

static void a_truncation_replaces_the_tail(void **state)
{
    struct fixture *f = *state;
    fixture_open(f, true);
    fixture_submit(f, &(struct fixture_write){.term = 1, .count = 10, .bytes = hundred});
    fixture_submit(
        f, &(struct fixture_write){.truncate_from = 4, .term = 2, .count = 3, .bytes = hundred});
    fixture_wait_durable(f, fixture_submit(f, &(struct fixture_write){.truncate_from = 6}));
    fixture_read_all(f);
    uint32_t count;
    assert_int_equal(fixture_read(f, 6, 6, &count), -ESTALE);
    fixture_reopen(f);
    fixture_append(f, 3, RAFT_ENTRY_COMMAND, 50);
    fixture_wait_durable(f, fixture_submit(f, &(struct fixture_write){.truncate_from = 1}));
    fixture_reopen(f);
    assert_int_equal(f->recovered.last_index, 0);
    fixture_append(f, 4, RAFT_ENTRY_COMMAND, 50);
    fixture_reopen(f);
}

/* Two newer ones go, an older one becomes the newest again. */
static void a_truncation_brings_the_older_configurations_back(void **state)
{
    struct fixture *f = *state;
    fixture_open(f, true);
    for (uint32_t i = 0; i < 5; i++) {
        fixture_append(f, 1, RAFT_ENTRY_CONFIG, 100 + i);
        fixture_append(f, 1, RAFT_ENTRY_COMMAND, 10);
    }
    fixture_wait_durable(f, fixture_submit(f, &(struct fixture_write){.truncate_from = 5}));
    fixture_reopen(f);
    assert_int_equal(f->recovered.configs[0].index, 3);
    assert_int_equal(f->recovered.configs[1].index, 1);
}

static void what_waits_shares_a_sync(void **state)
{
    struct fixture *f = *state;
    static uint64_t ids[FIXTURE_MAX_DURABLE];
    enum { WRITES = 2000 };
    uint64_t last = 0;
    f->segment_bytes = 1024 * 1024;
    fixture_open(f, true);
    for (uint32_t i = 0; i < WRITES; i++)
        last = fixture_submit(f, &(struct fixture_write){.term = 1, .count = 1, .bytes = hundred});
    fixture_wait_durable(f, last);
    uint32_t count = fixture_durable(f, ids);
    assert_true(count < WRITES);
    assert_int_equal(ids[count - 1], last);
    for (uint32_t i = 1; i < count; i++)
        assert_true(ids[i] > ids[i - 1]);
    fixture_reopen(f);
}

static void closing_writes_what_was_submitted(void **state)
{
    struct fixture *f = *state;
    fixture_open(f, true);
    for (uint32_t i = 0; i < 1000; i++)
        fixture_submit(f, &(struct fixture_write){.term = 1, .count = 3, .bytes = hundred});
    fixture_reopen(f);
    assert_int_equal(f->recovered.last_index, 3000);
}

static void small_segments_are_rolled_over(void **state)
{
    struct fixture *f = *state;
    uint64_t first, last;
    f->segment_bytes = 8 * 1024;
    fixture_open(f, true);
    for (uint32_t i = 0; i < 60; i++) {
        fixture_append(f, 1 + i / 7, i % 9 ? RAFT_ENTRY_COMMAND : RAFT_ENTRY_CONFIG, i * 97);
        if (i % 11 == 0)
            fixture_submit(f, &(struct fixture_write){.hard = {.term = 1 + i / 7, .vote = i}});
    }
    assert_true(fixture_segments(f, &first, &last) > 10);
    assert_int_equal(first, 1);
    fixture_read_all(f);
    fixture_reopen(f);
    fixture_append(f, 20, RAFT_ENTRY_COMMAND, 7000);
    fixture_reopen(f);
}

/* More waits than a segment holds: it takes several batches. */
static void a_batch_never_outgrows_its_segment(void **state)
{
    struct fixture *f = *state;
    uint64_t first, last;
    f->segment_bytes = 4096;
    fixture_open(f, true);
    for (uint32_t i = 0; i < 300; i++)
        fixture_submit(f, &(struct fixture_write){.term = 1, .count = 5, .bytes = hundred});
    fixture_wait_durable(f, f->next_id - 1);
    assert_true(fixture_segments(f, &first, &last) > 30);
    fixture_reopen(f);
}

/* A batch that ends with its segment leaves no zeroes behind it. */
static void a_segment_can_be_filled_to_its_last_sector(void **state)
{
    struct fixture *f = *state;
    uint64_t first, last;
    f->segment_bytes = 4096;
    fixture_open(f, true);
    for (uint32_t bytes = 3299; bytes < 3499; bytes++)
        fixture_append(f, 1, RAFT_ENTRY_COMMAND, bytes);
    assert_int_equal(fixture_segments(f, &first, &last), 200);
    fixture_reopen(f);
}

static void reads_are_bounded(void **state)
{
    struct fixture *f = *state;
    uint32_t count;
    f->segment_bytes = 0;
    fixture_open(f, true);
    for (uint32_t i = 0; i < 10; i++)
        fixture_append(f, 1, RAFT_ENTRY_COMMAND, 300 * 1024);
    fixture_append(f, 1, RAFT_ENTRY_COMMAND, RAFT_MAX_ENTRY_BYTES);
    assert_int_equal(fixture_read(f, 1, 10, &count), 0);
    assert_int_equal(count, RAFT_MAX_APPEND_BYTES / (300 * 1024));
    assert_int_equal(fixture_read(f, 2, 3, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(fixture_read(f, 11, 11, &count), 0);
    assert_int_equal(count, 1);
    for (uint32_t i = 0; i < 1000; i++)
        fixture_submit(f, &(struct fixture_write){.term = 1, .count = 1, .kind = RAFT_ENTRY_NOOP});
    fixture_wait_durable(f, f->next_id - 1);
    assert_int_equal(fixture_read(f, 12, UINT64_MAX - 1, &count), 0);
    assert_int_equal(count, RAFT_MAX_APPEND_ENTRIES);
    assert_int_equal(fixture_read(f, 1000, UINT64_MAX, &count), 0);
    assert_int_equal(count, 12);
}

static void reads_outside_are_stale(void **state)
{
    struct fixture *f = *state;
    uint32_t count;
    fixture_open(f, true);
    assert_int_equal(fixture_read(f, 1, 1, &count), -ESTALE);
    fixture_append(f, 1, RAFT_ENTRY_COMMAND, 10);
    assert_int_equal(fixture_read(f, 0, 1, &count), -ESTALE);
    assert_int_equal(fixture_read(f, 2, 3, &count), -ESTALE);
    assert_int_equal(fixture_read(f, 1, 1, &count), 0);
}

static void a_restart_starts_over_behind_its_index(void **state)
{
    struct fixture *f = *state;
    uint64_t first, last;
    fixture_open(f, true);
    for (uint32_t i = 0; i < 30; i++)
        fixture_append(f, 1, RAFT_ENTRY_CONFIG, 9000);
    fixture_wait_durable(
        f, fixture_submit(f, &(struct fixture_write){.hard = {.term = 3, .vote = 5}}));
    fixture_reopen(f);
    raft_log_restart(f->log, 1000, 3);
    f->model.base_index = f->model.last_index = 1000;
    f->model.entries[1000].term = 3;
    fixture_segments(f, &first, &last);
    fixture_wait_first(f, last);
    fixture_append(f, 4, RAFT_ENTRY_COMMAND, 10);
    fixture_read_all(f);
    fixture_reopen(f);
    raft_log_restart(f->log, 2000, 4);
    f->model.base_index = f->model.last_index = 2000;
    f->model.entries[2000].term = 4;
    fixture_reopen(f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(entries_of_all_sizes_come_back),
        TEST(every_kind_and_the_hard_state_come_back),
        TEST(a_truncation_replaces_the_tail),
        TEST(a_truncation_brings_the_older_configurations_back),
        TEST(what_waits_shares_a_sync),
        TEST(closing_writes_what_was_submitted),
        TEST(small_segments_are_rolled_over),
        TEST(a_batch_never_outgrows_its_segment),
        TEST(a_segment_can_be_filled_to_its_last_sector),
        TEST(reads_are_bounded),
        TEST(reads_outside_are_stale),
        TEST(a_restart_starts_over_behind_its_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
