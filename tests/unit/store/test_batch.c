/* SPDX-License-Identifier: MIT */
/*
 * Lone entries that are applied at once and saved later: seen by every query from then on, saved
 * when something needs it, and none lost nor applied twice.
 */
#include "lone.h"

#include <stdio.h>
#include <stdlib.h>

#include "store/internal.h"
#include "store/snapshot.h"

#define ROOT STORE_ROOT_INO

static unsigned told; /* how often, and of which name's inode at last */
static uint64_t told_ino;
static char small[UNSAVED_ENTRY_BYTES + 1];

static int setup(void **state)
{
    lone_seq = LONE_FIRST_SEQ;
    told = 0;
    memset(small, 's', UNSAVED_ENTRY_BYTES);
    return harness_setup(state);
}

/* ---- What is seen ---- */

static void it_is_visible_at_once_and_saved_later(void **state)
{
    (void)state;
    uint64_t key = put_saved("key", "old"), index = store_applied_index(store);
    uint64_t before = fingerprint();
    assert_true(store_is_saved(store));
    assert_int_equal(put_unsaved("key", "newer"), key);
    assert_false(store_is_saved(store));
    assert_int_equal(store_applied_index(store), index + 1);
    assert_int_not_equal(fingerprint(), before);
    assert_int_equal(attr_of(key).size_bytes, 5);
    assert_int_equal(ino_of(ROOT, "key"), key);
    assert_int_equal(index_on_disk(), index);
    assert_int_equal(store_save(store), 0);
    assert_true(store_is_saved(store));
    assert_int_equal(index_on_disk(), index + 1);
    assert_string_equal(content_of(key), "newer");
    check_fingerprint();
}

static void a_query_that_needs_sqlite_has_it_saved(void **state)
{
    (void)state;
    uint64_t key = put_saved("key", "old");
    put_unsaved("key", "new");
    assert_string_equal(content_of(key), "new");
    assert_true(store_is_saved(store));

    put_unsaved("key", "newest");
    uint64_t parent;
    assert_int_equal(store_parent(store, ROOT, &parent), 0);
    assert_true(store_is_saved(store));
}

static void what_is_not_touched_is_asked_for_without_saving(void **state)
{
    (void)state;
    uint64_t other = put_saved("other", "as it was");
    put_unsaved("key", "value");
    assert_string_equal(content_of(other), "as it was");
    assert_int_equal(ino_of(ROOT, "absent"), 0);
    assert_int_equal(ino_of(ROOT, "other"), other);
    struct store_attr attr;
    assert_int_equal(store_getattr(store, 12345, &attr), -ESTALE);
    assert_false(store_is_saved(store));
}

/* No name of this length is cached. */
static void *ask_parent(void *arg)
{
    uint64_t parent;
    *(int *)arg = store_parent(store, ROOT, &parent);
    return NULL;
}

