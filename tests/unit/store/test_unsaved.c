/* SPDX-License-Identifier: MIT */
/* unsaved.c by itself: what it holds, how much, and what its filter knows. */
#include "store/unsaved.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct unsaved unsaved;

static int teardown(void **state)
{
    (void)state;
    unsaved_clear(&unsaved);
    return 0;
}

static struct store_entry entry_of(const void *data, uint32_t bytes)
{
    return (struct store_entry){
        .index = 7, .term = 3, .kind = STORE_ENTRY_COMMAND, .data = data, .bytes = bytes};
}

static void add_nothing(void)
{
    struct store_entry entry = {.index = 7, .term = 3, .kind = STORE_ENTRY_EMPTY};
    unsaved_add(&unsaved, &entry, NULL, 0);
}

static struct store_touched touched_name(uint64_t dir, const char *name, uint64_t ino)
{
    struct store_touched item = {.dir = dir, .ino = ino, .name_bytes = (uint8_t)strlen(name)};
    memcpy(item.name, name, item.name_bytes);
    return item;
}

static bool has_name(uint64_t dir, const char *name)
{
    return unsaved_touches(&unsaved, unsaved_name(dir, name, strlen(name)));
}

static bool has_inode(uint64_t ino)
{
    return unsaved_touches(&unsaved, unsaved_inode(ino));
}

static void it_keeps_entries_as_they_were_given(void **state)
{
    (void)state;
    char data[] = "first";
    struct store_entry entry = entry_of(data, sizeof(data));
    unsaved_add(&unsaved, &entry, NULL, 0);
    memset(data, 'x', sizeof(data)); /* the giver's again */
    add_nothing();
    assert_int_equal(unsaved.count, 2);
    assert_int_equal(unsaved.entries[0].index, 7);
    assert_int_equal(unsaved.entries[0].term, 3);
    assert_int_equal(unsaved.entries[0].kind, STORE_ENTRY_COMMAND);
    assert_int_equal(unsaved.entries[0].bytes, 6);
    assert_string_equal(unsaved.entries[0].data, "first");
    assert_int_equal(unsaved.entries[1].kind, STORE_ENTRY_EMPTY);
    assert_int_equal(unsaved.entries[1].bytes, 0);
}

static void there_is_room_for_so_many_and_no_big_one(void **state)
{
    (void)state;
    static const char data[UNSAVED_ENTRY_BYTES + 1];
    struct store_entry small = entry_of(data, UNSAVED_ENTRY_BYTES);
    struct store_entry big = entry_of(data, UNSAVED_ENTRY_BYTES + 1);
    for (unsigned i = 0; i < UNSAVED_ENTRIES; i++) {
        assert_false(unsaved_has_room(&unsaved, &big));
        assert_true(unsaved_has_room(&unsaved, &small));
        unsaved_add(&unsaved, &small, NULL, 0);
    }
    assert_false(unsaved_has_room(&unsaved, &small));
    assert_false(unsaved_has_room(&unsaved, &(struct store_entry){.kind = STORE_ENTRY_EMPTY}));
    unsaved_clear(&unsaved);
    assert_true(unsaved_has_room(&unsaved, &small));
}

static void the_filter_knows_what_was_touched(void **state)
{
    (void)state;
    struct store_entry entry = {.kind = STORE_ENTRY_EMPTY};
    struct store_touched items[] = {{.ino = 1}, touched_name(1, "name", 77), {.ino = 5}};
    assert_false(has_inode(1) || has_inode(5) || has_name(1, "name"));
    unsaved_add(&unsaved, &entry, items, 3);
    assert_true(has_inode(1) && has_inode(5) && has_name(1, "name"));
    assert_false(has_inode(77)); /* a name came, of an inode that is as it was */
    assert_false(has_name(2, "name") || has_name(1, "nam") || has_name(1, "names"));
    add_nothing();
    assert_true(has_inode(1) && has_inode(5) && has_name(1, "name"));
    unsaved_clear(&unsaved);
    assert_false(has_inode(1) || has_inode(5) || has_name(1, "name"));
}

/* However much is touched: never a no for what was, and few a yes for what was not. */
static void it_errs_on_one_side_and_seldom(void **state)
{
    (void)state;
    enum { EACH = 4, ASKED = 10000 };
    char name[32];
    struct store_entry entry = {.kind = STORE_ENTRY_EMPTY};
    for (unsigned i = 0; i < UNSAVED_ENTRIES; i++) {
        snprintf(name, sizeof(name), "name%u", i);
        struct store_touched items[EACH] = {{.ino = 1}, touched_name(i, name, 9), {.ino = 100 + i}};
        items[3] = (struct store_touched){.ino = ((uint64_t)i << 32) | 5};
        unsaved_add(&unsaved, &entry, items, EACH);
    }
    for (unsigned i = 0; i < UNSAVED_ENTRIES; i++) {
        snprintf(name, sizeof(name), "name%u", i);
        assert_true(has_inode(1) && has_inode(100 + i) && has_inode(((uint64_t)i << 32) | 5));
        assert_true(has_name(i, name));
    }
    unsigned wrong = 0;
    for (unsigned i = 0; i < ASKED; i++) {
        snprintf(name, sizeof(name), "other%u", i);
        wrong += has_inode(1000000 + i);
        wrong += has_name(1, name);
    }
    assert_in_range(wrong, 0, 2 * ASKED / 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, NULL, teardown)
        T(it_keeps_entries_as_they_were_given),
        T(there_is_room_for_so_many_and_no_big_one),
        T(the_filter_knows_what_was_touched),
        T(it_errs_on_one_side_and_seldom),
    };
    return cmocka_run_group_tests_name("unsaved", tests, NULL, NULL);
}
