/* SPDX-License-Identifier: MIT */
/*
 * Names and attributes from memory: always what SQLite shows, whatever is applied, and whatever is
 * asked while a batch becomes visible. What SQLite shows is asked on a connection of the test's.
 */
#include "replica.h"

#include <stdio.h>
#include <stdlib.h>

#include "store/install.h"
#include "store/internal.h"

#define ROOT STORE_ROOT_INO

enum { DIRS = 4, NAMES = 6, STEPS = 1500 };

static struct sql truth;

static void open_truth(void)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/store.db", top);
    assert_int_equal(sql_open(&truth, path, SQLITE_OPEN_READONLY), 0);
}

static int setup(void **state)
{
    int error = harness_setup(state);
    if (error == 0)
        open_truth();
    return error;
}

static int teardown(void **state)
{
    sql_close(&truth);
    return harness_teardown(state);
}

/* The inode as SQLite has it; ino 0: none. */
static struct store_attr true_attr(uint64_t ino)
{
    struct inode inode = {0};
    sql_begin(&truth, false);
    if (!tree_read(&truth, ino, &inode))
        inode.attr.ino = 0;
    assert_int_equal(sql_end(&truth), 0);
    return inode.attr;
}

static uint64_t true_ino(uint64_t dir, const char *name)
{
    struct dentry dentry = {0};
    struct txn t = {.sql = &truth};
    sql_begin(&truth, false);
    if (!tree_find(&t, dir, (struct name){.text = name, .bytes = (uint8_t)strlen(name)}, &dentry))
        dentry.ino = 0;
    assert_int_equal(sql_end(&truth), 0);
    return dentry.ino;
}

static void check_inode(uint64_t ino)
{
    struct store_attr want = true_attr(ino), got;
    int status = store_getattr(store, ino, &got);
    assert_int_equal(status, want.ino ? 0 : -ESTALE);
    if (status == 0)
        assert_memory_equal(&got, &want, sizeof(want));
}

/* What becomes of a name that is not there. */
static int true_absence(uint64_t dir)
{
    struct store_attr attr = true_attr(dir);
    return !attr.ino ? -ESTALE : S_ISDIR(attr.mode) ? -ENOENT : -ENOTDIR;
}

/* Twice: the second answer may come from the first one's having been kept. */
static void check_name(uint64_t dir, const char *name)
{
    uint64_t ino = true_ino(dir, name);
    for (int i = 0; i < 2; i++) {
        struct store_attr got, want = true_attr(ino);
        int status = store_lookup(store, dir, name, strlen(name), &got);
        assert_int_equal(status, ino ? 0 : true_absence(dir));
        if (status == 0)
            assert_memory_equal(&got, &want, sizeof(want));
    }
    if (ino)
        check_inode(ino);
}

/* Of a directory whose parent is the root. */
static void check_dots(uint64_t dir)
{
    struct store_attr got;
    int absence = true_absence(dir);
    for (size_t bytes = 1; bytes <= 2; bytes++) {
        int status = store_lookup(store, dir, "..", bytes, &got);
        assert_int_equal(status, absence == -ENOENT ? 0 : absence);
        if (status == 0)
            assert_int_equal(got.ino, bytes == 1 ? dir : ROOT);
    }
}

static bool is_kept(uint64_t ino)
{
    struct store_attr attr;
    return cache_find(store->cache, cache_epoch(store->cache), ino, &attr);
}

static bool is_name_kept(uint64_t dir, const char *name)
{
    struct store_attr attr;
    return cache_find_name(store->cache, cache_epoch(store->cache), dir, name, strlen(name), &attr);
}

/* ---- Whatever is applied ---- */

static const char *const names[NAMES] = {
    "a",
    "b",
    "c",
    "d",
    "a-name-of-47-bytes-which-is-the-longest-of-them",
    "a-name-of-48-bytes-which-is-longer-than-any-kept",
};

static const char *any_name(void)
{
    return names[rand() % NAMES];
}

