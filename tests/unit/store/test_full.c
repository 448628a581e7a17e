/* SPDX-License-Identifier: MIT */
/*
 * A full disk, at every amount of room: a batch is applied whole or not at all, and works later.
 * What is applied and not saved yet has its room.
 */
#include "harness.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "store/unsaved.h"

#define ROOT STORE_ROOT_INO

enum { KEYS = 7 };

static char mount_point[64], ballast[128];
static bool mounted;
static struct store_options options;
static char why[STORE_WHY_BYTES];

/* Leaves this much room on the disk. */
static void leave_room(off_t bytes)
{
    int fd = open(ballast, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    struct statvfs disk;
    assert_int_equal(fstatvfs(fd, &disk), 0);
    off_t free_bytes = (off_t)(disk.f_bavail * disk.f_frsize);
    if (free_bytes > bytes)
        assert_int_equal(posix_fallocate(fd, 0, free_bytes - bytes), 0);
    close(fd);
}

static struct command put_of(uint64_t seq, char name[16], const char *value)
{
    snprintf(name, 16, "key%u", (unsigned)(seq % KEYS));
    return (struct command){.op = COMMAND_CREATE,
                            .flags = COMMAND_WITH_DATA | COMMAND_TRUNCATE,
                            .parent = ROOT,
                            .name = name,
                            .name_bytes = (uint8_t)strlen(name),
                            .ino = ((uint64_t)1 << 32) | (1000 + seq),
                            .mode = 0644,
                            .data = value,
                            .data_bytes = (uint32_t)strlen(value),
                            .session = 1,
                            .seq = seq,
                            .lowest_awaited = seq};
}

static int put(uint64_t seq, const char *value)
{
    char name[16];
    struct command c = put_of(seq, name, value);
    return apply_as_is(&c);
}

/* On a small disk of one's own. */
static int mount_small(const char *size)
{
    snprintf(mount_point, sizeof(mount_point), "/tmp/raftfs-store-XXXXXX");
    mounted = false;
    if (geteuid() != 0)
        return 0;
    assert_non_null(mkdtemp(mount_point));
    /* In a name space of its own, so that nothing stays mounted whatever happens. */
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", mount_point, "tmpfs", 0, size) != 0) {
        rmdir(mount_point);
        return 0;
    }
    mounted = true;
    memcpy(top, mount_point, sizeof(top));
    snprintf(ballast, sizeof(ballast), "%s/ballast", mount_point);
    harness_open_options(&options, top, true);
    assert_int_equal(store_open(&options, &store, why), 0);
    struct command c = {.op = COMMAND_SESSION, .incarnation = 5, .boot = 1};
    return apply_as_is(&c);
}

static int setup(void **state)
{
    (void)state;
    return mount_small("size=6m");
}

static int setup_bigger(void **state)
{
    (void)state;
    return mount_small("size=96m");
}

static int teardown(void **state)
{
    (void)state;
    if (!mounted)
        return 0;
    store_close(store);
    assert_int_equal(umount(mount_point), 0);
    return rmdir(mount_point);
}

static void need_mount(void)
{
    if (mounted)
        return;
    print_message("skipped: no tmpfs of one's own can be mounted here, which needs root\n");
    skip();
}

static void reopen(void)
{
    store_close(store);
    harness_open_options(&options, top, false);
    assert_int_equal(store_open(&options, &store, why), 0);
}

static void a_batch_is_applied_whole_or_not_at_all(void **state)
{
    (void)state;
    enum { VALUE_BYTES = 60000 };
    static char value[VALUE_BYTES + 1];
    need_mount();
    memset(value, 'v', VALUE_BYTES);
    unsigned full = 0;
    for (uint64_t seq = 1; seq <= 40; seq++) {
        uint64_t index = store_applied_index(store), before = fingerprint();
        leave_room((off_t)(seq % 20) * 4096);
        int status = put(seq, value);
        if (status != 0) {
            assert_int_equal(status, -ENOSPC);
            assert_int_equal(store_applied_index(store), index);
            assert_int_equal(fingerprint(), before);
            check_fingerprint();
            assert_int_equal(unlink(ballast), 0);
            full++;
            assert_int_equal(put(seq, value), 0);
        }
        assert_int_equal(store_applied_index(store), index + 1);
        check_fingerprint();
        unlink(ballast);
        if (seq % 10 == 0)
            assert_int_equal(store_sync(store), 0);
    }
    assert_in_range(full, 5, 40);
    reopen();
    check_fingerprint();
}

/* ---- What is not saved yet ---- */

static char model[KEYS][32];
static uint64_t next_seq;

