/* SPDX-License-Identifier: MIT */
/* The frames of a transaction: written together, in order, before it counts as committed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "store/gather.h"
#include "store/wal.h"

enum { FILE_BYTES = 1 << 20, LOG_HEADER_BYTES = 32 };

/* The log beneath: what was written, and by how many calls. */
static uint8_t disk[FILE_BYTES], expected[FILE_BYTES];
static unsigned calls, fail_at; /* fail_at: the call that finds no room */
static sqlite3_file file;
static struct gather g;

static int disk_write(sqlite3_file *f, const void *data, int bytes, sqlite3_int64 offset)
{
    (void)f;
    if (++calls == fail_at)
        return SQLITE_FULL;
    assert_true(bytes < 128 * 1024 && offset + bytes <= FILE_BYTES);
    memcpy(disk + offset, data, (size_t)bytes);
    return SQLITE_OK;
}

static int setup(void **state)
{
    static const sqlite3_io_methods methods = {.iVersion = 1, .xWrite = disk_write};
    (void)state;
    file.pMethods = &methods;
    memset(disk, 0, sizeof(disk));
    memset(expected, 0, sizeof(expected));
    calls = fail_at = 0;
    gather_init(&g);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    gather_free(&g);
    return 0;
}

static int put(int64_t offset, const uint8_t *data, int bytes)
{
    memcpy(expected + offset, data, (size_t)bytes);
    return gather_write(&g, &file, data, bytes, offset);
}

static int put_log_header(void)
{
    uint8_t header[LOG_HEADER_BYTES] = {0x37, 0x7f};
    return put(0, header, sizeof(header));
}

static int64_t frame_at(int frame)
{
    return LOG_HEADER_BYTES + (int64_t)frame * WAL_FRAME_BYTES;
}

static int put_header(int frame, bool commits, uint8_t fill)
{
    uint8_t header[WAL_FRAME_HEADER_BYTES];
    memset(header, fill, sizeof(header));
    memset(header + 4, 0, 4);
    header[7] = commits ? 9 : 0;
    return put(frame_at(frame), header, sizeof(header));
}

static int put_page(int frame, uint8_t fill)
{
    uint8_t page[VFS_PAGE_BYTES];
    memset(page, fill, sizeof(page));
    return put(frame_at(frame) + WAL_FRAME_HEADER_BYTES, page, sizeof(page));
}

static int put_frame(int frame, bool commits, uint8_t fill)
{
    int rc = put_header(frame, commits, fill);
    return rc == SQLITE_OK ? put_page(frame, fill) : rc;
}

static bool all_is_written(void)
{
    return memcmp(disk, expected, FILE_BYTES) == 0;
}

static void a_transaction_is_one_write(void **state)
{
    (void)state;
    assert_int_equal(put_log_header(), SQLITE_OK);
    assert_int_equal(calls, 1);
    for (int first = 0; first < 12; first += 4) {
        unsigned before = calls;
        for (int i = 0; i < 3; i++)
            assert_int_equal(put_frame(first + i, false, (uint8_t)(1 + first + i)), SQLITE_OK);
        assert_int_equal(put_header(first + 3, true, 77), SQLITE_OK);
        assert_int_equal(calls, before);
        assert_int_equal(put_page(first + 3, 77), SQLITE_OK);
        assert_int_equal(calls, before + 1);
        assert_true(all_is_written());
    }
}

static void a_long_one_is_few(void **state)
{
    (void)state;
    enum { FRAMES = 200 };
    for (int i = 0; i < FRAMES; i++)
        assert_int_equal(put_frame(i, i == FRAMES - 1, (uint8_t)(1 + i)), SQLITE_OK);
    assert_in_range(calls, FRAMES * WAL_FRAME_BYTES / (128 * 1024), FRAMES / 16);
    assert_true(all_is_written());
}

/* A commit with wrong sums: SQLite appends its last frame, and sums up the others in place. */
static void what_is_written_over_goes_straight_through(void **state)
{
    (void)state;
    assert_int_equal(put_frame(0, false, 1), SQLITE_OK);
    assert_int_equal(put_frame(1, false, 2), SQLITE_OK);
    assert_int_equal(put_page(0, 3), SQLITE_OK);
    assert_true(all_is_written());
    assert_int_equal(put_frame(2, true, 4), SQLITE_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(put_header(i, i == 2, (uint8_t)(10 + i)), SQLITE_OK);
        assert_true(all_is_written());
    }
}

static void after_a_rollback_the_place_is_written_anew(void **state)
{
    (void)state;
    assert_int_equal(put_frame(0, true, 1), SQLITE_OK);
    assert_int_equal(put_frame(1, false, 2), SQLITE_OK); /* spilled, and never committed */
    assert_int_equal(put_frame(2, false, 3), SQLITE_OK);
    for (int i = 1; i < 5; i++) {
        assert_int_equal(put_frame(i, true, (uint8_t)(20 + i)), SQLITE_OK);
        assert_true(all_is_written());
    }
}

static void the_log_begins_anew(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(put_frame(i, i == 3, (uint8_t)(1 + i)), SQLITE_OK);
    assert_int_equal(put_log_header(), SQLITE_OK);
    unsigned before = calls;
    for (int i = 0; i < 4; i++)
        assert_int_equal(put_frame(i, i == 3, (uint8_t)(9 + i)), SQLITE_OK);
    assert_int_equal(calls, before + 1);
    assert_true(all_is_written());
}

static void a_commit_without_room_fails_and_is_forgotten(void **state)
{
    (void)state;
    assert_int_equal(put_frame(0, true, 1), SQLITE_OK);
    fail_at = calls + 1;
    assert_int_equal(put_frame(1, false, 2), SQLITE_OK);
    assert_int_equal(put_frame(2, true, 3), SQLITE_FULL);
    assert_int_equal(gather_flush(&g, &file), SQLITE_OK);
    assert_int_equal(calls, fail_at); /* it comes to nothing later */
    assert_int_equal(put_frame(1, false, 4), SQLITE_OK);
    assert_int_equal(put_frame(2, true, 5), SQLITE_OK);
    assert_true(all_is_written());
}

static void a_spill_without_room_fails(void **state)
{
    (void)state;
    int rc = SQLITE_OK, frame = 0;
    fail_at = 1;
    while (rc == SQLITE_OK && frame < 200)
        rc = put_frame(frame++, false, 1);
    assert_int_equal(rc, SQLITE_FULL);
    assert_int_equal(calls, 1);
}

static void a_flush_writes_what_is_held(void **state)
{
    (void)state;
    assert_int_equal(put_frame(0, false, 1), SQLITE_OK);
    assert_int_equal(put_header(1, true, 2), SQLITE_OK);
    assert_int_equal(calls, 0);
    assert_int_equal(gather_flush(&g, &file), SQLITE_OK);
    assert_true(all_is_written());
    assert_int_equal(put_page(1, 2), SQLITE_OK); /* its header is gone already */
    assert_true(all_is_written());
    assert_int_equal(gather_flush(&g, &file), SQLITE_OK);
    assert_int_equal(calls, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(a_transaction_is_one_write),
        T(a_long_one_is_few),
        T(what_is_written_over_goes_straight_through),
        T(after_a_rollback_the_place_is_written_anew),
        T(the_log_begins_anew),
        T(a_commit_without_room_fails_and_is_forgotten),
        T(a_spill_without_room_fails),
        T(a_flush_writes_what_is_held),
    };
    return cmocka_run_group_tests_name("gather", tests, NULL, NULL);
}
