/* SPDX-License-Identifier: MIT */
/*
 * The same entries into two stores: one frees what is cut off at once, the other one in pieces at
 * random moments, or not, and is closed or killed at times. Each entry comes to the same result in
 * both, they hold the same, and show the same.
 */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>

#define ROOT  STORE_ROOT_INO
#define CHUNK ((uint64_t)STORE_CHUNK_BYTES)

enum {
    BATCHES = 1000,
    MOST_ENTRIES = 24,
    MOST_LOGGED = BATCHES * MOST_ENTRIES + 2,
    FILES = 3,
    CHUNKS = 64,
    VALUE_BYTES = 400000,
    READ_BYTES = 200000,
};

static struct store *at_once; /* `store` is the other one */
static char at_once_top[128];
static const char *const names[FILES] = {"a", "b", "c"};
static char value[VALUE_BYTES];
static uint64_t inodes[FILES]; /* a name's, as it was made last */
static uint64_t next_seq, next_number;
static unsigned garbage_count, killed_count; /* so that this tests something */

static struct logged {
    struct buf *data;
    struct store_entry entry;
} logged[MOST_LOGGED]; /* by index; the first one is the harness's */
static uint64_t last_index;

/* ---- What is drawn ---- */

static uint64_t dice;

static unsigned roll(unsigned sides)
{
    dice = dice * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(dice >> 33) % sides;
}

/* Mostly at the start of a chunk, or the row would have to be filled up to there. */
static uint64_t some_place(void)
{
    return roll(CHUNKS) * CHUNK + (roll(5) ? 0 : roll(STORE_CHUNK_BYTES));
}

static void draw_data(struct command *c, uint32_t most)
{
    c->data_bytes = 1 + roll(most);
    c->data = value + roll(VALUE_BYTES - c->data_bytes + 1);
}

static struct command write_somewhere(unsigned file, uint32_t most)
{
    struct command c = {.op = COMMAND_WRITE, .ino = inodes[file], .offset = some_place()};
    draw_data(&c, most);
    return c;
}

static struct command resize_somehow(unsigned file)
{
    struct command c = {.op = COMMAND_SETATTR, .set = COMMAND_SET_SIZE, .ino = inodes[file]};
    c.size = roll(3) ? some_place() : roll(2000);
    return c;
}

static struct command create(unsigned file)
{
    struct command c = {.op = COMMAND_CREATE,
                        .parent = ROOT,
                        .name = names[file],
                        .mode = 0644,
                        .ino = ((uint64_t)1 << 32) | ++next_number,
                        .flags = COMMAND_WITH_DATA | COMMAND_TRUNCATE};
    draw_data(&c, 3000);
    return c;
}

static struct command draw_other(unsigned file)
{
    struct command c = {.parent = ROOT, .name = names[file]};
    switch (roll(8)) {
    case 0:
        c.op = COMMAND_UNLINK;
        return c;
    case 1:
        c.op = COMMAND_RENAME;
        c.new_parent = ROOT;
        c.new_name = names[roll(FILES)];
        return c;
    case 2:
        return write_somewhere(file, VALUE_BYTES);
    case 3:
    case 4:
        return write_somewhere(file, 100);
    case 5:
        return resize_somehow(file);
    default:
        return create(file);
    }
}

static void log_command(struct command c)
{
    struct logged *l = &logged[++last_index];
    c.session = 1;
    c.seq = c.lowest_awaited = ++next_seq;
    c.time_ns = 1000 * c.seq;
    c.name_bytes = c.name ? (uint8_t)strlen(c.name) : 0;
    c.new_name_bytes = c.new_name ? (uint8_t)strlen(c.new_name) : 0;
    l->data = command_encode(&c);
    l->entry = (struct store_entry){.index = last_index,
                                    .term = 1,
                                    .kind = STORE_ENTRY_COMMAND,
                                    .data = l->data->data,
                                    .bytes = l->data->bytes};
}

/* One change, or many little ones, which give a file many rows. */
static uint32_t draw_batch(void)
{
    unsigned file = roll(FILES);
    uint32_t count = roll(3) ? 1 : MOST_ENTRIES;
    for (uint32_t i = 0; i < count; i++)
        log_command(count > 1 ? write_somewhere(file, 100) : draw_other(file));
    return count;
}

/* ---- Applying ---- */

static void reclaim_all(struct store *s)
{
    while (store_has_garbage(s))
        assert_int_equal(store_reclaim(s), 0);
}

static void apply_later(const struct store_entry *entries, uint32_t count,
                        struct store_result *results)
{
    if (count > 1 || roll(2) || store_apply_unsaved(store, entries, results) != 0)
        assert_int_equal(store_apply(store, entries, count, results), 0);
}

static void look_for_inodes(void)
{
    struct store_attr attr;
    for (int i = 0; i < FILES; i++)
        if (store_lookup(at_once, ROOT, names[i], 1, &attr) == 0)
            inodes[i] = attr.ino;
}