static void do_anything(const uint64_t dirs[DIRS])
{
    uint64_t dir = dirs[rand() % DIRS], other = dirs[rand() % DIRS];
    const char *name = any_name();
    static const unsigned rename_flags[] = {0, 0, COMMAND_NOREPLACE, COMMAND_EXCHANGE};
    switch (rand() % 8) {
    case 0:
    case 1:
        do_put(dir, name, "value");
        break;
    case 2:
        do_unlink(dir, name, root_user);
        break;
    case 3:
        do_mkdir(dir, name, root_user, 0755);
        break;
    case 4:
        do_rmdir(dir, name, root_user);
        break;
    case 5:
        do_write(true_ino(dir, name), 3, "more", 4, 0);
        break;
    default:
        do_rename(dir, name, other, any_name(), rename_flags[rand() % 4], root_user);
    }
}

static void answers_are_those_of_sqlite(void **state)
{
    (void)state;
    uint64_t dirs[DIRS] = {ROOT};
    char name[16];
    srand(7);
    assert_int_equal(strlen(names[4]), CACHE_NAME_BYTES);
    for (int i = 1; i < DIRS; i++) {
        snprintf(name, sizeof(name), "dir%d", i);
        assert_int_equal(do_mkdir(ROOT, name, root_user, 0755), 0);
        dirs[i] = result.attr.ino;
    }
    for (int step = 0; step < STEPS; step++) {
        uint64_t before[DIRS][NAMES];
        for (int d = 0; d < DIRS; d++)
            for (int n = 0; n < NAMES; n++)
                before[d][n] = true_ino(dirs[d], names[n]);
        do_anything(dirs);
        for (int d = 0; d < DIRS; d++) {
            check_inode(dirs[d]);
            for (int n = 0; n < NAMES; n++) {
                check_name(dirs[d], names[n]);
                if (before[d][n]) {
                    check_inode(before[d][n]);
                    check_name(before[d][n], "a");
                }
            }
        }
    }
}

/* Several commands that touch the same things: as the last one leaves them. */
static void a_batch_leaves_its_last_state(void **state)
{
    (void)state;
    struct store_entry entries[6];
    struct store_result results[6];
    struct buf *kept[6];
    do_put(ROOT, "a", "1");
    uint64_t ino = result.attr.ino;
    check_name(ROOT, "a");
    const struct command steps[] = {
        {.op = COMMAND_WRITE, .ino = ino, .data = "22", .data_bytes = 2},
        {.op = COMMAND_RENAME, .name = "a", .new_name = "b", .new_parent = ROOT},
        {.op = COMMAND_WRITE, .ino = ino, .data = "333", .data_bytes = 3},
        {.op = COMMAND_RENAME, .name = "b", .new_name = "a", .new_parent = ROOT},
        {.op = COMMAND_SETATTR, .ino = ino, .set = COMMAND_SET_MODE, .mode = 0600},
        {.op = COMMAND_RENAME, .name = "a", .new_name = "c", .new_parent = ROOT},
    };
    for (uint32_t i = 0; i < 6; i++) {
        struct command c = steps[i];
        c.session = 1;
        c.seq = 1000 + i;
        c.parent = c.name ? ROOT : 0;
        c.name_bytes = c.name ? 1 : 0;
        c.new_name_bytes = c.new_name ? 1 : 0;
        kept[i] = command_encode(&c);
        entries[i] = (struct store_entry){.index = store_applied_index(store) + 1 + i,
                                          .term = 1,
                                          .kind = STORE_ENTRY_COMMAND,
                                          .data = kept[i]->data,
                                          .bytes = kept[i]->bytes};
    }
    assert_int_equal(store_apply(store, entries, 6, results), 0);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(results[i].status, 0);
        buf_unref(kept[i]);
    }
    assert_true(is_name_kept(ROOT, "c"));
    check_name(ROOT, "a");
    check_name(ROOT, "b");
    check_name(ROOT, "c");
    assert_int_equal(attr_of(ino).size_bytes, 3);
    assert_int_equal(attr_of(ino).mode, S_IFREG | 0600);
}

