/* SPDX-License-Identifier: MIT */
/* What a batch tells of an inode that it touches several times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/touched.h"

static const struct store_attr first = {.ino = 7, .size_bytes = 0},
                               then = {.ino = 7, .size_bytes = 5};

static void it_is_one_item_as_it_is_at_last(void **state)
{
    (void)state;
    struct touched t = {0};
    touched_inode(&t, 7, NULL, true);
    touched_inode(&t, 7, &then, false);
    assert_int_equal(t.count, 1);
    assert_int_equal(t.items[0].ino, 7);
    assert_int_equal(t.items[0].attr.size_bytes, 5);
    assert_true(t.items[0].data);
    assert_false(t.items[0].added);
    touched_inode(&t, 7, NULL, false);
    assert_int_equal(t.items[0].attr.ino, 0); /* gone */
    touched_free(&t);
}

/* The kernel need not be told of it. */
static void a_new_one_stays_new(void **state)
{
    (void)state;
    struct touched t = {0};
    touched_new_inode(&t, &first);
    touched_inode(&t, 7, &then, false);
    assert_int_equal(t.count, 1);
    assert_int_equal(t.items[0].attr.size_bytes, 5);
    assert_true(t.items[0].added);
    assert_false(t.items[0].data);
    touched_free(&t);
}

static void a_name_is_an_item_of_its_own(void **state)
{
    (void)state;
    struct touched t = {0};
    touched_new_inode(&t, &first);
    touched_name(&t, 1, "key", 3, 7, true);
    touched_inode(&t, 7, &then, false);
    assert_int_equal(t.count, 2);
    assert_string_equal(t.items[1].name, "key");
    assert_int_equal(t.items[1].dir, 1);
    assert_int_equal(t.items[0].attr.size_bytes, 5);
    touched_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_one_item_as_it_is_at_last),
        cmocka_unit_test(a_new_one_stays_new),
        cmocka_unit_test(a_name_is_an_item_of_its_own),
    };
    return cmocka_run_group_tests_name("touched", tests, NULL, NULL);
}
