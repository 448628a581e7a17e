/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include <stdio.h>

#include "store/tree.h"

#define ROOT STORE_ROOT_INO

static void a_put_creates_and_replaces(void **state)
{
    (void)state;
    assert_int_equal(do_put(ROOT, "key", "value"), 0);
    uint64_t ino = result.attr.ino;
    assert_int_equal(ino_of(ROOT, "key"), ino);
    assert_string_equal(content_of(ino), "value");
    assert_int_equal(do_put(ROOT, "key", "x"), 0);
    assert_int_equal(result.attr.ino, ino);
    assert_string_equal(content_of(ino), "x");
    struct store_totals totals;
    store_totals(store, &totals);
    assert_int_equal(totals.keys, 1);
    assert_int_equal(totals.bytes, 1);
    assert_int_equal(totals.inodes, 2);
}

static void exclusive_creation_meets_what_is_there(void **state)
{
    (void)state;
    struct command c = {.op = COMMAND_CREATE,
                        .flags = COMMAND_EXCLUSIVE,
                        .parent = ROOT,
                        .name = "key",
                        .name_bytes = 3,
                        .mode = 0600};
    assert_int_equal(apply(c), 0);
    assert_int_equal(apply(c), -EEXIST);
    assert_int_equal(do_mkdir(ROOT, "key", root_user, 0755), -EEXIST);
    assert_int_equal(do_mkdir(ROOT, "dir", root_user, 0755), 0);
    assert_int_equal(do_put(ROOT, "dir", "v"), -EISDIR);
    assert_int_equal(do_put(result.attr.ino + 1000, "x", "v"), -ESTALE);
    assert_int_equal(do_put(ino_of(ROOT, "key"), "x", "v"), -ENOTDIR);
}

/* Sizes and offsets on both sides of a head's border, and of a chunk's, against a model. */
static void writes_and_truncations_match_a_flat_file(void **state)
{
    (void)state;
    enum { SMALL = 3 * TREE_HEAD_BYTES, MOST = 3 * STORE_CHUNK_BYTES };
    static uint8_t model[MOST], data[MOST], seen[MOST];
    size_t size = 0, got;
    unsigned seed = 1;
    assert_int_equal(do_put(ROOT, "f", ""), 0);
    uint64_t ino = result.attr.ino;
    for (int i = 0; i < 400; i++) {
        seed = seed * 1103515245 + 12345;
        size_t half = (i / 16 % 2 ? MOST : SMALL) / 2;
        size_t at = (seed >> 8) % half;
        size_t bytes = (seed >> 4) % half;
        if (i % 3 == 2) {
            struct command cut = {
                .op = COMMAND_SETATTR, .ino = ino, .set = COMMAND_SET_SIZE, .size = at};
            assert_int_equal(apply(cut), 0);
            if (at < size)
                memset(model + at, 0, size - at);
            size = at;
        } else {
            bool anew = i % 7 == 0;
            memset(data, i + 1, bytes);
            assert_int_equal(do_write(ino, at, data, bytes, anew ? COMMAND_TRUNCATE : 0), 0);
            if (anew)
                memset(model, 0, size);
            size = anew ? 0 : size;
            memcpy(model + at, data, bytes);
            if (bytes && at + bytes > size)
                size = at + bytes;
        }
        struct store_attr attr;
        assert_int_equal(store_read(store, ino, 0, MOST, seen, &got, &attr), 0);
        assert_int_equal(attr.size_bytes, size);
        assert_int_equal(got, size);
        assert_memory_equal(seen, model, size);
        if (size > 3) {
            assert_int_equal(store_read(store, ino, size / 2, size / 3, seen, &got, &attr), 0);
            assert_memory_equal(seen, model + size / 2, size / 3);
        }
    }
    assert_int_equal(do_unlink(ROOT, "f", root_user), 0);
}

/* Of SQLite's write-ahead log, which has not begun anew yet. */
static unsigned log_pages(void)
{
    char path[128];
    struct stat st;
    snprintf(path, sizeof(path), "%s/store.db-wal", top);
    assert_int_equal(stat(path, &st), 0);
    return (unsigned)(st.st_size / (24 + 4096));
}