/* Writing a key never makes its next reader ask SQLite. */
static void what_was_changed_is_kept(void **state)
{
    (void)state;
    do_put(ROOT, "key", "1");
    uint64_t ino = result.attr.ino;
    assert_true(is_name_kept(ROOT, "key"));
    assert_true(is_kept(ROOT));
    do_write(ino, 0, "22", 2, 0);
    assert_true(is_name_kept(ROOT, "key"));
    assert_int_equal(attr_of(ino).size_bytes, 2);
}

static void what_was_read_is_kept(void **state)
{
    (void)state;
    struct store_attr attr;
    do_put(ROOT, "key", "1");
    uint64_t ino = result.attr.ino;
    harness_reopen();
    assert_false(is_name_kept(ROOT, "key"));
    assert_false(is_kept(ROOT));
    assert_int_equal(ino_of(ROOT, "key"), ino);
    assert_true(is_name_kept(ROOT, "key"));
    attr_of(ROOT);
    assert_true(is_kept(ROOT));
    assert_int_equal(store_lookup(store, ROOT, ".", 1, &attr), 0);
    assert_false(is_name_kept(ROOT, "."));
    assert_int_equal(store_lookup(store, ROOT, "none", 4, &attr), -ENOENT);
    assert_int_equal(store_lookup(store, ROOT, "", 0, &attr), -ENOENT);
    assert_int_equal(store_getattr(store, 0, &attr), -ESTALE);
}

/* It costs SQLite's pages of one more table; so what is here counts, as an invented one shows. */
static void the_parent_of_what_is_absent_is_not_asked_for(void **state)
{
    (void)state;
    struct store_attr attr, dir = {.ino = 999, .mode = S_IFDIR},
                            file = {.ino = 998, .mode = S_IFREG};
    assert_int_equal(store_lookup(store, dir.ino, "key", 3, &attr), -ESTALE);
    cache_learn(store->cache, cache_epoch(store->cache), &dir);
    cache_learn(store->cache, cache_epoch(store->cache), &file);
    assert_int_equal(store_lookup(store, dir.ino, "key", 3, &attr), -ENOENT);
    assert_int_equal(store_lookup(store, file.ino, "key", 3, &attr), -ENOTDIR);
    assert_int_equal(store_lookup(store, dir.ino, ".", 1, &attr), -ESTALE);
    assert_int_equal(store_lookup(store, dir.ino, "..", 2, &attr), -ESTALE);
}

static void an_orphan_is_not_kept(void **state)
{
    (void)state;
    struct store_attr attr;
    do_put(ROOT, "key", "1");
    uint64_t ino = open_ino = result.attr.ino;
    assert_int_equal(do_unlink(ROOT, "key", root_user), 0);
    assert_int_equal(attr_of(ino).nlink, 0);
    assert_false(is_kept(ino));
    assert_int_equal(store_orphan_write(store, ino, 0, true, "!", 1, &attr), 0);
    assert_int_equal(attr_of(ino).size_bytes, 2);
    store_orphan_release(store, ino);
    assert_int_equal(store_getattr(store, ino, &attr), -ESTALE);
}

/* Many more than there are places: all answers are right, and the newest are there. */
static void places_are_limited(void **state)
{
    (void)state;
    enum { INODES = 3 * CACHE_SETS * CACHE_WAYS };
    struct cache *c = cache_open();
    struct store_attr got;
    unsigned kept = 0;
    for (uint64_t ino = 1; ino <= INODES; ino++) {
        struct store_attr attr = {.ino = ino, .version = ~ino};
        char name[16];
        int bytes = snprintf(name, sizeof(name), "n%u", (unsigned)ino);
        cache_learn_name(c, cache_epoch(c), ino % 5, name, (size_t)bytes, &attr);
        assert_true(cache_find_name(c, cache_epoch(c), ino % 5, name, (size_t)bytes, &got));
        assert_false(cache_find_name(c, cache_epoch(c), ino % 5 + 1, name, (size_t)bytes, &got));
    }
    for (uint64_t dir = 0; dir < 5; dir++) /* the beginning of very many names is none of them */
        assert_false(cache_find_name(c, cache_epoch(c), dir, "n", 1, &got));
    for (uint64_t ino = 1; ino <= INODES; ino++)
        if (cache_find(c, cache_epoch(c), ino, &got)) {
            assert_int_equal(got.ino, ino);
            assert_int_equal(got.version, ~ino);
            kept++;
        }
    assert_in_range(kept, CACHE_SETS * CACHE_WAYS * 9 / 10, CACHE_SETS * CACHE_WAYS);
    cache_close(c);
}

