/* SPDX-License-Identifier: MIT */
/* test_recover.c - a torn tail is cut, damage is refused, and neither is ever taken for the other.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "fixture.h"

enum { SECTOR = 512, MOST_SECTORS = 8 };

static const uint32_t three[] = {700, 0, 900};

/* A log of some batches, closed. */
static void make_log(struct fixture *f)
{
    f->segment_bytes = 64 * 1024;
    fixture_open(f, true);
    fixture_append(f, 1, RAFT_ENTRY_CONFIG, 300);
    for (uint32_t i = 0; i < 5; i++)
        fixture_append(f, 2, RAFT_ENTRY_COMMAND, 100 + 400 * i);
    fixture_wait_durable(
        f, fixture_submit(f, &(struct fixture_write){.hard = {.term = 3, .vote = 9}}));
    fixture_close(f);
}

static void add_batch(struct fixture *f)
{
    fixture_open(f, false);
    fixture_wait_durable(
        f, fixture_submit(f, &(struct fixture_write){.term = 3, .count = 3, .bytes = three}));
    fixture_close(f);
}

/* The sectors of the last batch, by what it changed in the file. */
static uint32_t changed_sectors(const uint8_t *before, const uint8_t *after, uint32_t bytes,
                                uint32_t sectors[MOST_SECTORS])
{
    uint32_t n = 0;
    for (uint32_t at = 0; at < bytes; at += SECTOR)
        if (memcmp(before + at, after + at, SECTOR) != 0) {
            assert_true(n < MOST_SECTORS);
            sectors[n++] = at;
        }
    return n;
}

/* A power cut keeps any subset of the sectors of the batch in flight. */
static void any_subset_of_the_last_batch_is_a_torn_tail(void **state)
{
    struct fixture *f = *state;
    char path[FIXTURE_PATH_BYTES * 2];
    uint32_t bytes, sectors[MOST_SECTORS];
    make_log(f);
    fixture_segment(f, 0, path);
    uint8_t *before = fixture_load(path, &bytes);
    struct model old = f->model;
    add_batch(f);
    uint8_t *after = fixture_load(path, &bytes);
    uint8_t *torn = memory_alloc(bytes);
    struct model whole = f->model;
    uint32_t n = changed_sectors(before, after, bytes, sectors);
    assert_true(n >= 3);
    for (uint32_t lost = 0; lost < 1u << n; lost++) {
        memcpy(torn, after, bytes);
        for (uint32_t i = 0; i < n; i++)
            if (lost >> i & 1)
                memset(torn + sectors[i], 0, SECTOR);
        fixture_store(path, torn, bytes);
        f->model = lost ? old : whole;
        fixture_open(f, false);
        assert_int_equal(f->recovered.torn, lost != 0 && lost != (1u << n) - 1);
        fixture_append(f, 4, RAFT_ENTRY_COMMAND, 50); /* and the log goes on from there */
        fixture_reopen(f);
        assert_false(f->recovered.torn);
        fixture_close(f);
    }
    memory_free(before);
    memory_free(after);
    memory_free(torn);
}

/* Three segments, with something of every kind in each but the last; closed. */
static void make_three_segments(struct fixture *f)
{
    f->segment_bytes = 4096;
    fixture_open(f, true);
    for (uint32_t i = 0; i < 6; i++) {
        fixture_append(f, 1, i % 2 ? RAFT_ENTRY_COMMAND : RAFT_ENTRY_CONFIG, 700);
        fixture_wait_durable(
            f, fixture_submit(f, &(struct fixture_write){.hard = {.term = 2, .vote = i + 1}}));
    }
    fixture_wait_durable(
        f, fixture_submit(f, &(struct fixture_write){.truncate_from = f->model.last_index}));
    fixture_close(f);
}

/*
 * Whatever bit flips, in records, headers, padding or in what was never written: the log is refused
 * and says where. One bit in seven, which is at least one of every byte.
 */
