/* SPDX-License-Identifier: MIT */
/*
 * The same entries into two stores: one saves each batch, the other one saves lone entries later,
 * at random, and is killed at times. Each entry comes to the same result in both, and whatever they
 * are asked in between, they answer the same.
 *
 * Inode numbers and names are such that they share few places of the cache, and some names are too
 * long for it, so that much of what is asked for is there no longer.
 */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "store/internal.h"

#define ROOT STORE_ROOT_INO

enum {
    BATCHES = 3000,
    MOST_ENTRIES = 4,
    MOST_LOGGED = BATCHES * MOST_ENTRIES + 1,
    MOST_BEHIND = 150,
    NAMES = 24,
    LONG_NAMES = 6,
    INODES = 40, /* that are known still */
    VALUE_BYTES = 30000,
    FULL_SETS = 2, /* of the cache */
};

static struct store *at_once; /* `store` is the other one */
static char at_once_top[128];
static char names[NAMES][COMMAND_NAME_BYTES + 1];
static char value[VALUE_BYTES];
static uint64_t inodes[INODES], next_number;
static unsigned later_count, killed_lost; /* so that this tests something */

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

/* Who the caller is: its session, its number and the lowest one that it awaits. */
static struct caller {
    uint64_t session;
    uint64_t seq;
    uint64_t boot;
} who;

static void make_names(void)
{
    unsigned number = 0;
    for (unsigned i = 0; i < NAMES; i++) {
        int pad = i < LONG_NAMES ? CACHE_NAME_BYTES + 1 : 1;
        size_t bytes;
        do
            bytes = (size_t)snprintf(names[i], sizeof(names[i]), "%0*u", pad, number++);
        while (XXH3_64bits_withSeed(names[i], bytes, ROOT) % CACHE_SETS >= FULL_SETS);
    }
}

static uint64_t new_inode(void)
{
    uint64_t ino;
    do
        ino = (who.session << 32) | ++next_number;
    while (XXH3_64bits(&ino, sizeof(ino)) % CACHE_SETS >= FULL_SETS);
    inodes[roll(INODES)] = ino;
    return ino;
}

static uint64_t some_inode(void)
{
    return inodes[roll(INODES)];
}

static const char *some_name(void)
{
    return names[roll(NAMES)];
}

static void draw_data(struct command *c)
{
    uint32_t most = roll(12) == 0 ? VALUE_BYTES : 200;
    c->data = value + roll(VALUE_BYTES - most + 1);
    c->data_bytes = roll(most + 1);
}

static void draw_file_op(struct command *c)
{
    c->ino = some_inode();
    if (c->op == COMMAND_WRITE) {
        draw_data(c);
        c->offset = roll(3) ? 0 : roll(3 * VALUE_BYTES);
        c->flags = roll(3) ? 0 : COMMAND_APPEND;
    } else {
        c->set = COMMAND_SET_MODE | (roll(2) ? COMMAND_SET_SIZE : 0);
        c->size = roll(2 * VALUE_BYTES);
    }
}

static void draw_op(struct command *c)
{
    static const enum command_op ops[] = {
        COMMAND_CREATE,  COMMAND_CREATE, COMMAND_CREATE,  COMMAND_CREATE,
        COMMAND_MKDIR,   COMMAND_MKDIR,  COMMAND_SYMLINK, COMMAND_SYMLINK,
        COMMAND_WRITE,   COMMAND_WRITE,  COMMAND_WRITE,   COMMAND_SETATTR,
        COMMAND_SETATTR, COMMAND_UNLINK, COMMAND_RENAME,  COMMAND_RMDIR};
    c->op = ops[roll(sizeof(ops) / sizeof(ops[0]))];
    c->parent = roll(4) ? ROOT : some_inode();
    c->new_parent = roll(4) ? ROOT : some_inode();
    c->mode = 0644 + roll(8);
    if (c->op == COMMAND_WRITE || c->op == COMMAND_SETATTR)
        draw_file_op(c);
    if (c->op == COMMAND_CREATE || c->op == COMMAND_MKDIR || c->op == COMMAND_SYMLINK)
        c->ino = new_inode();
    if (c->op == COMMAND_SYMLINK) {
        c->data = value;
        c->data_bytes = 1 + roll(50);
    }
    if (c->op == COMMAND_CREATE && roll(4)) {
        draw_data(c);
        c->flags = COMMAND_WITH_DATA | (roll(2) ? COMMAND_TRUNCATE : COMMAND_APPEND);
    }
}

