/* SPDX-License-Identifier: MIT */
/*
 * The same entries twice: as they are, and with others, or the same, tried before them. Whatever is
 * tried, each entry comes to the same result and each batch to the same fingerprint.
 */
#include "harness.h"

#include <stdio.h>

#define ROOT STORE_ROOT_INO

enum { BATCHES = 1500, MOST_ENTRIES = 4, MOST_BEHIND = 150, NAMES = 12, VALUE_BYTES = 30000 };

/* Draws what is applied, or what is tried in its place: one must not change the other. */
struct dice {
    uint64_t state;
};

static struct {
    struct store_result results[MOST_ENTRIES];
    uint64_t fingerprint;
} seen[BATCHES];

static char value[VALUE_BYTES];

static unsigned roll(struct dice *d, unsigned sides)
{
    d->state = d->state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(d->state >> 33) % sides;
}

static const char *draw_name(struct dice *d, char name[8])
{
    snprintf(name, 8, "n%u", roll(d, NAMES));
    return name;
}

/* Who the caller is: its session, its number and the lowest one that it awaits. */
struct caller {
    uint64_t session;
    uint64_t seq;
    uint64_t boot;
};

static uint64_t draw_ino(struct dice *d, const struct caller *who)
{
    return (who->session << 32) | (1 + roll(d, (unsigned)who->seq + 1));
}

static void draw_data(struct dice *d, struct command *c)
{
    uint32_t most = roll(d, 4) == 0 ? VALUE_BYTES : 200;
    c->data = value + roll(d, VALUE_BYTES - most + 1);
    c->data_bytes = roll(d, most + 1);
}

static void draw_op(struct dice *d, const struct caller *who, struct command *c)
{
    static const enum command_op ops[] = {
        COMMAND_CREATE, COMMAND_CREATE,  COMMAND_CREATE, COMMAND_MKDIR,  COMMAND_WRITE,
        COMMAND_WRITE,  COMMAND_SETATTR, COMMAND_UNLINK, COMMAND_RENAME, COMMAND_RMDIR};
    c->op = ops[roll(d, sizeof(ops) / sizeof(ops[0]))];
    c->parent = c->new_parent = ROOT;
    c->mode = 0644;
    c->ino = (who->session << 32) | who->seq;
    if (c->op == COMMAND_WRITE || c->op == COMMAND_SETATTR)
        c->ino = draw_ino(d, who);
    if (c->op == COMMAND_CREATE || c->op == COMMAND_WRITE)
        draw_data(d, c);
    if (c->op == COMMAND_CREATE)
        c->flags = COMMAND_WITH_DATA | (roll(d, 2) ? COMMAND_TRUNCATE : COMMAND_APPEND);
    if (c->op == COMMAND_WRITE)
        c->offset = roll(d, 2) ? 0 : roll(d, 3 * VALUE_BYTES);
    if (c->op == COMMAND_SETATTR) {
        c->set = COMMAND_SET_SIZE | COMMAND_SET_MODE;
        c->size = roll(d, 2 * VALUE_BYTES);
    }
}

/* Now and then a new session takes the place of the old one, or an earlier command comes again. */
static struct buf *draw_command(struct dice *d, struct caller *who)
{
    char name[8], new_name[8];
    struct command c = {.time_ns = roll(d, 1u << 30)};
    if (roll(d, 150) == 0) {
        *who = (struct caller){.session = who->session + 1, .boot = who->boot + 1};
        c.op = COMMAND_SESSION;
        c.incarnation = 5;
        c.boot = who->boot;
        return command_encode(&c);
    }
    who->seq++;
    draw_op(d, who, &c);
    bool again = roll(d, 10) == 0 && who->seq > 5;
    c.session = who->session;
    c.seq = again ? who->seq - roll(d, 5) : who->seq;
    uint64_t behind = roll(d, MOST_BEHIND);
    c.lowest_awaited = c.seq > behind ? c.seq - behind : 1;
    c.name = draw_name(d, name);
    c.name_bytes = (uint8_t)strlen(name);
    if (c.op == COMMAND_RENAME) {
        c.new_name = draw_name(d, new_name);
        c.new_name_bytes = (uint8_t)strlen(new_name);
    }
    return command_encode(&c);
}