static void every_flipped_bit_is_refused(void **state)
{
    struct fixture *f = *state;
    char path[FIXTURE_PATH_BYTES * 2];
    uint64_t first, last;
    uint32_t bytes;
    make_three_segments(f);
    assert_int_equal(fixture_segments(f, &first, &last), 3);
    for (uint64_t number = first; number <= last; number++) {
        fixture_segment(f, number, path);
        uint8_t *image = fixture_load(path, &bytes);
        for (uint32_t bit = (uint32_t)number; bit < bytes * 8; bit += FIXTURE_SLOW ? 61 : 7) {
            image[bit / 8] ^= (uint8_t)(1u << bit % 8);
            fixture_store(path, image, bytes);
            assert_int_equal(fixture_try_open(f, false), -EUCLEAN);
            assert_non_null(strstr(f->why, path));
            image[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        fixture_store(path, image, bytes);
        memory_free(image);
    }
    fixture_open(f, false);
}

/*
 * The last batch's file ends in zeroes from any byte on. Disks write whole sectors, so only at a
 * sector's edge that is a torn batch for certain; elsewhere it is that or damage, never entries.
 */
static void a_batch_cut_at_any_byte_is_never_served(void **state)
{
    struct fixture *f = *state;
    char path[FIXTURE_PATH_BYTES * 2];
    uint32_t bytes, sectors[MOST_SECTORS];
    make_log(f);
    fixture_segment(f, 0, path);
    uint8_t *before = fixture_load(path, &bytes);
    struct model old = f->model;
    add_batch(f);
    uint8_t *after = fixture_load(path, &bytes), *torn = memory_alloc(bytes);
    struct model whole = f->model;
    uint32_t n = changed_sectors(before, after, bytes, sectors);
    for (uint32_t at = sectors[0]; at < sectors[n - 1] + SECTOR; at += FIXTURE_SLOW ? 32 : 1) {
        memcpy(torn, after, bytes);
        memset(torn + at, 0, bytes - at);
        bool same = memcmp(torn, after, bytes) == 0;
        fixture_store(path, torn, bytes);
        f->model = same ? whole : old;
        int status = fixture_try_open(f, false);
        if (status < 0) {
            assert_int_equal(status, -EUCLEAN);
            assert_true(at % SECTOR != 0 && !same);
            continue;
        }
        assert_int_equal(f->recovered.last_index, f->model.last_index);
        assert_int_equal(f->recovered.torn, at > sectors[0] && !same);
        fixture_read_all(f);
        fixture_close(f);
    }
    memory_free(before);
    memory_free(after);
    memory_free(torn);
}

/* A sector's tag must not turn into "never written" by one bit. */
static void no_single_bit_makes_a_batch_torn(void **state)
{
    struct fixture *f = *state;
    char path[FIXTURE_PATH_BYTES * 2];
    uint32_t bytes, sectors[MOST_SECTORS];
    make_log(f);
    fixture_segment(f, 0, path);
    for (uint32_t batch = 0; batch < 9; batch++) { /* through a power of two */
        uint8_t *before = fixture_load(path, &bytes);
        add_batch(f);
        uint8_t *after = fixture_load(path, &bytes);
        uint32_t n = changed_sectors(before, after, bytes, sectors);
        for (uint32_t i = 0; i < n * 32; i++) {
            uint8_t *byte = after + sectors[i / 32] + i % 32 / 8;
            *byte ^= (uint8_t)(1u << i % 8);
            fixture_store(path, after, bytes);
            assert_int_equal(fixture_try_open(f, false), -EUCLEAN);
            *byte ^= (uint8_t)(1u << i % 8);
        }
        fixture_store(path, after, bytes);
        memory_free(before);
        memory_free(after);
    }
}

static void what_is_missing_or_foreign_is_refused(void **state)
{
    struct fixture *f = *state;
    char path[FIXTURE_PATH_BYTES * 2];
    uint64_t first, last;
    f->segment_bytes = 8 * 1024;
    fixture_open(f, true);
    for (uint32_t i = 0; i < 40; i++)
        fixture_append(f, 1, RAFT_ENTRY_COMMAND, 1000);
    fixture_close(f);
    assert_true(fixture_segments(f, &first, &last) > 3);

    struct raft_log_options other = {
        .dir = f->dir, .incarnation = FIXTURE_INCARNATION + 1, .segment_bytes = 8 * 1024};
    assert_int_equal(raft_log_open(&other, &f->log, &f->recovered, f->why), -ESTALE);

    fixture_segment(f, first + 1, path);
    char away[sizeof(path) + 8];
    snprintf(away, sizeof(away), "%s/../away", f->dir);
    assert_int_equal(rename(path, away), 0);
    assert_int_equal(fixture_try_open(f, false), -EUCLEAN);
    assert_int_equal(rename(away, path), 0);
    fixture_open(f, false);
    fixture_close(f);

    char command[sizeof(path)];
    snprintf(command, sizeof(command), "rm '%s'/*", f->dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(fixture_try_open(f, false), -EUCLEAN);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(any_subset_of_the_last_batch_is_a_torn_tail), TEST(every_flipped_bit_is_refused),
        TEST(a_batch_cut_at_any_byte_is_never_served),     TEST(no_single_bit_makes_a_batch_torn),
        TEST(what_is_missing_or_foreign_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
