/* SPDX-License-Identifier: MIT */
/* A snapshot on its way: sent in pieces that are checked, received whole or gone on with later. */
#include "harness.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/snapshot_sink.h"
#include "store/snapshot_source.h"
#include "store/vfs.h"

#define ROOT STORE_ROOT_INO

enum { PATH_BYTES = 256, PIECE_BYTES = 16 * VFS_PAGE_BYTES };

static const atomic_bool never;
static char why[STORE_WHY_BYTES];
static char from_dir[128], to_dir[128];
static struct snapshot sent;
static struct snapshot_source *source;
static struct snapshot_sink *sink;
static uint8_t piece[PIECE_BYTES];

static void take(struct snapshot *out)
{
    assert_int_equal(snapshot_take(store, from_dir, &never, out), 0);
}

static int setup(void **state)
{
    int error = harness_setup(state);
    struct snapshot found[SNAPSHOT_KEPT];
    snprintf(from_dir, sizeof(from_dir), "%s/snapshots", top);
    snprintf(to_dir, sizeof(to_dir), "%s/received", top);
    if (error == 0)
        error = snapshot_open_dir(from_dir, found, why);
    if (error == 0)
        error = snapshot_open_dir(to_dir, found, why);
    static char value[300000];
    memset(value, 'v', sizeof(value) - 1);
    do_put(ROOT, "big", value);
    take(&sent);
    return error ? error : snapshot_source_open(&source, from_dir, 0, sent.index);
}

static int teardown(void **state)
{
    snapshot_source_close(source);
    return harness_teardown(state);
}

static uint32_t read_piece(uint64_t offset)
{
    uint64_t left = sent.bytes - offset;
    uint32_t bytes = left < PIECE_BYTES ? (uint32_t)left : PIECE_BYTES;
    assert_int_equal(snapshot_source_read(source, offset, bytes, piece), 0);
    return bytes;
}

static void open_sink(void)
{
    assert_int_equal(snapshot_sink_open(&sink, to_dir, &sent), 0);
}

static void send_until(uint64_t end)
{
    while (snapshot_sink_offset(sink) < end) {
        uint64_t offset = snapshot_sink_offset(sink);
        uint32_t bytes = read_piece(offset);
        assert_int_equal(snapshot_sink_write(sink, offset, piece, bytes), 0);
    }
}

static void finish(void)
{
    struct snapshot got;
    char command[600];
    send_until(sent.bytes);
    assert_int_equal(snapshot_sink_finish(sink, &got), 0);
    snapshot_sink_close(sink);
    assert_int_equal(got.id, sent.id);
    assert_int_equal(got.index, sent.index);
    assert_int_equal(got.bytes, sent.bytes);
    assert_string_equal(got.name, sent.name);
    snprintf(command, sizeof(command), "cmp %s/%s %s/%s", from_dir, sent.name, to_dir, got.name);
    assert_int_equal(system(command), 0);
    assert_int_equal(snapshot_sink_left(to_dir, &got), -ENOENT);
}

static void partial_path(char path[PATH_BYTES])
{
    struct snapshot left;
    assert_int_equal(snapshot_sink_left(to_dir, &left), 0);
    snprintf(path, PATH_BYTES, "%s/%s", to_dir, left.name);
}