static void put_letters_saving_each(const char *value)
{
    for (char name[2] = "a"; name[0] <= 'z'; name[0]++) {
        assert_int_equal(do_put(ROOT, name, value), 0);
        assert_int_equal(store_save(store), 0);
    }
}

static void a_small_change_costs_two_pages(void **state)
{
    (void)state;
    put_letters_saving_each("value");
    unsigned before = log_pages();
    put_letters_saving_each("other");
    assert_int_equal(log_pages(), before + 26 * 2);
}

static void appends_go_to_the_end_as_it_is_when_applied(void **state)
{
    (void)state;
    do_put(ROOT, "log", "one ");
    uint64_t ino = result.attr.ino;
    assert_int_equal(do_write(ino, 0, "two", 3, COMMAND_APPEND), 0);
    assert_int_equal(result.offset, 4);
    assert_string_equal(content_of(ino), "one two");
    assert_int_equal(do_write(ino, 0, "x", 1, COMMAND_TRUNCATE), 0);
    assert_string_equal(content_of(ino), "x");
}

static void a_truncation_with_a_stale_version_does_nothing(void **state)
{
    (void)state;
    do_put(ROOT, "f", "old");
    struct store_attr old = result.attr;
    do_write(old.ino, 0, "new", 3, 0);
    struct command cut = {
        .op = COMMAND_SETATTR, .ino = old.ino, .set = COMMAND_SET_SIZE, .if_version = old.version};
    assert_int_equal(apply(cut), 0);
    assert_string_equal(content_of(old.ino), "new");
    cut.if_version = result.attr.version;
    assert_int_equal(apply(cut), 0);
    assert_string_equal(content_of(old.ino), "");
}

static void times_grow_with_every_change(void **state)
{
    (void)state;
    do_put(ROOT, "f", "a");
    struct store_attr before = result.attr;
    struct command c = {.op = COMMAND_SETATTR,
                        .ino = before.ino,
                        .set = COMMAND_SET_MTIME | COMMAND_SET_ATIME,
                        .mtime_ns = -5,
                        .atime_ns = 7};
    assert_int_equal(apply(c), 0);
    assert_int_equal(result.attr.mtime_ns, -5);
    assert_int_equal(result.attr.atime_ns, 7);
    assert_true(result.attr.ctime_ns > before.ctime_ns);
    assert_int_equal(result.attr.version, before.version);
    /* A leader's clock that went back. */
    struct command back = {
        .op = COMMAND_WRITE, .ino = before.ino, .data = "b", .data_bytes = 1, .session = 1};
    back.seq = back.lowest_awaited = 1000;
    back.time_ns = 3;
    int64_t ctime_ns = result.attr.ctime_ns;
    assert_int_equal(apply_as_is(&back), 0);
    assert_true(result.attr.ctime_ns > ctime_ns);
    assert_int_not_equal(result.attr.mtime_ns, -5);
}

static void directories_count_their_links(void **state)
{
    (void)state;
    do_mkdir(ROOT, "a", root_user, 0755);
    uint64_t a = result.attr.ino;
    do_mkdir(a, "b", root_user, 0755);
    uint64_t b = result.attr.ino;
    assert_int_equal(attr_of(ROOT).nlink, 3);
    assert_int_equal(attr_of(a).nlink, 3);
    assert_int_equal(attr_of(b).nlink, 2);
    assert_int_equal(do_rmdir(ROOT, "a", root_user), -ENOTEMPTY);
    assert_int_equal(do_unlink(ROOT, "a", root_user), -EISDIR);
    assert_int_equal(do_rename(a, "b", ROOT, "c", 0, root_user), 0);
    assert_int_equal(attr_of(a).nlink, 2);
    assert_int_equal(attr_of(ROOT).nlink, 4);
    uint64_t parent;
    assert_int_equal(store_parent(store, b, &parent), 0);
    assert_int_equal(parent, ROOT);
    assert_int_equal(do_rmdir(ROOT, "a", root_user), 0);
    assert_int_equal(attr_of(ROOT).nlink, 3);
    assert_int_equal(do_rmdir(ROOT, "a", root_user), -ENOENT);
}

