/* SPDX-License-Identifier: MIT */
/* test_space.c - segments are made ahead, and what becomes of a log whose disk is full. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "disk.h"
#include "fixture.h"

enum { SEGMENT = 16 * 1024, ENTRY = 1000 };

static const uint32_t entry[] = {ENTRY};
static const uint32_t much[] = {ENTRY, ENTRY, ENTRY, ENTRY, ENTRY, ENTRY, ENTRY, ENTRY};

static void a_moment(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* The inode of a file of the log, once it is there. */
static ino_t wait_for(struct fixture *f, const char *name)
{
    char path[FIXTURE_PATH_BYTES * 2];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", f->dir, name);
    while (stat(path, &st) < 0)
        a_moment();
    return st.st_ino;
}

static bool exists(struct fixture *f, const char *name)
{
    char path[FIXTURE_PATH_BYTES * 2];
    snprintf(path, sizeof(path), "%s/%s", f->dir, name);
    return access(path, F_OK) == 0;
}

static uint64_t submit(struct fixture *f, bool reserve)
{
    return fixture_submit(
        f, &(struct fixture_write){.term = 1, .count = 1, .bytes = entry, .reserve = reserve});
}

static bool is_durable(struct fixture *f, uint64_t id)
{
    static uint64_t ids[FIXTURE_MAX_DURABLE];
    uint32_t count = fixture_durable(f, ids);
    return count > 0 && ids[count - 1] >= id;
}

/* An ordinary write that finds no room: its id. Everything before it is durable. */
static uint64_t fill(struct fixture *f)
{
    for (;;) {
        uint64_t id = submit(f, false);
        for (uint32_t i = 0; i < 100 && !is_durable(f, id); i++)
            a_moment();
        if (!is_durable(f, id))
            return id;
    }
}

static void open_with_reserve(struct fixture *f)
{
    f->segment_bytes = SEGMENT;
    disk_set_room(DISK_PLAIN, UINT32_MAX);
    fixture_open(f, true);
    wait_for(f, "reserve");
}

static void the_next_segment_is_there_before_it_is_needed(void **state)
{
    struct fixture *f = *state;
    open_with_reserve(f);
    assert_false(exists(f, "spare"));
    for (uint32_t i = 0; i < 5; i++)
        fixture_append(f, 1, RAFT_ENTRY_COMMAND, ENTRY);
    ino_t spare = wait_for(f, "spare"), reserve = wait_for(f, "reserve");
    fixture_reopen(f); /* what was made ahead is still good */
    for (uint32_t i = 0; i < 10; i++)
        fixture_append(f, 1, RAFT_ENTRY_COMMAND, ENTRY);
    assert_int_equal(wait_for(f, "00000002.seg"), spare);
    assert_int_equal(wait_for(f, "reserve"), reserve);
    fixture_reopen(f);
}

static void idle_logs_write_nothing(void **state)
{
    struct fixture *f = *state;
    open_with_reserve(f);
    for (uint32_t full = 0; full < 2; full++) {
        if (full) {
            disk_set_room(DISK_PLAIN, 0);
            for (uint32_t i = 0; i < 5; i++)
                fixture_append(f, 1, RAFT_ENTRY_COMMAND, ENTRY);
            fixture_wait_space(f, true);
        }
        uint64_t changes = disk_changes();
        for (uint32_t i = 0; i < (full ? 1200 : 100); i++) /* longer than until it is tried again */
            a_moment();
        assert_int_equal(disk_changes(), changes);
    }
    disk_set_room(DISK_PLAIN, UINT32_MAX);
    fixture_wait_space(f, false);
    fixture_reopen(f);
}

static void only_the_reserve_passes_on_a_full_disk(struct fixture *f, enum disk_kind kind)
{
    open_with_reserve(f);
    disk_set_room(kind, 0);
    uint64_t stuck = fill(f);
    fixture_wait_space(f, true);
    assert_true(exists(f, "reserve"));
    assert_false(exists(f, "spare"));

    uint64_t id = submit(f, true); /* takes along what waits before it */
    fixture_wait_durable(f, id);
    assert_true(is_durable(f, stuck));
    assert_false(exists(f, "reserve"));
    stuck = submit(f, false); /* and there the segment is the reserve's: nothing else goes in */
    for (uint32_t i = 0; i < 50; i++)
        a_moment();
    assert_false(is_durable(f, stuck));
    for (uint32_t i = 0; i < 4; i++)
        fixture_wait_durable(f, submit(f, true));
    assert_true(is_durable(f, stuck));

    stuck = submit(f, false);
    disk_set_room(kind, 2);
    fixture_wait_space(f, false);
    fixture_wait_durable(f, stuck);
    assert_true(exists(f, "reserve"));
    fixture_read_all(f);
    fixture_reopen(f);
    disk_set_room(DISK_PLAIN, UINT32_MAX);
    for (uint32_t i = 0; i < 40; i++)
        fixture_append(f, 2, RAFT_ENTRY_COMMAND, ENTRY);
    fixture_reopen(f);
}

static void a_full_disk(void **state)
{
    only_the_reserve_passes_on_a_full_disk(*state, DISK_PLAIN);
}