static void flip(const char *path, uint64_t at)
{
    uint8_t byte;
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

static void it_arrives_as_it_was_sent(void **state)
{
    (void)state;
    const struct snapshot *info = snapshot_source_info(source);
    assert_int_not_equal(info->id, 0);
    assert_int_equal(info->id, sent.id);
    assert_int_equal(info->index, store_applied_index(store));
    assert_int_equal(info->term, 1);
    open_sink();
    finish();
}

static void the_wanted_one_is_found(void **state)
{
    (void)state;
    struct snapshot_source *other;
    struct snapshot newer;
    do_put(ROOT, "key", "value");
    take(&newer);
    assert_int_not_equal(newer.id, sent.id);
    assert_int_equal(snapshot_source_open(&other, from_dir, 0, 1), 0);
    assert_int_equal(snapshot_source_info(other)->id, newer.id);
    snapshot_source_close(other);
    assert_int_equal(snapshot_source_open(&other, from_dir, sent.id, 1), 0);
    assert_int_equal(snapshot_source_info(other)->index, sent.index);
    snapshot_source_close(other);
    assert_int_equal(snapshot_source_open(&other, from_dir, sent.id, newer.index), -ENOENT);
    assert_int_equal(snapshot_source_open(&other, from_dir, 0, newer.index + 1), -ENOENT);
    assert_int_equal(snapshot_source_open(&other, from_dir, newer.id ^ sent.id, 1), -ENOENT);
}

static void one_that_is_pushed_out_is_read_to_its_end(void **state)
{
    (void)state;
    struct snapshot newer;
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/%s", from_dir, sent.name);
    open_sink();
    send_until(PIECE_BYTES);
    for (int i = 0; i < SNAPSHOT_KEPT; i++) {
        do_put(ROOT, "key", "value");
        take(&newer);
    }
    assert_int_not_equal(access(path, F_OK), 0);
    send_until(sent.bytes);
    assert_int_equal(snapshot_sink_finish(sink, &newer), 0);
    snapshot_sink_close(sink);
    assert_int_equal(newer.id, sent.id);
}

static void it_goes_on_where_it_was(void **state)
{
    (void)state;
    struct snapshot left;
    assert_int_equal(snapshot_sink_left(to_dir, &left), -ENOENT);
    open_sink();
    send_until(3 * PIECE_BYTES);
    snapshot_sink_close(sink);
    assert_int_equal(snapshot_sink_left(to_dir, &left), 0);
    assert_int_equal(left.id, sent.id);
    assert_int_equal(left.term, sent.term);
    assert_int_equal(left.index, sent.index);
    assert_int_equal(left.bytes, sent.bytes);
    open_sink();
    assert_int_equal(snapshot_sink_offset(sink), 3 * PIECE_BYTES);
    send_until(sent.bytes);
    snapshot_sink_close(sink);
    open_sink(); /* all of it had come */
    assert_int_equal(snapshot_sink_offset(sink), sent.bytes);
    finish();
}

static void another_one_starts_anew(void **state)
{
    (void)state;
    struct snapshot other = sent, left;
    other.id ^= 1;
    open_sink();
    send_until(2 * PIECE_BYTES);
    snapshot_sink_close(sink);
    assert_int_equal(snapshot_sink_open(&sink, to_dir, &other), 0);
    assert_int_equal(snapshot_sink_offset(sink), 0);
    assert_int_equal(snapshot_sink_left(to_dir, &left), 0);
    assert_int_equal(left.id, other.id);
    snapshot_sink_discard(sink);
    assert_int_equal(snapshot_sink_left(to_dir, &left), -ENOENT);
}

/* What a power cut leaves of the tail: zeroes, half a page, or too much. */
static void a_torn_tail_is_cut(void **state)
{
    (void)state;
    const off_t ends[] = {2 * PIECE_BYTES + 100, 3 * PIECE_BYTES, (off_t)sent.bytes + 5000};
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        char path[PATH_BYTES];
        open_sink();
        send_until(2 * PIECE_BYTES);
        partial_path(path);
        snapshot_sink_close(sink);
        assert_int_equal(truncate(path, ends[i]), 0);
        open_sink();
        assert_int_equal(snapshot_sink_offset(sink), 2 * PIECE_BYTES);
        snapshot_sink_close(sink);
    }
    open_sink();
    finish();
}

static void rot_in_what_has_come_is_fetched_again(void **state)
{
    (void)state;
    const uint64_t end = 4 * PIECE_BYTES;
    for (uint64_t page = 0; page < end / VFS_PAGE_BYTES; page++) {
        char path[PATH_BYTES];
        open_sink();
        send_until(end);
        partial_path(path);
        snapshot_sink_close(sink);
        flip(path, page * VFS_PAGE_BYTES + (page * 613) % VFS_PAGE_BYTES);
        open_sink();
        assert_int_equal(snapshot_sink_offset(sink), page * VFS_PAGE_BYTES);
        snapshot_sink_close(sink);
    }
    open_sink();
    finish();
}