static void rename_replaces_exchanges_and_refuses(void **state)
{
    (void)state;
    do_put(ROOT, "f", "f");
    uint64_t f = result.attr.ino;
    do_put(ROOT, "g", "g");
    uint64_t g = result.attr.ino;
    do_mkdir(ROOT, "d", root_user, 0755);
    uint64_t d = result.attr.ino;
    do_mkdir(d, "e", root_user, 0755);
    uint64_t e = result.attr.ino;
    assert_int_equal(do_rename(ROOT, "f", ROOT, "g", COMMAND_NOREPLACE, root_user), -EEXIST);
    assert_int_equal(do_rename(ROOT, "f", ROOT, "g", COMMAND_EXCHANGE, root_user), 0);
    assert_int_equal(ino_of(ROOT, "f"), g);
    assert_int_equal(ino_of(ROOT, "g"), f);
    assert_int_equal(do_rename(ROOT, "f", d, "e", COMMAND_EXCHANGE, root_user), 0);
    assert_int_equal(attr_of(d).nlink, 2);
    assert_int_equal(attr_of(ROOT).nlink, 4);
    assert_int_equal(do_rename(ROOT, "f", d, "e", COMMAND_EXCHANGE, root_user), 0);
    assert_int_equal(do_rename(ROOT, "nothing", ROOT, "g", 0, root_user), -ENOENT);
    assert_int_equal(do_rename(ROOT, "f", ROOT, "nothing", COMMAND_EXCHANGE, root_user), -ENOENT);
    assert_int_equal(do_rename(ROOT, "d", e, "x", 0, root_user), -EINVAL);
    assert_int_equal(do_rename(ROOT, "d", d, "x", 0, root_user), -EINVAL);
    assert_int_equal(do_rename(ROOT, "f", ROOT, "d", 0, root_user), -EISDIR);
    assert_int_equal(do_rename(d, "e", ROOT, "f", 0, root_user), -ENOTDIR);
    assert_int_equal(do_rename(d, "e", ROOT, "d", 0, root_user), -ENOTEMPTY);
    assert_int_equal(do_rename(ROOT, "f", ROOT, "g", 0, root_user), 0);
    assert_int_equal(ino_of(ROOT, "g"), g);
    assert_int_equal(ino_of(ROOT, "f"), 0);
    struct store_attr attr;
    assert_int_equal(store_getattr(store, f, &attr), -ESTALE);
}

static void permissions_are_checked_when_applied(void **state)
{
    (void)state;
    do_mkdir(ROOT, "private", alice, 0700);
    assert_int_equal(result.status, -EACCES);
    do_mkdir(ROOT, "tmp", root_user, 01777);
    uint64_t tmp = result.attr.ino;
    assert_int_equal(do_create(tmp, "a", alice, 0640), 0);
    uint64_t a = result.attr.ino;
    assert_int_equal(do_unlink(tmp, "a", bob), -EPERM);
    assert_int_equal(do_rename(tmp, "a", tmp, "b", 0, bob), -EPERM);
    struct command c = {
        .op = COMMAND_SETATTR, .ino = a, .set = COMMAND_SET_MODE, .mode = 0777, .caller = bob};
    assert_int_equal(apply(c), -EPERM);
    c.caller = alice;
    assert_int_equal(apply(c), 0);
    c.set = COMMAND_SET_UID;
    c.uid = bob.uid;
    assert_int_equal(apply(c), -EPERM);
    c.set = COMMAND_SET_GID;
    c.gid = 4242;
    assert_int_equal(apply(c), -EPERM);
    c.caller.groups = &(uint32_t){4242};
    c.caller.group_count = 1;
    assert_int_equal(apply(c), 0);
    c = (struct command){.op = COMMAND_SETATTR,
                         .ino = a,
                         .set = COMMAND_SET_ATIME_NOW | COMMAND_SET_MTIME_NOW,
                         .caller = bob};
    assert_int_equal(apply(c), 0); /* mode 0777: bob may write, so he may touch */
    c.set = COMMAND_SET_MTIME;
    assert_int_equal(apply(c), -EPERM);
    assert_int_equal(do_unlink(tmp, "a", alice), 0);
}

