/* SPDX-License-Identifier: MIT */
/* What libfuse says, in however many lines and pieces, is one line of the node's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fuse_lowlevel.h>

#include "fuse/mount.h"

static const char *const *pieces;

/* In the place of libfuse's: nobody can make that say all of this. */
struct fuse_session *fuse_session_new(struct fuse_args *args, const struct fuse_lowlevel_ops *ops,
                                      size_t bytes, void *userdata)
{
    (void)args, (void)ops, (void)bytes, (void)userdata;
    for (; *pieces; pieces++)
        fuse_log(FUSE_LOG_ERR, "%s", *pieces);
    return NULL;
}

static void reads(const char *const said[], const char *expected)
{
    char why[MOUNT_WHY_BYTES] = "";
    pieces = said;
    assert_int_not_equal(mount_check_options("", why), 0);
    assert_string_equal(why, expected);
}

static void pieces_are_a_line(void **state)
{
    (void)state;
    reads((const char *[]){"fuse: unknown option(s): `", "-o ", "fuse: ", "nonsense'\n", NULL},
          "unknown option(s): `-o fuse: nonsense' (see raftfs --help)");
}

static void lines_are_parted(void **state)
{
    (void)state;
    reads((const char *[]){"fuse: this\n", "fuse: and ", "that\n", "at last\n", NULL},
          "this; and that; at last (see raftfs --help)");
}

static void one_is_not_begun_with_the_last_ones(void **state)
{
    (void)state;
    reads((const char *[]){"fuse: this\n", NULL}, "this (see raftfs --help)");
    reads((const char *[]){"fuse: that\n", NULL}, "that (see raftfs --help)");
    reads((const char *[]){NULL}, "too many mount options (see raftfs --help)");
}

static void what_is_too_long_is_cut(void **state)
{
    (void)state;
    static char line[2 * MOUNT_WHY_BYTES];
    char why[MOUNT_WHY_BYTES] = "";
    for (size_t i = 0; i < sizeof(line) - 1; i++)
        line[i] = 'l';
    pieces = (const char *[]){line, "fuse: more\n", NULL};
    assert_int_not_equal(mount_check_options("", why), 0);
    assert_memory_equal(why, line, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_a_line),
        cmocka_unit_test(lines_are_parted),
        cmocka_unit_test(one_is_not_begun_with_the_last_ones),
        cmocka_unit_test(what_is_too_long_is_cut),
    };
    return cmocka_run_group_tests_name("said", tests, NULL, NULL);
}
