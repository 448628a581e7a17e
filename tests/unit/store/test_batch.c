/* SPDX-License-Identifier: MIT */
/* What is tried before it is committed: unseen until then, and as if it had never been otherwise.
 */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>

#define ROOT STORE_ROOT_INO

enum { SESSION_SEQS = 1000000 };

static uint64_t seq, ino;

/* A command that the harness does not send itself, to be the entry behind the next `behind` ones.
 */
struct prepared {
    struct buf *encoded;
    struct store_entry entry;
};

static int setup(void **state)
{
    seq = SESSION_SEQS; /* out of the way of the harness's own */
    ino = SESSION_SEQS;
    return harness_setup(state);
}

static struct prepared prepare(struct command c, unsigned behind, uint64_t term)
{
    c.session = 1;
    c.seq = ++seq;
    c.lowest_awaited = c.seq;
    c.time_ns = 1000000 * c.seq;
    c.name_bytes = c.name ? (uint8_t)strlen(c.name) : 0;
    c.new_name_bytes = c.new_name ? (uint8_t)strlen(c.new_name) : 0;
    if (c.op == COMMAND_CREATE)
        c.ino = ((uint64_t)1 << 32) | ++ino;
    struct prepared p = {.encoded = command_encode(&c)};
    assert_non_null(p.encoded);
    p.entry = (struct store_entry){.index = store_applied_index(store) + 1 + behind,
                                   .term = term,
                                   .kind = STORE_ENTRY_COMMAND,
                                   .data = p.encoded->data,
                                   .bytes = p.encoded->bytes};
    return p;
}

static struct command put_of(const char *name, const char *value)
{
    return (struct command){.op = COMMAND_CREATE,
                            .flags = COMMAND_WITH_DATA | COMMAND_TRUNCATE,
                            .parent = ROOT,
                            .name = name,
                            .mode = 0644,
                            .data = value,
                            .data_bytes = (uint32_t)strlen(value)};
}

static bool try_and_drop(struct prepared p)
{
    bool tried = store_try(store, &p.entry);
    buf_unref(p.encoded); /* nothing of it is needed any more */
    return tried;
}

static void apply_prepared(const struct prepared *p, uint32_t count)
{
    struct store_entry entries[8];
    struct store_result results[8];
    for (uint32_t i = 0; i < count; i++)
        entries[i] = p[i].entry;
    assert_int_equal(store_apply(store, entries, count, results), 0);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(results[i].status, 0);
        assert_int_equal(results[i].seq, seq - count + 1 + i);
        buf_unref(p[i].encoded);
    }
    result = results[count - 1];
    check_fingerprint();
}

static void nobody_sees_it_before_it_is_committed(void **state)
{
    (void)state;
    assert_int_equal(do_put(ROOT, "key", "old"), 0);
    uint64_t index = store_applied_index(store), before = fingerprint();
    uint64_t key = ino_of(ROOT, "key");
    struct prepared p = prepare(put_of("key", "new"), 0, 1);
    assert_true(store_try(store, &p.entry));
    assert_string_equal(content_of(key), "old");
    assert_int_equal(store_applied_index(store), index);
    assert_int_equal(fingerprint(), before);
    check_fingerprint();

    apply_prepared(&p, 1);
    assert_int_equal(result.attr.ino, key);
    assert_int_equal(result.attr.size_bytes, 3);
    assert_string_equal(content_of(key), "new");
    assert_int_equal(store_applied_index(store), index + 1);
}

static void a_batch_goes_on_from_there(void **state)
{
    (void)state;
    struct prepared p[3] = {prepare(put_of("a", "1"), 0, 1), prepare(put_of("b", "2"), 1, 1),
                            prepare(put_of("a", "3"), 2, 1)};
    assert_true(store_try(store, &p[0].entry));
    apply_prepared(p, 3);
    assert_string_equal(content_of(ino_of(ROOT, "a")), "3");
    assert_string_equal(content_of(ino_of(ROOT, "b")), "2");
}

static void another_entry_may_come_in_its_place(void **state)
{
    (void)state;
    assert_true(try_and_drop(prepare(put_of("of the old leader", "x"), 0, 1)));
    struct prepared p = prepare(put_of("of the new leader", "y"), 0, 2);
    apply_prepared(&p, 1);
    assert_int_equal(ino_of(ROOT, "of the old leader"), 0);
    assert_string_equal(content_of(ino_of(ROOT, "of the new leader")), "y");
}

static void it_is_undone_without_a_trace(void **state)
{
    (void)state;
    uint64_t before = fingerprint();
    assert_true(try_and_drop(prepare(put_of("key", "never"), 0, 1)));
    store_undo(store);
    store_undo(store);
    assert_int_equal(fingerprint(), before);
    assert_int_equal(store_sync(store), 0); /* nobody holds SQLite's lock any more */
    assert_int_equal(do_put(ROOT, "other", "value"), 0);
    assert_int_equal(ino_of(ROOT, "key"), 0);
    harness_reopen();
    check_fingerprint();
}