static void suid_goes_with_a_write(void **state)
{
    (void)state;
    do_mkdir(ROOT, "tmp", root_user, 0777);
    do_create(result.attr.ino, "a", alice, 06755);
    uint64_t a = result.attr.ino;
    assert_int_equal(attr_of(a).mode & 07777, 06755);
    do_write(a, 0, "x", 1, COMMAND_KILL_SUID);
    assert_int_equal(attr_of(a).mode & 07777, 0755);
}

static void a_symlink_holds_its_target(void **state)
{
    (void)state;
    struct command c = {.op = COMMAND_SYMLINK,
                        .parent = ROOT,
                        .name = "l",
                        .name_bytes = 1,
                        .data = "some/where",
                        .data_bytes = 10};
    assert_int_equal(apply(c), 0);
    struct buf *target;
    assert_int_equal(store_readlink(store, result.attr.ino, &target), 0);
    assert_int_equal(target->bytes, 10);
    assert_memory_equal(target->data, "some/where", 10);
    buf_unref(target);
    assert_int_equal(do_put(ROOT, "l", "v"), -ESTALE);
    assert_int_equal(do_unlink(ROOT, "l", root_user), 0);
    assert_int_equal(store_readlink(store, ROOT, &target), -EINVAL);
}

static void bytes_that_are_no_command_change_nothing(void **state)
{
    (void)state;
    uint64_t before = fingerprint();
    uint64_t index = store_applied_index(store);
    assert_int_equal(apply_bytes("rubbish", 7, STORE_ENTRY_COMMAND), 0);
    assert_int_equal(result.seq, 0);
    assert_int_equal(apply_bytes(NULL, 0, STORE_ENTRY_EMPTY), 0);
    assert_int_equal(apply_bytes("the members", 11, STORE_ENTRY_CONFIG), 0);
    assert_int_equal(fingerprint(), before);
    assert_int_equal(store_applied_index(store), index + 3);
    uint64_t at = 0;
    struct buf *config = store_config(store, &at);
    assert_int_equal(at, index + 3);
    assert_memory_equal(config->data, "the members", 11);
    buf_unref(config);
}

static void the_founder_owns_the_root(void **state)
{
    (void)state;
    harness_teardown(NULL);
    harness_setup(NULL);
    assert_int_equal(attr_of(ROOT).uid, 0);
    assert_int_equal(attr_of(ROOT).mode, S_IFDIR | 0755);
}

static void an_open_file_outlives_its_name(void **state)
{
    (void)state;
    do_put(ROOT, "f", "kept");
    uint64_t ino = open_ino = result.attr.ino;
    uint64_t before = fingerprint();
    assert_int_equal(do_unlink(ROOT, "f", root_user), 0);
    assert_int_not_equal(fingerprint(), before);
    assert_int_equal(attr_of(ino).nlink, 0);
    assert_string_equal(content_of(ino), "kept");
    struct store_attr attr;
    assert_int_equal(store_orphan_write(store, ino, 0, true, "!", 1, &attr), 0);
    assert_int_equal(attr.size_bytes, 5);
    assert_string_equal(content_of(ino), "kept!");
    struct command cut = {
        .op = COMMAND_SETATTR, .ino = ino, .set = COMMAND_SET_SIZE, .size = 2, .caller = alice};
    assert_int_equal(store_orphan_setattr(store, &cut, &attr), 0);
    assert_string_equal(content_of(ino), "ke");
    assert_int_equal(do_write(ino, 0, "x", 1, 0), -ESTALE);
    store_orphan_release(store, ino);
    assert_int_equal(store_getattr(store, ino, &attr), -ESTALE);
    assert_int_equal(store_orphan_write(store, ino, 0, true, "!", 1, &attr), -ESTALE);
}