static void apply_some(void)
{
    struct store_entry entries[MOST_ENTRIES];
    struct store_result got[MOST_ENTRIES], want[MOST_ENTRIES];
    uint64_t first = last_index + 1;
    uint32_t count = draw_batch();
    bool had = store_has_garbage(store);
    for (uint32_t i = 0; i < count; i++)
        entries[i] = logged[first + i].entry;
    assert_int_equal(store_apply(at_once, entries, count, want), 0);
    reclaim_all(at_once);
    apply_later(entries, count, got);
    assert_memory_equal(got, want, count * sizeof(got[0]));
    garbage_count += !had && store_has_garbage(store);
    look_for_inodes();
}

/* ---- Asking both ---- */

static void ask_how_it_stands(void)
{
    struct store_totals got, want;
    store_totals(at_once, &want);
    store_totals(store, &got);
    assert_memory_equal(&got, &want, sizeof(got));
}

static void ask_content(void)
{
    static char got[READ_BYTES], want[READ_BYTES];
    struct store_attr got_attr = {0}, want_attr = {0};
    size_t got_bytes = 0, want_bytes = 0;
    uint64_t ino = inodes[roll(FILES)], offset = roll(4) ? some_place() : 0;
    int status = store_read(at_once, ino, offset, READ_BYTES, want, &want_bytes, &want_attr);
    assert_int_equal(store_read(store, ino, offset, READ_BYTES, got, &got_bytes, &got_attr),
                     status);
    if (status != 0)
        return;
    assert_memory_equal(&got_attr, &want_attr, sizeof(got_attr));
    assert_int_equal(got_bytes, want_bytes);
    assert_memory_equal(got, want, got_bytes);
}

/* ---- Freeing, closing, killing ---- */

static void open_at(const char *dir, bool create_it, struct store **out)
{
    struct store_options options;
    char why[STORE_WHY_BYTES] = "";
    harness_open_options(&options, dir, create_it);
    if (store_open(&options, out, why) != 0)
        fail_msg("%s", why);
}

/* The store goes on from what a kill would have left of it, with what it had in its log. */
static void kill_it(void)
{
    char command[512];
    uint64_t applied = store_applied_index(store);
    snprintf(command, sizeof(command), "cd %s && mkdir left && cp store.db store.db-wal left/",
             top);
    assert_int_equal(system(command), 0);
    store_close(store);
    snprintf(command, sizeof(command), "cd %s && mv left/* . && rmdir left", top);
    assert_int_equal(system(command), 0);
    open_at(top, false, &store);
    killed_count++;
    for (uint64_t i = store_applied_index(store) + 1; i <= applied; i++)
        assert_int_equal(store_apply(store, &logged[i].entry, 1, &result), 0);
}

static void do_something_else(void)
{
    unsigned what = roll(200);
    if (what == 0)
        harness_reopen();
    else if (what < 3)
        kill_it();
    else if (what < 5)
        assert_int_equal(store_sync(store), 0);
    else if (what < 15)
        check_fingerprint();
    else if (what < 20)
        reclaim_all(store);
    for (unsigned pieces = what < 120 ? roll(3) : 0; pieces > 0; pieces--)
        assert_int_equal(store_reclaim(store), 0);
}

/* ---- The whole ---- */

static int setup(void **state)
{
    int error = harness_setup(state);
    last_index = 1;
    next_seq = next_number = 0;
    garbage_count = killed_count = 0;
    memset(inodes, 0, sizeof(inodes));
    for (size_t i = 0; i < VALUE_BYTES; i++)
        value[i] = (char)('a' + i % 23);
    snprintf(at_once_top, sizeof(at_once_top), "%s/at-once", top);
    if (error || mkdir(at_once_top, 0700) != 0)
        return -1;
    open_at(at_once_top, true, &at_once);
    struct command c = {.op = COMMAND_SESSION, .incarnation = 5, .boot = 1};
    struct buf *b = command_encode(&c);
    struct store_entry first = {
        .index = 1, .term = 1, .kind = STORE_ENTRY_COMMAND, .data = b->data, .bytes = b->bytes};
    error = store_apply(at_once, &first, 1, &result);
    buf_unref(b);
    return error;
}

static int teardown(void **state)
{
    store_close(at_once);
    for (uint64_t i = 0; i <= last_index; i++)
        buf_unref(logged[i].data);
    memset(logged, 0, sizeof(logged));
    return harness_teardown(state);
}

static void it_makes_no_difference(uint64_t seed)
{
    dice = seed;
    for (int k = 0; k < BATCHES; k++) {
        apply_some();
        ask_how_it_stands();
        for (unsigned i = roll(4); i > 0; i--)
            ask_content();
        do_something_else();
    }
    check_fingerprint();
    reclaim_all(store);
    check_fingerprint();
    ask_how_it_stands();
    print_message("%u times garbage, %u kills\n", garbage_count, killed_count);
    assert_true(garbage_count > 20);
    assert_true(killed_count > 0);
}

static void whenever_it_is_freed(void **state)
{
    (void)state;
    it_makes_no_difference(7);
}

static void or_whenever_else(void **state)
{
    (void)state;
    it_makes_no_difference(8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whenever_it_is_freed, setup, teardown),
        cmocka_unit_test_setup_teardown(or_whenever_else, setup, teardown),
    };
    return cmocka_run_group_tests_name("garbage-whenever", tests, NULL, NULL);
}