/* Whoever applies a batch has saved what was visible, and holds the lock for much longer. */
static void a_query_does_not_wait_for_what_follows_the_saving(void **state)
{
    (void)state;
    pthread_t thread;
    int status = 1;
    put_unsaved("key", "value");
    pthread_mutex_lock(&store->writer_lock);
    assert_int_equal(pthread_create(&thread, NULL, ask_parent, &status), 0);
    assert_int_equal(batch_save_locked(store), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    pthread_mutex_unlock(&store->writer_lock);
    assert_int_equal(status, 0);
}

static void a_long_name_is_found_and_not_taken_for_absent(void **state)
{
    (void)state;
    char name[101] = "";
    memset(name, 'n', 100);
    assert_int_equal(ino_of(ROOT, name), 0);
    uint64_t ino = put_unsaved(name, "value");
    assert_int_equal(ino_of(ROOT, name), ino);
    assert_true(store_is_saved(store));
}

static void what_the_cache_has_not_is_not_as_it_was_before(void **state)
{
    (void)state;
    struct store_attr attr;
    uint64_t key = put_saved("key", "1");
    put_unsaved("key", "three");
    cache_end_epoch(store->cache);
    cache_forget(store->cache);
    cache_begin_epoch(store->cache, NULL, 0);
    assert_int_equal(store_lookup(store, ROOT, "key", 3, &attr), 0);
    assert_int_equal(attr.size_bytes, 5);
    put_unsaved("key", "seven..");
    cache_end_epoch(store->cache);
    cache_forget(store->cache);
    cache_begin_epoch(store->cache, NULL, 0);
    assert_int_equal(attr_of(key).size_bytes, 7);
    assert_int_equal(attr_of(key).size_bytes, 7); /* from the cache */
}

static void a_new_directory_is_empty_and_there(void **state)
{
    (void)state;
    struct store_attr attr;
    assert_int_equal(unsaved(mkdir_of("dir")), 0);
    uint64_t dir = result.attr.ino;
    assert_int_equal(store_lookup(store, dir, "name", 4, &attr), -ENOENT);
    assert_false(store_is_saved(store));
    assert_int_equal(store_lookup(store, dir + 1000, "name", 4, &attr), -ESTALE);
    assert_int_equal(store_lookup(store, dir, "..", 2, &attr), 0);
    assert_int_equal(attr.ino, ROOT);
    assert_true(store_is_saved(store));
}

static void the_directorys_attributes_are_of_the_last_entry(void **state)
{
    (void)state;
    put_saved("a", "1");
    int64_t mtime_ns = attr_of(ROOT).mtime_ns;
    put_unsaved("b", "1");
    assert_true(attr_of(ROOT).mtime_ns > mtime_ns);
    assert_int_equal(attr_of(ROOT).mtime_ns, 1000000 * lone_seq);
}

/* ---- What may wait ---- */

static int unsaved_bytes(enum store_entry_kind kind, const void *data, uint32_t bytes)
{
    struct store_entry entry = next_entry(kind, data, bytes);
    return store_apply_unsaved(store, &entry, &result);
}

static void a_removal_and_a_configuration_may_not(void **state)
{
    (void)state;
    uint64_t key = put_saved("key", "value");
    assert_int_equal(apply_by(apply_saved, mkdir_of("dir")), 0);
    uint64_t index = store_applied_index(store), before = fingerprint();
    for (int with_others = 0; with_others < 2; with_others++) {
        struct command rename = removal_of(COMMAND_RENAME, "key");
        rename.new_parent = ROOT;
        rename.new_name = "other";
        assert_int_equal(unsaved(removal_of(COMMAND_UNLINK, "key")), -EAGAIN);
        assert_int_equal(unsaved(removal_of(COMMAND_RMDIR, "dir")), -EAGAIN);
        assert_int_equal(unsaved(rename), -EAGAIN);
        assert_int_equal(unsaved_bytes(STORE_ENTRY_CONFIG, "members", 7), -EAGAIN);
        assert_int_equal(store_applied_index(store), index);
        assert_int_equal(fingerprint(), before);
        assert_int_equal(ino_of(ROOT, "key"), key);
        put_unsaved("another", "value");
        index++;
        before = fingerprint();
    }
    check_fingerprint();
}

static void a_big_one_may_not(void **state)
{
    (void)state;
    small[UNSAVED_ENTRY_BYTES - 200] = '\0';
    put_unsaved("key", small);
    small[UNSAVED_ENTRY_BYTES - 200] = 's';
    assert_int_equal(unsaved(put_of("key", small)), -EAGAIN); /* and what is around it */
    assert_false(store_is_saved(store));
}

static void one_to_a_large_or_unknown_file_may_not(void **state)
{
    (void)state;
    static char large[20001];
    memset(large, 'l', sizeof(large) - 1);
    uint64_t file = put_saved("large", large), key = put_saved("key", "value");
    assert_int_equal(unsaved(write_of(file, 0, "x")), -EAGAIN);
    assert_int_equal(unsaved(put_of("large", "x")), -EAGAIN); /* it would be cut */
    assert_int_equal(unsaved(write_of(key, 0, "x")), 0);
    cache_end_epoch(store->cache);
    cache_forget(store->cache);
    cache_begin_epoch(store->cache, NULL, 0);
    assert_int_equal(unsaved(write_of(key, 0, "y")), -EAGAIN);
    assert_string_equal(content_of(key), "xalue");
    assert_int_equal(attr_of(key).size_bytes, 5);
    assert_int_equal(unsaved(write_of(key, 0, "z")), 0);
    assert_string_equal(content_of(key), "zalue");
}

static void one_far_behind_the_end_may_not(void **state)
{
    (void)state;
    uint64_t key = put_saved("key", "value");
    assert_int_equal(unsaved(write_of(key, 60000, "far")), -EAGAIN);
    assert_int_equal(unsaved(write_of(key, 5, "near")), 0);
    assert_string_equal(content_of(key), "valuenear");
}

static void what_changes_nothing_may(void **state)
{
    (void)state;
    uint64_t index = store_applied_index(store), before = fingerprint();
    assert_int_equal(unsaved_bytes(STORE_ENTRY_EMPTY, NULL, 0), 0);
    assert_int_equal(result.seq, 0);
    assert_int_equal(unsaved_bytes(STORE_ENTRY_COMMAND, "no command", 10), 0);
    assert_int_equal(result.seq, 0);
    assert_int_equal(store_applied_index(store), index + 2);
    assert_int_equal(fingerprint(), before);
    check_fingerprint();
    assert_int_equal(index_on_disk(), index + 2);
}

static void so_many_share_a_transaction_and_no_more(void **state)
{
    (void)state;
    uint64_t index = store_applied_index(store);
    for (unsigned i = 0; i < UNSAVED_ENTRIES; i++) {
        char name[16];
        snprintf(name, sizeof(name), "key%u", i);
        put_unsaved(name, name);
    }
    assert_int_equal(index_on_disk(), index);
    assert_int_equal(unsaved(put_of("one more", "value")), -EAGAIN);
    assert_int_equal(index_on_disk(), index);
    assert_int_equal(store_applied_index(store), index + UNSAVED_ENTRIES);
    put_saved("one more", "value");
    assert_int_equal(index_on_disk(), index + UNSAVED_ENTRIES + 1);
    put_unsaved("and again", "value");
    check_fingerprint();
    assert_string_equal(content_of(ino_of(ROOT, "key63")), "key63");
}

static void the_first_one_after_opening_may_not(void **state)
{
    (void)state;
    put_saved("key", "value");
    harness_reopen();
    assert_int_equal(unsaved(put_of("key", "other")), -EAGAIN); /* it reads all sessions */
    put_saved("key", "other");
    put_unsaved("key", "third");
    check_fingerprint();
}

static void it_may_not_while_somebody_else_writes(void **state)
{
    (void)state;
    char path[128];
    struct sql sql;
    put_saved("key", "value");
    snprintf(path, sizeof(path), "%s/store.db", top);
    assert_int_equal(sql_open(&sql, path, SQLITE_OPEN_READWRITE), 0);
    sql_begin(&sql, true);
    assert_int_equal(unsaved(put_of("key", "other")), -EAGAIN);
    assert_int_equal(sql_end(&sql), 0);
    sql_close(&sql);
    assert_string_equal(content_of(ino_of(ROOT, "key")), "value");
    put_unsaved("key", "third");
    check_fingerprint();
}

/* ---- Saving ---- */

static void a_batch_saves_what_came_before_it(void **state)
{
    (void)state;
    enum { COUNT = 5 };
    struct buf *b[COUNT];
    struct store_entry entries[COUNT];
    struct store_result results[COUNT];
    uint64_t a = put_unsaved("a", "1");
    for (unsigned i = 0; i < COUNT; i++) {
        char value[2] = {(char)('2' + i), '\0'};
        b[i] = encode(put_of(i % 2 ? "b" : "a", value));
        entries[i] = next_entry(STORE_ENTRY_COMMAND, b[i]->data, b[i]->bytes);
        entries[i].index += i;
    }
    assert_int_equal(store_apply(store, entries, COUNT, results), 0);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(results[i].seq, lone_seq - COUNT + 1 + i);
        buf_unref(b[i]);
    }
    assert_true(store_is_saved(store));
    assert_int_equal(index_on_disk(), store_applied_index(store));
    assert_string_equal(content_of(a), "6");
    assert_string_equal(content_of(ino_of(ROOT, "b")), "5");
    check_fingerprint();
}