static void rot_in_the_source_is_never_sent(void **state)
{
    (void)state;
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/%s", from_dir, sent.name);
    for (uint64_t page = 0; page < sent.bytes / VFS_PAGE_BYTES; page++) {
        uint64_t at = page * VFS_PAGE_BYTES + (page * 613) % VFS_PAGE_BYTES;
        uint64_t offset = at / PIECE_BYTES * PIECE_BYTES;
        flip(path, at);
        uint64_t left = sent.bytes - offset;
        uint32_t bytes = left < PIECE_BYTES ? (uint32_t)left : PIECE_BYTES;
        assert_int_equal(snapshot_source_read(source, offset, bytes, piece), -EUCLEAN);
        flip(path, at);
    }
    /* A new one takes the place of one that is rotten, even of the same state. */
    struct snapshot again;
    struct snapshot_source *mended;
    flip(path, 5 * VFS_PAGE_BYTES);
    take(&again);
    assert_string_equal(again.name, sent.name);
    assert_int_not_equal(again.id, sent.id);
    assert_int_equal(snapshot_source_open(&mended, from_dir, 0, sent.index), 0);
    assert_int_equal(snapshot_source_info(mended)->id, again.id);
    assert_int_equal(snapshot_source_read(mended, 0, PIECE_BYTES, piece), 0);
    snapshot_source_close(mended);
}

static void a_bad_piece_is_refused(void **state)
{
    (void)state;
    open_sink();
    for (uint32_t page = 0; page < PIECE_BYTES / VFS_PAGE_BYTES; page++) {
        read_piece(0);
        piece[page * VFS_PAGE_BYTES + 77] ^= 1;
        assert_int_equal(snapshot_sink_write(sink, 0, piece, PIECE_BYTES), -EUCLEAN);
        assert_int_equal(snapshot_sink_offset(sink), 0);
    }
    read_piece(0);
    assert_int_equal(snapshot_sink_write(sink, PIECE_BYTES, piece, PIECE_BYTES), -EINVAL);
    assert_int_equal(snapshot_sink_write(sink, 0, piece, PIECE_BYTES - 1), -EINVAL);
    read_piece(PIECE_BYTES); /* good pages, at the wrong place */
    assert_int_equal(snapshot_sink_write(sink, 0, piece, PIECE_BYTES), -EUCLEAN);
    struct snapshot got;
    assert_int_equal(snapshot_sink_finish(sink, &got), -EINVAL);
    finish();
}

static void what_was_not_announced_is_no_snapshot(void **state)
{
    (void)state;
    struct snapshot announced[4] = {sent, sent, sent, sent}, got;
    announced[0].id ^= 1;
    announced[1].index++;
    announced[2].term++;
    announced[3].bytes -= VFS_PAGE_BYTES;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(snapshot_sink_open(&sink, to_dir, &announced[i]), 0);
        send_until(announced[i].bytes - announced[i].bytes % PIECE_BYTES);
        uint64_t offset = snapshot_sink_offset(sink);
        read_piece(offset);
        uint32_t rest = (uint32_t)(announced[i].bytes - offset);
        assert_int_equal(snapshot_sink_write(sink, offset, piece, rest), 0);
        assert_int_equal(snapshot_sink_finish(sink, &got), -EUCLEAN);
        snapshot_sink_discard(sink);
    }
    struct snapshot bad = sent;
    bad.bytes++;
    assert_int_equal(snapshot_sink_open(&sink, to_dir, &bad), -EINVAL);
    bad.bytes = 0;
    assert_int_equal(snapshot_sink_open(&sink, to_dir, &bad), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(it_arrives_as_it_was_sent),
        T(the_wanted_one_is_found),
        T(one_that_is_pushed_out_is_read_to_its_end),
        T(it_goes_on_where_it_was),
        T(another_one_starts_anew),
        T(a_torn_tail_is_cut),
        T(rot_in_what_has_come_is_fetched_again),
        T(rot_in_the_source_is_never_sent),
        T(a_bad_piece_is_refused),
        T(what_was_not_announced_is_no_snapshot),
    };
    return cmocka_run_group_tests_name("transfer", tests, NULL, NULL);
}
