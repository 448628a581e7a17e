/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "store/command.h"

static const uint32_t some_groups[] = {4, 24, 4000000000u};

static struct command example(enum command_op op)
{
    struct command c = {.op = op,
                        .time_ns = 1,
                        .session = 2,
                        .seq = 3,
                        .lowest_awaited = 1,
                        .caller = {.uid = 7, .gid = 8, .group_count = 3, .groups = some_groups}};
    c.name = "name";
    c.name_bytes = 4;
    c.new_name = "other";
    c.new_name_bytes = 5;
    c.data = "data";
    c.data_bytes = 4;
    return c;
}

static void every_op_comes_back(void **state)
{
    (void)state;
    for (enum command_op op = COMMAND_SESSION; op <= COMMAND_RENAME; op++) {
        struct command c = example(op), back;
        uint32_t groups[COMMAND_MAX_GROUPS];
        struct buf *b = command_encode(&c);
        assert_non_null(b);
        assert_true(command_decode(&back, groups, b->data, b->bytes));
        assert_int_equal(back.op, op);
        assert_int_equal(back.caller.uid, 7);
        assert_int_equal(back.caller.group_count, 3);
        assert_memory_equal(groups, some_groups, sizeof(some_groups));
        struct buf *again = command_encode(&back);
        assert_int_equal(again->bytes, b->bytes);
        assert_memory_equal(again->data, b->data, b->bytes);
        buf_unref(again);

        /* Nothing shorter and nothing longer is a command. */
        for (uint32_t n = 0; n < b->bytes; n++)
            assert_false(command_decode(&back, groups, b->data, n));
        struct buf *longer = buf_new(b->bytes + 1);
        memcpy(longer->data, b->data, b->bytes);
        longer->data[b->bytes] = 0;
        assert_false(command_decode(&back, groups, longer->data, longer->bytes));
        buf_unref(longer);
        buf_unref(b);
    }
}

static void sealing_and_stamping_change_the_header_only(void **state)
{
    (void)state;
    struct command c = example(COMMAND_WRITE), back;
    uint32_t groups[COMMAND_MAX_GROUPS];
    struct buf *b = command_encode(&c);
    command_seal(b, 11, 12, 10);
    assert_true(command_stamp(b, 99));
    assert_true(command_decode(&back, groups, b->data, b->bytes));
    assert_int_equal(back.session, 11);
    assert_int_equal(back.seq, 12);
    assert_int_equal(back.lowest_awaited, 10);
    assert_int_equal(back.time_ns, 99);
    assert_memory_equal(back.data, "data", 4);
    buf_unref(b);
    b = buf_new(COMMAND_HEADER_BYTES - 1);
    assert_false(command_stamp(b, 1));
    buf_unref(b);
}

static void names_that_no_directory_can_hold_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint8_t bytes;
    } names[] = {{"", 0}, {".", 1}, {"..", 2}, {"a/b", 3}, {"a\0b", 3}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct command c = example(COMMAND_MKDIR);
        c.name = names[i].name;
        c.name_bytes = names[i].bytes;
        assert_null(command_encode(&c));
    }
}

static void limits_hold(void **state)
{
    (void)state;
    static char much[COMMAND_DATA_BYTES + 1];
    struct command c = example(COMMAND_WRITE);
    c.data = much;
    c.data_bytes = COMMAND_DATA_BYTES;
    struct buf *b = command_encode(&c);
    assert_non_null(b);
    buf_unref(b);
    c.data_bytes++;
    assert_null(command_encode(&c));
    c = example(COMMAND_SYMLINK);
    memset(much, 'x', sizeof(much));
    c.data = much;
    c.data_bytes = COMMAND_TARGET_BYTES + 1;
    assert_null(command_encode(&c));
}

/* No byte may make decoding read out of bounds (the sanitizers watch) or trip an assertion. */
static void damaged_commands_are_decoded_or_refused(void **state)
{
    (void)state;
    for (enum command_op op = COMMAND_SESSION; op <= COMMAND_RENAME; op++) {
        struct command c = example(op), back;
        uint32_t groups[COMMAND_MAX_GROUPS];
        struct buf *b = command_encode(&c);
        for (uint32_t at = 0; at < b->bytes; at++)
            for (unsigned bit = 0; bit < 8; bit++) {
                b->data[at] ^= (uint8_t)(1u << bit);
                if (command_decode(&back, groups, b->data, b->bytes))
                    assert_true(back.data_bytes <= COMMAND_DATA_BYTES);
                b->data[at] ^= (uint8_t)(1u << bit);
            }
        buf_unref(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_comes_back),
        cmocka_unit_test(sealing_and_stamping_change_the_header_only),
        cmocka_unit_test(names_that_no_directory_can_hold_are_refused),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(damaged_commands_are_decoded_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