static void a_configuration_is_found_after_unsaved_ones(void **state)
{
    (void)state;
    uint64_t index;
    put_unsaved("a", "1");
    struct store_entry entry = next_entry(STORE_ENTRY_CONFIG, "members", 7);
    assert_int_equal(store_apply(store, &entry, 1, &result), 0);
    put_unsaved("a", "2");
    struct buf *config = store_config(store, &index);
    assert_non_null(config);
    assert_int_equal(index, entry.index);
    buf_unref(config);
}

static void a_sync_makes_it_durable(void **state)
{
    (void)state;
    put_unsaved("key", "value");
    assert_true(store_durable_index(store) < store_applied_index(store));
    assert_int_equal(store_sync(store), 0);
    assert_int_equal(store_durable_index(store), store_applied_index(store));
    assert_true(store_is_saved(store));
}

static void a_snapshot_holds_it(void **state)
{
    (void)state;
    static const atomic_bool never;
    struct snapshot found[SNAPSHOT_KEPT], snapshot;
    char dir[128], why[STORE_WHY_BYTES];
    snprintf(dir, sizeof(dir), "%s/snapshots", top);
    assert_int_equal(snapshot_open_dir(dir, found, why), 0);
    put_unsaved("key", "value");
    assert_int_equal(snapshot_take(store, dir, &never, &snapshot), 0);
    assert_int_equal(snapshot.index, store_applied_index(store));
}

static void closing_saves_it(void **state)
{
    (void)state;
    uint64_t key = put_unsaved("key", "value"), index = store_applied_index(store);
    uint64_t before = fingerprint();
    harness_reopen();
    assert_int_equal(store_applied_index(store), index);
    assert_int_equal(fingerprint(), before);
    assert_string_equal(content_of(key), "value");
}

