/* SPDX-License-Identifier: MIT */
/* A full disk, at every amount of room: a batch is applied whole or not at all, and works later. */
#include "harness.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define ROOT STORE_ROOT_INO

static char mount_point[64], ballast[128];
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

static int put(uint64_t seq, const char *value)
{
    char name[16];
    snprintf(name, sizeof(name), "key%u", (unsigned)(seq % 7));
    struct command c = {.op = COMMAND_CREATE,
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
    return apply_as_is(&c);
}

static void a_batch_is_applied_whole_or_not_at_all(void **state)
{
    (void)state;
    enum { VALUE_BYTES = 60000 };
    static char value[VALUE_BYTES + 1];
    memset(value, 'v', VALUE_BYTES);
    if (geteuid() != 0) {
        print_message("skipped: a small disk of one's own needs root\n");
        skip();
    }
    snprintf(mount_point, sizeof(mount_point), "/tmp/raftfs-store-XXXXXX");
    assert_non_null(mkdtemp(mount_point));
    /* In a name space of its own, so that nothing stays mounted whatever happens. */
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", mount_point, "tmpfs", 0, "size=6m") != 0) {
        rmdir(mount_point);
        print_message("skipped: no tmpfs can be mounted here\n");
        skip();
    }
    memcpy(top, mount_point, sizeof(top));
    snprintf(ballast, sizeof(ballast), "%s/ballast", mount_point);
    harness_open_options(&options, top, true);
    assert_int_equal(store_open(&options, &store, why), 0);
    struct command c = {.op = COMMAND_SESSION, .incarnation = 5, .boot = 1};
    assert_int_equal(apply_as_is(&c), 0);
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
    store_close(store);
    harness_open_options(&options, top, false);
    assert_int_equal(store_open(&options, &store, why), 0);
    check_fingerprint();
    store_close(store);
    assert_int_equal(umount(mount_point), 0);
    rmdir(mount_point);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_applied_whole_or_not_at_all),
    };
    return cmocka_run_group_tests_name("full", tests, NULL, NULL);
}