/* ---- While a batch becomes visible ---- */

/* A check that fails in these jumps out of SQLite, so that the test then ends by an abort. */
static void (*at_commit)(void), (*when_visible)(void);
static bool fails;
static uint64_t hot;

/* Before anybody sees the batch; true makes it fail. */
static int on_commit(void *ctx)
{
    (void)ctx;
    if (at_commit)
        at_commit();
    return fails;
}

/* SQLite shows the batch, and store_apply() has not returned. */
static int on_visible(void *ctx, sqlite3 *db, const char *name, int pages)
{
    (void)ctx;
    (void)db;
    (void)name;
    store->wal_pages = pages;
    if (when_visible)
        when_visible();
    return SQLITE_OK;
}

static void watch(void (*commit)(void), void (*visible)(void))
{
    at_commit = commit;
    when_visible = visible;
    fails = false;
    sqlite3_commit_hook(store->writer.db, on_commit, NULL);
    sqlite3_wal_hook(store->writer.db, on_visible, NULL);
}

static void ask_all(void)
{
    check_name(ROOT, "key");
    check_name(ROOT, "other");
    check_inode(hot);
    check_inode(ROOT);
}

/* Each moment's questions get that moment's answers, and none of them stays. */
static void answers_are_those_of_the_moment(void **state)
{
    (void)state;
    do_put(ROOT, "key", "1");
    hot = result.attr.ino;
    ask_all();
    watch(ask_all, ask_all);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(do_write(hot, 0, "12345678901234567890", (size_t)i + 1, 0), 0);
        ask_all();
        assert_int_equal(do_rename(ROOT, "key", ROOT, "other", 0, root_user), 0);
        ask_all();
        assert_int_equal(do_rename(ROOT, "other", ROOT, "key", 0, root_user), 0);
        ask_all();
    }
    assert_int_equal(do_unlink(ROOT, "key", root_user), 0);
    ask_all();
}

static void ask_beneath(void)
{
    check_name(hot, "none");
    check_name(hot, "a-name-of-48-bytes-which-is-longer-than-any-kept");
    check_dots(hot);
}

/* Absence in a directory that comes, takes names and goes, and beneath a file that does. */
static void a_parent_is_the_one_of_the_moment(void **state)
{
    (void)state;
    watch(ask_beneath, ask_beneath);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(do_mkdir(ROOT, "dir", root_user, 0755), 0);
        hot = result.attr.ino;
        assert_true(is_kept(hot));
        ask_beneath();
        assert_int_equal(do_put(hot, "none", "1"), 0);
        ask_beneath();
        assert_int_equal(do_unlink(hot, "none", root_user), 0);
        ask_beneath();
        assert_int_equal(do_rmdir(ROOT, "dir", root_user), 0);
        ask_beneath();
        assert_int_equal(do_put(ROOT, "file", "1"), 0);
        hot = result.attr.ino;
        ask_beneath();
        assert_int_equal(do_unlink(ROOT, "file", root_user), 0);
        ask_beneath();
    }
}

static void a_batch_that_fails_changes_nothing(void **state)
{
    (void)state;
    struct command c = {
        .op = COMMAND_WRITE, .session = 1, .seq = 900, .data = "22", .data_bytes = 2};
    struct command gone = {.op = COMMAND_UNLINK,
                           .session = 1,
                           .seq = 901,
                           .parent = ROOT,
                           .name = "key",
                           .name_bytes = 3};
    do_put(ROOT, "key", "1");
    hot = c.ino = result.attr.ino;
    watch(ask_all, NULL);
    fails = true;
    assert_int_equal(apply_as_is(&c), -EIO);
    assert_int_equal(attr_of(hot).size_bytes, 1);
    ask_all();
    assert_int_equal(apply_as_is(&gone), -EIO);
    assert_int_equal(ino_of(ROOT, "key"), hot);
    ask_all();
    fails = false;
    assert_int_equal(apply_as_is(&c), 0);
    assert_int_equal(attr_of(hot).size_bytes, 2);
    ask_all();
}