/* Now and then a new session takes the place of the old one, or an earlier number comes again. */
static struct buf *draw_command(void)
{
    struct command c = {.time_ns = roll(1u << 30)};
    if (roll(100) == 0) {
        who = (struct caller){.session = who.session + 1, .boot = who.boot + 1};
        c.op = COMMAND_SESSION;
        c.incarnation = 5;
        c.boot = who.boot;
        return command_encode(&c);
    }
    who.seq++;
    draw_op(&c);
    bool again = roll(10) == 0 && who.seq > 5;
    uint64_t behind = roll(MOST_BEHIND);
    c.session = who.session;
    c.seq = again ? who.seq - roll(5) : who.seq;
    c.lowest_awaited = c.seq > behind ? c.seq - behind : 1;
    c.name = some_name();
    c.name_bytes = (uint8_t)strlen(c.name);
    c.new_name = some_name();
    c.new_name_bytes = (uint8_t)strlen(c.new_name);
    return command_encode(&c);
}

static void draw_entry(struct logged *l)
{
    l->entry = (struct store_entry){
        .index = ++last_index, .term = 1 + last_index / 100, .kind = STORE_ENTRY_COMMAND};
    if (roll(40) == 0) {
        l->entry.kind = STORE_ENTRY_EMPTY;
        return;
    }
    l->data = roll(40) == 0 ? buf_copy(value, roll(300)) : draw_command();
    if (roll(60) == 0)
        l->entry.kind = STORE_ENTRY_CONFIG;
    l->entry.data = l->data->data;
    l->entry.bytes = l->data->bytes;
}

/* ---- Applying ---- */

static void check_result(const struct store_result *got, const struct store_result *want)
{
    assert_int_equal(got->session, want->session);
    assert_int_equal(got->seq, want->seq);
    assert_int_equal(got->incarnation, want->incarnation);
    assert_int_equal(got->boot, want->boot);
    assert_int_equal(got->status, want->status);
    assert_int_equal(got->offset, want->offset);
    assert_memory_equal(&got->attr, &want->attr, sizeof(got->attr));
}

static void apply_later(const struct store_entry *entries, uint32_t count,
                        struct store_result *results)
{
    if (count == 1 && store_apply_unsaved(store, entries, results) == 0)
        later_count++;
    else
        assert_int_equal(store_apply(store, entries, count, results), 0);
}

static void apply_some(void)
{
    struct store_entry entries[MOST_ENTRIES];
    struct store_result got[MOST_ENTRIES], want[MOST_ENTRIES];
    uint32_t count = roll(8) ? 1 : 1 + roll(MOST_ENTRIES);
    for (uint32_t i = 0; i < count; i++) {
        struct logged *l = &logged[last_index + 1];
        draw_entry(l);
        entries[i] = l->entry;
    }
    assert_int_equal(store_apply(at_once, entries, count, want), 0);
    apply_later(entries, count, got);
    for (uint32_t i = 0; i < count; i++)
        check_result(&got[i], &want[i]);
}

/* ---- Asking both ---- */

static void ask_name(void)
{
    struct store_attr got = {0}, want = {0};
    static const char *const dots[] = {".", ".."};
    uint64_t dir = roll(4) ? ROOT : some_inode();
    const char *name = roll(12) ? some_name() : dots[roll(2)];
    int status = store_lookup(at_once, dir, name, strlen(name), &want);
    assert_int_equal(store_lookup(store, dir, name, strlen(name), &got), status);
    if (status == 0)
        assert_memory_equal(&got, &want, sizeof(got));
}

static void ask_inode(void)
{
    struct store_attr got = {0}, want = {0};
    uint64_t ino = roll(6) ? some_inode() : ROOT;
    int status = store_getattr(at_once, ino, &want);
    assert_int_equal(store_getattr(store, ino, &got), status);
    if (status == 0)
        assert_memory_equal(&got, &want, sizeof(got));
}

static void ask_content(void)
{
    static char got[4 * VALUE_BYTES], want[4 * VALUE_BYTES];
    struct store_attr got_attr = {0}, want_attr = {0};
    size_t got_bytes = 0, want_bytes = 0, bytes = roll(sizeof(got));
    uint64_t ino = some_inode(), offset = roll(2) ? 0 : roll(VALUE_BYTES);
    int status = store_read(at_once, ino, offset, bytes, want, &want_bytes, &want_attr);
    assert_int_equal(store_read(store, ino, offset, bytes, got, &got_bytes, &got_attr), status);
    if (status != 0)
        return;
    assert_memory_equal(&got_attr, &want_attr, sizeof(got_attr));
    assert_int_equal(got_bytes, want_bytes);
    assert_memory_equal(got, want, got_bytes);
}

static void ask_target(void)
{
    uint64_t ino = some_inode();
    struct buf *got = NULL, *want = NULL;
    int status = store_readlink(at_once, ino, &want);
    assert_int_equal(store_readlink(store, ino, &got), status);
    if (status != 0)
        return;
    assert_int_equal(got->bytes, want->bytes);
    assert_memory_equal(got->data, want->data, got->bytes);
    buf_unref(got);
    buf_unref(want);
}