static struct store_entry entry_of(const struct buf *b, unsigned behind, uint64_t term)
{
    return (struct store_entry){.index = store_applied_index(store) + 1 + behind,
                                .term = term,
                                .kind = STORE_ENTRY_COMMAND,
                                .data = b->data,
                                .bytes = b->bytes};
}

static void try_something(struct dice *d, struct caller who, const struct store_entry *next)
{
    while (roll(d, 2)) {
        struct buf *b = draw_command(d, &who);
        struct store_entry other = entry_of(b, 0, 9);
        store_try(store, &other);
        buf_unref(b);
    }
    if (roll(d, 4) == 0)
        store_undo(store);
    if (roll(d, 3))
        store_try(store, next);
    if (roll(d, 8) == 0)
        store_undo(store);
}

static void check_result(const struct store_result *got, const struct store_result *want)
{
    assert_int_equal(got->session, want->session);
    assert_int_equal(got->seq, want->seq);
    assert_int_equal(got->incarnation, want->incarnation);
    assert_int_equal(got->boot, want->boot);
    assert_int_equal(got->status, want->status);
    assert_int_equal(got->offset, want->offset);
    assert_int_equal(got->attr.ino, want->attr.ino);
    assert_int_equal(got->attr.size_bytes, want->attr.size_bytes);
    assert_int_equal(got->attr.mtime_ns, want->attr.mtime_ns);
    assert_int_equal(got->attr.version, want->attr.version);
}

/* `tries` is NULL the first time. */
static void apply_some(struct dice *d, struct caller *who, struct dice *tries,
                       struct store_result results[MOST_ENTRIES], uint32_t *count)
{
    struct buf *commands[MOST_ENTRIES];
    struct store_entry entries[MOST_ENTRIES];
    struct caller before = *who;
    *count = roll(d, 3) ? 1 : 1 + roll(d, MOST_ENTRIES);
    for (uint32_t i = 0; i < *count; i++) {
        commands[i] = draw_command(d, who);
        entries[i] = entry_of(commands[i], i, 1);
    }
    if (tries)
        try_something(tries, before, &entries[0]);
    assert_int_equal(store_apply(store, entries, *count, results), 0);
    for (uint32_t i = 0; i < *count; i++)
        buf_unref(commands[i]);
}

static void run(struct dice *tries)
{
    struct dice d = {.state = 7};
    struct caller who = {.session = 1, .boot = 1};
    for (int k = 0; k < BATCHES; k++) {
        struct store_result results[MOST_ENTRIES];
        uint32_t count;
        apply_some(&d, &who, tries, results, &count);
        for (uint32_t i = 0; tries && i < count; i++)
            check_result(&results[i], &seen[k].results[i]);
        if (tries)
            assert_int_equal(fingerprint(), seen[k].fingerprint);
        memcpy(seen[k].results, results, count * sizeof(results[0]));
        seen[k].fingerprint = fingerprint();
        if (k % 50 == 0)
            check_fingerprint();
        if (k % 400 == 399)
            harness_reopen();
    }
    check_fingerprint();
}

static void nothing_comes_out_differently(void **state)
{
    for (size_t i = 0; i < VALUE_BYTES; i++)
        value[i] = (char)('a' + i % 23);
    run(NULL);
    for (unsigned round = 0; round < 3; round++) {
        harness_teardown(state);
        assert_int_equal(harness_setup(state), 0);
        run(&(struct dice){.state = 100 + round});
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_comes_out_differently, harness_setup,
                                        harness_teardown),
    };
    return cmocka_run_group_tests_name("tried", tests, NULL, NULL);
}