static void what_was_open_and_goes_has_its_last_content(void **state)
{
    (void)state;
    uint64_t key = open_ino = put_saved("key", "old");
    put_unsaved("key", "unsaved");
    assert_int_equal(apply_by(apply_saved, removal_of(COMMAND_UNLINK, "key")), 0);
    assert_int_equal(result.status, 0);
    assert_string_equal(content_of(key), "unsaved");
    assert_int_equal(attr_of(key).nlink, 0);
    store_orphan_release(store, key);
}

/* As the node does. */
static int apply_either(struct store *s, const struct store_entry *entry, struct store_result *r)
{
    return store_apply_unsaved(s, entry, r) == 0 ? 0 : store_apply(s, entry, 1, r);
}

static void put_some(void)
{
    for (unsigned i = 0; i < 9; i++) {
        char name[16];
        snprintf(name, sizeof(name), i % 3 ? "key" : "key%u", i);
        assert_int_equal(apply_by(apply_either, put_of(name, name)), 0);
        assert_int_equal(result.status, 0);
    }
}

/* What a kill would leave of the store, open beside it. */
static struct store *open_copy(void)
{
    char command[256], why[STORE_WHY_BYTES];
    struct store_options options;
    struct store *copy;
    snprintf(command, sizeof(command), "cd %s && mkdir killed && cp store.db store.db-wal killed",
             top);
    assert_int_equal(system(command), 0);
    strcat(top, "/killed");
    harness_open_options(&options, top, false);
    assert_int_equal(store_open(&options, &copy, why), 0);
    return copy;
}

static void what_a_kill_takes_is_applied_again(void **state)
{
    (void)state;
    struct store *running = store;
    uint64_t key = put_saved("key", "old"), index = store_applied_index(store);
    uint64_t saved = fingerprint(), saved_seq = lone_seq;
    put_some();
    assert_false(store_is_saved(store));
    uint64_t after = fingerprint();

    store = open_copy();
    assert_int_equal(store_applied_index(store), index);
    assert_int_equal(fingerprint(), saved);
    check_fingerprint();
    assert_string_equal(content_of(key), "old");
    lone_seq = saved_seq;
    put_some();
    assert_int_equal(fingerprint(), after);
    check_fingerprint();
    store_close(store);

    *strrchr(top, '/') = '\0';
    store = running;
    assert_int_equal(fingerprint(), after);
    check_fingerprint();
}
static void on_touched(void *ctx, const struct store_touched *items, uint32_t count)
{
    (void)ctx;
    told++;
    for (uint32_t i = 0; i < count; i++)
        if (items[i].name_bytes)
            told_ino = items[i].ino;
}
static void whoever_is_told_is_told_once(void **state)
{
    (void)state;
    struct store_options options;
    char why[STORE_WHY_BYTES];
    store_close(store);
    harness_open_options(&options, top, false);
    options.touched = on_touched;
    assert_int_equal(store_open(&options, &store, why), 0);
    put_saved("first", "value"); /* as after any opening */
    told = 0;
    uint64_t key = put_unsaved("key", "value");
    assert_int_equal(told, 1);
    assert_int_equal(told_ino, key);
    assert_int_equal(store_save(store), 0);
    assert_int_equal(told, 1);
}
int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, harness_teardown)
        T(it_is_visible_at_once_and_saved_later),
        T(a_query_that_needs_sqlite_has_it_saved),
        T(what_is_not_touched_is_asked_for_without_saving),
        T(a_query_does_not_wait_for_what_follows_the_saving),
        T(a_long_name_is_found_and_not_taken_for_absent),
        T(what_the_cache_has_not_is_not_as_it_was_before),
        T(a_new_directory_is_empty_and_there),
        T(the_directorys_attributes_are_of_the_last_entry),
        T(a_removal_and_a_configuration_may_not),
        T(a_big_one_may_not),
        T(one_to_a_large_or_unknown_file_may_not),
        T(one_far_behind_the_end_may_not),
        T(what_changes_nothing_may),
        T(so_many_share_a_transaction_and_no_more),
        T(the_first_one_after_opening_may_not),
        T(it_may_not_while_somebody_else_writes),
        T(a_batch_saves_what_came_before_it),
        T(a_configuration_is_found_after_unsaved_ones),
        T(a_sync_makes_it_durable),
        T(a_snapshot_holds_it),
        T(closing_saves_it),
        T(what_was_open_and_goes_has_its_last_content),
        T(what_a_kill_takes_is_applied_again),
        T(whoever_is_told_is_told_once),
    };
    return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