/* What a query has read before a batch comes to be kept after it. */
static void what_was_read_in_an_earlier_epoch_is_not_kept(void **state)
{
    (void)state;
    do_put(ROOT, "key", "1");
    harness_reopen();
    sql_close(&truth);
    open_truth();
    uint64_t epoch = cache_epoch(store->cache);
    struct store_attr old = true_attr(true_ino(ROOT, "key"));
    assert_int_equal(do_rename(ROOT, "key", ROOT, "other", 0, root_user), 0);
    cache_learn_name(store->cache, epoch, ROOT, "key", 3, &old);
    cache_learn(store->cache, epoch, &old);
    hot = old.ino;
    ask_all();
}

/* Found half before a batch and half behind it, which a query could be at any time. */
static void what_was_found_in_two_epochs_does_not_count(void **state)
{
    (void)state;
    struct store_attr attr;
    do_put(ROOT, "key", "1");
    uint64_t epoch = cache_epoch(store->cache);
    assert_true(cache_find_name(store->cache, epoch, ROOT, "key", 3, &attr));
    do_put(ROOT, "other", "1");
    assert_false(cache_find_name(store->cache, epoch, ROOT, "key", 3, &attr));
    assert_false(cache_find(store->cache, epoch, ROOT, &attr));
    assert_true(is_name_kept(ROOT, "key"));
}

/* ---- Another state is installed ---- */

static int setup_replica(void **state)
{
    (void)state;
    int error = replica_setup(20, 100);
    if (error == 0)
        open_truth();
    return error;
}

static int teardown_replica(void **state)
{
    sql_close(&truth);
    return replica_teardown(state);
}

static unsigned asked_in_new;

static void ask_of_both_states(void)
{
    char name[16];
    check_name(ROOT, "gone");
    check_name(ROOT, "kept");
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "old%d", i);
        check_name(ROOT, name);
        snprintf(name, sizeof(name), "new%d", i);
        check_name(ROOT, name);
    }
    check_inode(replica.gone_ino);
    check_inode(replica.kept_ino);
    check_inode(ROOT);
}

/*
 * The installation asks this of each file that goes: before the new state shows, and after it. No
 * hook of SQLite's tells of a commit that copies pages.
 */
static bool ask_while_replaced(void *ctx, uint64_t ino)
{
    (void)ctx;
    (void)ino;
    asked_in_new += store_applied_index(store) == replica.snapshot.index;
    ask_of_both_states();
    return false;
}

static void nothing_of_a_state_that_was_replaced_is_left(void **state)
{
    (void)state;
    uint64_t index, term;
    ask_of_both_states();
    asked_in_new = 0;
    store->options.is_open = ask_while_replaced;
    assert_int_equal(store_install(store, replica.file, &index, &term), 0);
    assert_int_not_equal(asked_in_new, 0);
    ask_of_both_states();
    replica_check_new();
    assert_int_equal(do_put(ROOT, "kept", "again"), 0);
    ask_of_both_states();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_are_those_of_sqlite, setup, teardown),
        cmocka_unit_test_setup_teardown(a_batch_leaves_its_last_state, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_changed_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_read_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(the_parent_of_what_is_absent_is_not_asked_for, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_orphan_is_not_kept, setup, teardown),
        cmocka_unit_test(places_are_limited),
        cmocka_unit_test_setup_teardown(answers_are_those_of_the_moment, setup, teardown),
        cmocka_unit_test_setup_teardown(a_parent_is_the_one_of_the_moment, setup, teardown),
        cmocka_unit_test_setup_teardown(a_batch_that_fails_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_read_in_an_earlier_epoch_is_not_kept, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_was_found_in_two_epochs_does_not_count, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(nothing_of_a_state_that_was_replaced_is_left, setup_replica,
                                        teardown_replica),
    };
    return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