static void an_open_file_keeps_all_of_its_content(void **state)
{
    (void)state;
    enum { MOST = 2 * STORE_CHUNK_BYTES };
    static const size_t sizes[] = {0, 1, TREE_HEAD_BYTES, TREE_HEAD_BYTES + 1, MOST};
    static uint8_t data[MOST], seen[MOST];
    memset(data, 'd', sizeof(data));
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct store_attr attr;
        size_t got;
        do_put(ROOT, "f", "");
        uint64_t ino = open_ino = result.attr.ino;
        assert_int_equal(do_write(ino, 0, data, sizes[i], 0), 0);
        assert_int_equal(do_unlink(ROOT, "f", root_user), 0);
        assert_int_equal(store_read(store, ino, 0, MOST, seen, &got, &attr), 0);
        assert_int_equal(got, sizes[i]);
        assert_memory_equal(seen, data, got);
        store_orphan_release(store, ino);
    }
}

static void an_orphan_may_end_in_a_hole(void **state)
{
    (void)state;
    do_put(ROOT, "f", "kept");
    uint64_t ino = open_ino = result.attr.ino;
    struct command grow = {
        .op = COMMAND_SETATTR, .ino = ino, .set = COMMAND_SET_SIZE, .size = 2000};
    assert_int_equal(apply(grow), 0);
    assert_int_equal(do_unlink(ROOT, "f", root_user), 0);
    char seen[3000], want[2000] = "kept";
    size_t got;
    struct store_attr attr;
    assert_int_equal(store_read(store, ino, 0, sizeof(seen), seen, &got, &attr), 0);
    assert_int_equal(got, sizeof(want));
    assert_memory_equal(seen, want, sizeof(want));
    store_orphan_release(store, ino);
}

static bool stop_after_two(void *ctx, const char *name, size_t bytes, uint64_t cookie,
                           const struct store_attr *attr)
{
    (void)attr;
    char *seen = ctx;
    strncat(seen, name, bytes);
    memcpy(seen + 64, &cookie, sizeof(cookie));
    return strlen(seen) % 2 != 0;
}

static void readdir_goes_on_where_it_stopped(void **state)
{
    (void)state;
    char name[2] = "a";
    for (; name[0] <= 'f'; name[0]++)
        do_put(ROOT, name, "");
    char seen[80] = "";
    uint64_t cookie = 0;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(store_readdir(store, ROOT, cookie, stop_after_two, seen), 0);
        memcpy(&cookie, seen + 64, sizeof(cookie));
        if (i == 0) { /* behind the reader and before it */
            do_unlink(ROOT, "a", root_user);
            do_unlink(ROOT, "c", root_user);
            do_put(ROOT, "g", "");
        }
    }
    assert_string_equal(seen, "abdefg");
}

static void a_reopened_store_is_the_same(void **state)
{
    (void)state;
    do_put(ROOT, "f", "value");
    uint64_t print = fingerprint(), index = store_applied_index(store);
    harness_reopen();
    assert_int_equal(fingerprint(), print);
    assert_int_equal(store_applied_index(store), index);
    assert_int_equal(store_durable_index(store), index);
    assert_string_equal(content_of(ino_of(ROOT, "f")), "value");
    check_fingerprint();
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, harness_setup, harness_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_put_creates_and_replaces),
        TEST(exclusive_creation_meets_what_is_there),
        TEST(writes_and_truncations_match_a_flat_file),
        TEST(a_small_change_costs_two_pages),
        TEST(appends_go_to_the_end_as_it_is_when_applied),
        TEST(a_truncation_with_a_stale_version_does_nothing),
        TEST(times_grow_with_every_change),
        TEST(directories_count_their_links),
        TEST(rename_replaces_exchanges_and_refuses),
        TEST(permissions_are_checked_when_applied),
        TEST(suid_goes_with_a_write),
        TEST(a_symlink_holds_its_target),
        TEST(bytes_that_are_no_command_change_nothing),
        TEST(the_founder_owns_the_root),
        TEST(an_open_file_outlives_its_name),
        TEST(an_open_file_keeps_all_of_its_content),
        TEST(an_orphan_may_end_in_a_hole),
        TEST(readdir_goes_on_where_it_stopped),
        TEST(a_reopened_store_is_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