static void a_quota(void **state)
{
    only_the_reserve_passes_on_a_full_disk(*state, DISK_QUOTA);
}

static void a_full_disk_that_cannot_allocate(void **state)
{
    only_the_reserve_passes_on_a_full_disk(*state, DISK_NO_ALLOCATE);
}

static void without_even_a_reserve_the_end_of_the_segment_is_kept(void **state)
{
    struct fixture *f = *state;
    f->segment_bytes = SEGMENT;
    disk_set_room(DISK_PLAIN, 1);
    fixture_open(f, true);
    uint64_t stuck = fill(f);
    fixture_wait_space(f, true);
    assert_false(exists(f, "reserve"));
    fixture_wait_durable(f,
                         fixture_submit(f, &(struct fixture_write){.hard = {.term = 2, .vote = 1},
                                                                   .reserve = true}));
    assert_true(is_durable(f, stuck));
    stuck = submit(f, false);
    disk_set_room(DISK_PLAIN, 2);
    fixture_wait_space(f, false);
    fixture_wait_durable(f, stuck);
    fixture_reopen(f);
}

static void dropped_segments_make_room(void **state)
{
    struct fixture *f = *state;
    open_with_reserve(f);
    for (uint32_t i = 0; i < 60; i++)
        fixture_append(f, 1, RAFT_ENTRY_COMMAND, ENTRY);
    disk_set_room(DISK_PLAIN, 0);
    uint64_t stuck = fill(f), index = f->model.last_index - 1;
    fixture_wait_space(f, true);
    raft_log_compact(f->log, index);
    fixture_wait_space(f, false);
    fixture_wait_durable(f, stuck);
    fixture_close(f);
    fixture_open_compacted(f, index);
}

static void a_restart_may_use_the_reserve(void **state)
{
    struct fixture *f = *state;
    uint64_t first, last;
    open_with_reserve(f);
    for (uint32_t i = 0; i < 60; i++)
        fixture_append(f, 1, RAFT_ENTRY_COMMAND, ENTRY);
    disk_set_room(DISK_PLAIN, 0);
    fill(f);
    fixture_submit(
        f, &(struct fixture_write){.restart_index = 500, .restart_term = 1, .reserve = true});
    uint64_t id = fixture_submit(f, &(struct fixture_write){.term = 2, .count = 8, .bytes = much});
    fixture_wait_durable(f, id); /* the old segments went, and made room */
    fixture_segments(f, &first, &last);
    fixture_reopen(f);
    disk_set_room(DISK_PLAIN, UINT32_MAX);
}

/* What found no room was never acknowledged. */
static void closing_gives_up_what_finds_no_room(void **state)
{
    struct fixture *f = *state;
    open_with_reserve(f);
    disk_set_room(DISK_PLAIN, 0);
    fill(f);
    f->model.last_index--;
    fixture_reopen(f);
    disk_set_room(DISK_PLAIN, UINT32_MAX);
    for (uint32_t i = 0; i < 20; i++)
        fixture_append(f, 1, RAFT_ENTRY_COMMAND, ENTRY);
    fixture_reopen(f);
}

/* One write fails until the log is closed, and what comes after it would not: no gap is left. */
static void closing_gives_up_all_behind_a_write_that_fails(void **state)
{
    struct fixture *f = *state;
    open_with_reserve(f);
    fixture_append(f, 1, RAFT_ENTRY_COMMAND, ENTRY);
    disk_fail_writes(4 * ENTRY);
    fixture_submit(f, &(struct fixture_write){.term = 1, .count = 8, .bytes = much});
    while (disk_failures() == 0)
        a_moment();
    submit(f, false);
    fixture_close(f);
    disk_fail_writes(UINT32_MAX);
    f->model.last_index -= 9;
    fixture_open(f, false);
    fixture_append(f, 1, RAFT_ENTRY_COMMAND, ENTRY);
    fixture_reopen(f);
}

static void unfinished_files_go_at_the_next_start(void **state)
{
    struct fixture *f = *state;
    char path[FIXTURE_PATH_BYTES * 2];
    open_with_reserve(f);
    fixture_close(f);
    snprintf(path, sizeof(path), "%s/spare.new", f->dir);
    fixture_store(path, "half", 4);
    snprintf(path, sizeof(path), "%s/reserve", f->dir);
    fixture_store(path, "too short", 9);
    fixture_open(f, false);
    assert_false(exists(f, "spare.new"));
    struct stat st;
    while (stat(path, &st) < 0 || st.st_size != SEGMENT)
        a_moment();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_next_segment_is_there_before_it_is_needed),
        TEST(idle_logs_write_nothing),
        TEST(a_full_disk),
        TEST(a_quota),
        TEST(a_full_disk_that_cannot_allocate),
        TEST(without_even_a_reserve_the_end_of_the_segment_is_kept),
        TEST(dropped_segments_make_room),
        TEST(a_restart_may_use_the_reserve),
        TEST(closing_gives_up_what_finds_no_room),
        TEST(closing_gives_up_all_behind_a_write_that_fails),
        TEST(unfinished_files_go_at_the_next_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