struct listing {
    uint64_t hash;
    unsigned count;
};

static bool add_to_listing(void *ctx, const char *name, size_t name_bytes, uint64_t cookie,
                           const struct store_attr *attr)
{
    struct listing *l = ctx;
    l->hash = XXH3_64bits_withSeed(name, name_bytes, l->hash + cookie);
    l->hash = XXH3_64bits_withSeed(attr, sizeof(*attr), l->hash);
    l->count++;
    return true;
}

static void ask_directory(void)
{
    struct listing got = {0}, want = {0};
    uint64_t dir = roll(2) ? ROOT : some_inode(), got_parent = 0, want_parent = 0;
    int status = store_readdir(at_once, dir, 0, add_to_listing, &want);
    assert_int_equal(store_readdir(store, dir, 0, add_to_listing, &got), status);
    assert_int_equal(got.count, want.count);
    assert_int_equal(got.hash, want.hash);
    status = store_parent(at_once, dir, &want_parent);
    assert_int_equal(store_parent(store, dir, &got_parent), status);
    assert_int_equal(got_parent, want_parent);
}

static void ask_configuration(void)
{
    uint64_t got_index = 0, want_index = 0;
    struct buf *got = store_config(store, &got_index), *want = store_config(at_once, &want_index);
    assert_int_equal(got_index, want_index);
    assert_int_equal(got != NULL, want != NULL);
    buf_unref(got);
    buf_unref(want);
}

static void ask_how_it_stands(void)
{
    struct store_totals got, want;
    store_totals(at_once, &want);
    store_totals(store, &got);
    assert_memory_equal(&got, &want, sizeof(got));
    assert_int_equal(store_applied_index(store), store_applied_index(at_once));
    assert_int_equal(store_applied_term(store), store_applied_term(at_once));
}

static void ask_something(void)
{
    switch (roll(40)) {
    case 0:
        ask_directory();
        break;
    case 1:
        ask_configuration();
        break;
    case 2:
        ask_target();
        break;
    case 3:
    case 4:
        ask_content();
        break;
    default:
        if (roll(3))
            ask_name();
        else
            ask_inode();
    }
}

/* ---- Saving, closing, killing ---- */

static void open_at(const char *dir, bool create, struct store **out)
{
    struct store_options options;
    char why[STORE_WHY_BYTES] = "";
    harness_open_options(&options, dir, create);
    if (store_open(&options, out, why) != 0)
        fail_msg("%s", why);
}

/* The store goes on from what a kill would have left of it, with what it had in its log. */
static void kill_it(void)
{
    char command[512];
    uint64_t applied = store_applied_index(store);
    bool saved = store_is_saved(store);
    snprintf(command, sizeof(command), "cd %s && mkdir left && cp store.db store.db-wal left/",
             top);
    assert_int_equal(system(command), 0);
    store_close(store);
    snprintf(command, sizeof(command), "cd %s && mv left/* . && rmdir left", top);
    assert_int_equal(system(command), 0);
    open_at(top, false, &store);
    assert_true(store_applied_index(store) < applied || saved);
    killed_lost += store_applied_index(store) < applied;
    for (uint64_t i = store_applied_index(store) + 1; i <= applied; i++)
        apply_later(&logged[i].entry, 1, &result);
}

static void do_something_else(void)
{
    unsigned what = roll(300);
    if (what == 0)
        harness_reopen();
    else if (what < 4)
        kill_it();
    else if (what < 6)
        assert_int_equal(store_sync(store), 0);
    else if (what < 10)
        check_fingerprint();
    else if (what < 40)
        assert_int_equal(store_save(store), 0);
}

/* ---- The whole ---- */

static int setup(void **state)
{
    int error = harness_setup(state);
    make_names();
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

static void nothing_comes_out_differently(uint64_t seed)
{
    dice = seed;
    last_index = 1;
    who = (struct caller){.session = 1, .boot = 1};
    next_number = later_count = killed_lost = 0;
    for (unsigned i = 0; i < INODES; i++)
        new_inode();
    for (int k = 0; k < BATCHES; k++) {
        apply_some();
        ask_how_it_stands();
        for (unsigned i = roll(8); i > 0; i--)
            ask_something();
        do_something_else();
    }
    check_fingerprint();
    ask_how_it_stands();
    assert_true(later_count > BATCHES / 4);
    assert_true(killed_lost > 0);
}

static void one_way(void **state)
{
    (void)state;
    nothing_comes_out_differently(7);
}

static void or_another(void **state)
{
    (void)state;
    nothing_comes_out_differently(8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_way, setup, teardown),
        cmocka_unit_test_setup_teardown(or_another, setup, teardown),
    };
    return cmocka_run_group_tests_name("saved-later", tests, NULL, NULL);
}