static void the_next_one_tried_takes_its_place(void **state)
{
    (void)state;
    assert_true(try_and_drop(prepare(put_of("first", "1"), 0, 1)));
    struct prepared p = prepare(put_of("second", "2"), 0, 3);
    assert_true(store_try(store, &p.entry));
    apply_prepared(&p, 1);
    assert_int_equal(ino_of(ROOT, "first"), 0);
    assert_string_equal(content_of(ino_of(ROOT, "second")), "2");
}

static void only_the_next_entry_is_tried(void **state)
{
    (void)state;
    assert_false(try_and_drop(prepare(put_of("key", "1"), 1, 1)));
    struct prepared old = prepare(put_of("key", "1"), 0, 1);
    old.entry.index--;
    assert_false(try_and_drop(old));
    assert_int_equal(ino_of(ROOT, "key"), 0);
}

/* The copy for who has it open would be there, whether it is committed or not. */
static void a_removal_is_not_tried(void **state)
{
    (void)state;
    assert_int_equal(do_put(ROOT, "key", "value"), 0);
    assert_int_equal(do_put(ROOT, "other", "value"), 0);
    assert_int_equal(do_mkdir(ROOT, "dir", root_user, 0755), 0);
    open_ino = ino_of(ROOT, "key");
    assert_false(try_and_drop(
        prepare((struct command){.op = COMMAND_UNLINK, .parent = ROOT, .name = "key"}, 0, 1)));
    assert_false(try_and_drop(
        prepare((struct command){.op = COMMAND_RMDIR, .parent = ROOT, .name = "dir"}, 0, 1)));
    assert_false(try_and_drop(prepare((struct command){.op = COMMAND_RENAME,
                                                       .parent = ROOT,
                                                       .name = "other",
                                                       .new_parent = ROOT,
                                                       .new_name = "key"},
                                      0, 1)));
    assert_string_equal(content_of(open_ino), "value");
    struct store_attr attr;
    assert_int_equal(store_getattr(store, open_ino, &attr), 0);
    assert_int_equal(attr.nlink, 1);
}

static void what_is_no_command_is_tried_too(void **state)
{
    (void)state;
    uint64_t index = store_applied_index(store);
    struct store_entry config = {
        .index = index + 1, .term = 1, .kind = STORE_ENTRY_CONFIG, .data = "members", .bytes = 7};
    uint64_t config_index;
    assert_true(store_try(store, &config));
    assert_null(store_config(store, &config_index));
    store_undo(store);
    assert_true(store_try(store, &config));
    assert_int_equal(store_apply(store, &config, 1, &result), 0);
    struct buf *found = store_config(store, &config_index);
    assert_non_null(found);
    assert_int_equal(config_index, index + 1);
    buf_unref(found);
}

/* ---- Whatever comes, the state is that of the entries that were applied ---- */

enum { KEYS = 5, STEPS = 2000 };

static char model[KEYS][16];

static struct command random_put(char name[16], char value[16])
{
    snprintf(name, 16, "key%d", rand() % KEYS);
    snprintf(value, 16, "%d", rand());
    return put_of(name, value);
}

static void try_at_random(const struct prepared *next)
{
    char name[16], value[16];
    if (rand() % 2)
        try_and_drop(prepare(random_put(name, value), 0, 7));
    if (rand() % 4 == 0)
        store_undo(store);
    if (rand() % 2)
        store_try(store, &next->entry);
    if (rand() % 8 == 0)
        store_undo(store);
}

static void check_model(void)
{
    for (int i = 0; i < KEYS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "key%d", i);
        uint64_t key = ino_of(ROOT, name);
        assert_string_equal(key ? content_of(key) : "", model[i]);
    }
}

static void what_is_applied_counts_and_nothing_else(void **state)
{
    (void)state;
    memset(model, 0, sizeof(model));
    srand(3);
    for (int step = 0; step < STEPS; step++) {
        char name[16], value[16];
        struct command c = random_put(name, value);
        struct prepared p = prepare(c, 0, 1);
        uint64_t own = seq;
        try_at_random(&p);
        assert_int_equal(store_apply(store, &p.entry, 1, &result), 0);
        assert_int_equal(result.status, 0);
        assert_int_equal(result.seq, own);
        buf_unref(p.encoded);
        snprintf(model[name[3] - '0'], sizeof(model[0]), "%s", value);
        if (step % 50 == 0) {
            check_fingerprint();
            check_model();
        }
    }
    harness_reopen();
    check_fingerprint();
    check_model();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nobody_sees_it_before_it_is_committed, setup,
                                        harness_teardown),
        cmocka_unit_test_setup_teardown(a_batch_goes_on_from_there, setup, harness_teardown),
        cmocka_unit_test_setup_teardown(another_entry_may_come_in_its_place, setup,
                                        harness_teardown),
        cmocka_unit_test_setup_teardown(it_is_undone_without_a_trace, setup, harness_teardown),
        cmocka_unit_test_setup_teardown(the_next_one_tried_takes_its_place, setup,
                                        harness_teardown),
        cmocka_unit_test_setup_teardown(only_the_next_entry_is_tried, setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_removal_is_not_tried, setup, harness_teardown),
        cmocka_unit_test_setup_teardown(what_is_no_command_is_tried_too, setup, harness_teardown),
        cmocka_unit_test_setup_teardown(what_is_applied_counts_and_nothing_else, setup,
                                        harness_teardown),
    };
    return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