/* The store's error. */
static int put_next(bool saved)
{
    char name[16], value[32];
    snprintf(value, sizeof(value), "the %juth value", (uintmax_t)next_seq);
    struct command c = put_of(next_seq, name, value);
    struct buf *b = command_encode(&c);
    struct store_entry entry = {.index = store_applied_index(store) + 1,
                                .term = 1,
                                .kind = STORE_ENTRY_COMMAND,
                                .data = b->data,
                                .bytes = b->bytes};
    int error = saved ? store_apply(store, &entry, 1, &result)
                      : store_apply_unsaved(store, &entry, &result);
    buf_unref(b);
    if (error == 0)
        memcpy(model[next_seq++ % KEYS], value, sizeof(value));
    return error;
}

static void check_keys(void)
{
    for (unsigned i = 0; i < KEYS; i++) {
        char name[16], text[32] = "";
        struct store_attr attr;
        size_t got;
        snprintf(name, sizeof(name), "key%u", i);
        int status = store_lookup(store, ROOT, name, strlen(name), &attr);
        assert_int_equal(status, model[i][0] ? 0 : -ENOENT);
        if (status == 0)
            assert_int_equal(store_read(store, attr.ino, 0, sizeof(text) - 1, text, &got, &attr),
                             0);
        assert_string_equal(text, model[i]);
    }
}

/* However full the disk has become since. */
static void what_is_unsaved_has_its_room(void **state)
{
    (void)state;
    enum { ROUNDS = 60 };
    unsigned taken = 0;
    need_mount();
    memset(model, 0, sizeof(model));
    next_seq = 1;
    for (unsigned round = 0; round < ROUNDS; round++) {
        assert_int_equal(put_next(true), 0); /* makes it */
        bool before = round % 2;
        if (before)
            leave_room(0);
        for (unsigned i = 0; i < 1 + round % (UNSAVED_ENTRIES + 3); i++)
            taken += put_next(false) == 0;
        if (!before)
            leave_room(0);
        uint64_t index = store_applied_index(store), fingerprint_before = fingerprint();
        if (round % 4 < 2)
            assert_int_equal(store_save(store), 0);
        check_keys();
        check_fingerprint();
        assert_int_equal(store_applied_index(store), index);
        assert_int_equal(fingerprint(), fingerprint_before);
        assert_int_equal(unlink(ballast), 0);
        if (round % 20 == 9)
            assert_int_equal(store_sync(store), 0);
        if (round % 20 == 19)
            reopen();
    }
    assert_true(taken > ROUNDS * 10);
}

/* Where no room can be made, nothing is left unsaved. */
static void without_room_for_it_each_is_saved(void **state)
{
    (void)state;
    need_mount();
    memset(model, 0, sizeof(model));
    next_seq = 1;
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(put_next(true), 0);
        assert_int_equal(put_next(false), -EAGAIN);
    }
    check_keys();
}

/* ---- Garbage ---- */

static void reclaim_all(void)
{
    while (store_has_garbage(store))
        assert_int_equal(store_reclaim(store), 0);
}

/* A piece that finds no room is freed later, and what it is a piece of counts for nothing anyway.
 */
static void garbage_waits_for_room(void **state)
{
    (void)state;
    enum { CHUNKS = 20, ROUNDS = 8 };
    static char chunk[STORE_CHUNK_BYTES];
    unsigned full = 0;
    need_mount();
    assert_int_equal(put(1, "value"), 0);
    uint64_t seq = 1, ino = result.attr.ino;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct command write = {.op = COMMAND_WRITE, .ino = ino, .session = 1};
        for (unsigned n = 0; n < CHUNKS; n++) {
            write.seq = write.lowest_awaited = ++seq;
            write.offset = n * (uint64_t)STORE_CHUNK_BYTES;
            write.data = chunk;
            write.data_bytes = sizeof(chunk);
            assert_int_equal(apply_as_is(&write), 0);
        }
        struct command cut = {
            .op = COMMAND_SETATTR, .set = COMMAND_SET_SIZE, .ino = ino, .session = 1, .seq = ++seq};
        cut.lowest_awaited = seq;
        assert_int_equal(apply_as_is(&cut), 0);
        uint64_t before = fingerprint();
        if (round % 2)
            reopen(); /* the write-ahead log's file is gone, with the room that it had */
        leave_room((off_t)(round % 4) * 4096);
        int status = store_reclaim(store);
        for (int piece = 0; status == 0 && piece < 3; piece++)
            status = store_reclaim(store);
        assert_true(status == 0 || status == -ENOSPC);
        full += status == -ENOSPC;
        assert_int_equal(fingerprint(), before);
        assert_int_equal(unlink(ballast), 0);
        reclaim_all();
        assert_int_equal(fingerprint(), before);
        check_fingerprint();
    }
    assert_true(full > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_batch_is_applied_whole_or_not_at_all, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_unsaved_has_its_room, setup_bigger, teardown),
        cmocka_unit_test_setup_teardown(without_room_for_it_each_is_saved, setup, teardown),
        cmocka_unit_test_setup_teardown(garbage_waits_for_room, setup, teardown),
    };
    return cmocka_run_group_tests_name("full", tests, NULL, NULL);
}
