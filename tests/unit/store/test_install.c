/* SPDX-License-Identifier: MIT */
/* A snapshot put in place of a running store's state, and a new cluster's store made out of one. */
#include "harness.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/install.h"
#include "store/snapshot.h"
#include "store/sql.h"
#include "store/vfs.h"

#define ROOT STORE_ROOT_INO

enum { PATH_BYTES = 256 };

static const atomic_bool never;
static char why[STORE_WHY_BYTES];
static char behind_top[64]; /* of a replica that has applied less */
static char snapshot_file[PATH_BYTES];
static struct snapshot taken;
static uint64_t gone_ino, kept_ino, ahead_fingerprint;

static void copy_store(const char *from, const char *to)
{
    char command[2 * PATH_BYTES];
    snprintf(command, sizeof(command), "cp %s/store.db %s/", from, to);
    assert_int_equal(system(command), 0);
}

static void remove_dir(const char *dir)
{
    char command[PATH_BYTES];
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

static void put_many(const char *prefix, unsigned count)
{
    static char value[20000];
    char name[32];
    memset(value, prefix[0], sizeof(value) - 1);
    for (unsigned i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "%s%u", prefix, i);
        assert_int_equal(do_put(ROOT, name, value), 0);
    }
}

static void open_store(const char *dir)
{
    struct store_options options;
    harness_open_options(&options, dir, false);
    if (store_open(&options, &store, why) != 0)
        fail_msg("%s", why);
}

/*
 * `store` is a replica that is behind; what it lacks is in the snapshot. Both have `gone` and
 * `kept`; the newer state lacks `gone`.
 */
static int setup(void **state)
{
    struct snapshot found[SNAPSHOT_KEPT];
    char dir[128], ahead_top[sizeof(top)];
    if (harness_setup(state))
        return -1;
    do_put(ROOT, "gone", "of old");
    gone_ino = result.attr.ino;
    do_put(ROOT, "kept", "before");
    kept_ino = result.attr.ino;
    put_many("old", 50);
    store_close(store);
    snprintf(behind_top, sizeof(behind_top), "/tmp/raftfs-store-XXXXXX");
    if (!mkdtemp(behind_top))
        return -1;
    copy_store(top, behind_top);

    open_store(top);
    do_unlink(ROOT, "gone", root_user);
    do_put(ROOT, "kept", "after");
    do_unlink(ROOT, "old7", root_user);
    put_many("new", 80);
    apply_bytes("members", 7, STORE_ENTRY_CONFIG);
    ahead_fingerprint = fingerprint();
    snprintf(dir, sizeof(dir), "%s/snapshots", top);
    snapshot_open_dir(dir, found, why);
    if (snapshot_take(store, dir, &never, &taken) != 0)
        return -1;
    snprintf(snapshot_file, sizeof(snapshot_file), "%s/%s", dir, taken.name);
    store_close(store);

    memcpy(ahead_top, top, sizeof(top));
    memcpy(top, behind_top, sizeof(top)); /* where the harness looks */
    memcpy(behind_top, ahead_top, sizeof(top));
    open_store(top);
    return 0;
}

static int teardown(void **state)
{
    remove_dir(behind_top);
    return harness_teardown(state);
}

static void install(void)
{
    uint64_t index = 0, term = 0;
    assert_int_equal(store_install(store, snapshot_file, &index, &term), 0);
    assert_int_equal(index, taken.index);
    assert_int_equal(term, taken.term);
}

static void check_new_state(void)
{
    assert_int_equal(store_applied_index(store), taken.index);
    assert_int_equal(store_applied_term(store), taken.term);
    assert_int_equal(fingerprint(), ahead_fingerprint);
    check_fingerprint();
    assert_int_equal(ino_of(ROOT, "gone"), 0);
    assert_string_equal(content_of(kept_ino), "after");
}

static void the_state_is_the_snapshots(void **state)
{
    (void)state;
    install();
    check_new_state();
    uint64_t index;
    struct buf *config = store_config(store, &index);
    assert_int_equal(index, taken.index);
    assert_int_equal(config->bytes, 7);
    buf_unref(config);
    harness_reopen(); /* it is this directory's */
    check_new_state();
    assert_int_equal(do_put(ROOT, "next", "value"), 0);
    check_fingerprint();
    assert_int_equal(store_applied_index(store), taken.index + 1);
}

/* What store.db alone holds, without its write-ahead log, is what would survive a power cut. */
static void it_is_durable_when_it_returns(void **state)
{
    (void)state;
    char alone[] = "/tmp/raftfs-store-XXXXXX";
    install();
    assert_int_equal(store_durable_index(store), taken.index);
    assert_non_null(mkdtemp(alone));
    copy_store(top, alone);
    store_close(store);
    open_store(alone);
    assert_int_equal(store_applied_index(store), taken.index);
    assert_int_equal(fingerprint(), ahead_fingerprint);
    store_close(store);
    remove_dir(alone);
    open_store(top);
}

static void one_that_is_not_ahead_changes_nothing(void **state)
{
    (void)state;
    install();
    do_put(ROOT, "next", "value");
    uint64_t before = fingerprint(), index, term;
    assert_int_equal(store_install(store, snapshot_file, &index, &term), 0);
    assert_int_equal(index, taken.index + 1);
    assert_int_equal(fingerprint(), before);
    check_fingerprint();
}

static void what_is_open_here_stays_readable(void **state)
{
    (void)state;
    struct store_attr attr;
    char text[16] = "";
    size_t got;
    open_ino = gone_ino;
    install();
    attr = attr_of(gone_ino);
    assert_int_equal(attr.nlink, 0);
    assert_int_equal(store_read(store, gone_ino, 0, sizeof(text) - 1, text, &got, &attr), 0);
    assert_string_equal(text, "of old");
    assert_int_equal(store_orphan_write(store, gone_ino, 0, true, "!", 1, &attr), 0);
    assert_int_equal(attr.size_bytes, 7);
    check_new_state();
    store_orphan_release(store, gone_ino);
    assert_int_equal(store_getattr(store, gone_ino, &attr), -ESTALE);
}

static void what_is_not_open_here_is_gone(void **state)
{
    (void)state;
    struct store_attr attr;
    open_ino = kept_ino;
    install();
    assert_int_equal(store_getattr(store, gone_ino, &attr), -ESTALE);
    assert_string_equal(content_of(kept_ino), "after");
}

static void flip(const char *path, off_t at)
{
    uint8_t byte;
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void a_damaged_one_is_refused(void **state)
{
    (void)state;
    uint64_t before = fingerprint(), index, term;
    struct store_attr attr;
    open_ino = gone_ino;
    for (off_t page = 0; page < (off_t)(taken.bytes / VFS_PAGE_BYTES); page += 3) {
        off_t at = page * VFS_PAGE_BYTES + (page * 613) % VFS_PAGE_BYTES;
        flip(snapshot_file, at);
        assert_int_equal(store_install(store, snapshot_file, &index, &term), -EUCLEAN);
        flip(snapshot_file, at);
        assert_int_equal(fingerprint(), before);
        assert_string_equal(content_of(gone_ino), "of old");
    }
    check_fingerprint();
    assert_int_equal(do_put(ROOT, "more", "of the old"), 0);
    assert_int_equal(do_unlink(ROOT, "gone", root_user), 0); /* and one orphan is made of it */
    assert_int_equal(store_getattr(store, gone_ino, &attr), 0);
    assert_int_equal(store_install(store, "/nowhere/at.all", &index, &term), -ENOENT);
    install();
    assert_int_equal(fingerprint(), ahead_fingerprint);
}

static void rot_in_the_old_state_is_replaced(void **state)
{
    (void)state;
    char path[PATH_BYTES];
    struct stat st;
    harness_reopen(); /* nothing is cached */
    snprintf(path, sizeof(path), "%s/store.db", top);
    assert_int_equal(stat(path, &st), 0);
    for (off_t page = 1; page < st.st_size / VFS_PAGE_BYTES; page++)
        flip(path, page * VFS_PAGE_BYTES + (page * 613) % VFS_PAGE_BYTES);
    install();
    check_new_state();
}

static atomic_bool stop;
static atomic_uint seen[2]; /* the old and the new state */

struct look {
    uint64_t entries;
    bool old;
    bool new;
};

static bool count(void *ctx, const char *name, size_t bytes, uint64_t cookie,
                  const struct store_attr *attr)
{
    (void)cookie, (void)attr;
    struct look *look = ctx;
    look->entries++;
    look->old |= bytes == 4 && memcmp(name, "gone", 4) == 0;
    look->new |= bytes == 5 && memcmp(name, "new79", 5) == 0;
    return true;
}

static void *read_on(void *arg)
{
    (void)arg;
    while (!stop) {
        struct look look = {0};
        if (store_readdir(store, ROOT, 0, count, &look) != 0 || look.old == look.new ||
            look.entries != (look.old ? 52 : 130))
            abort();
        seen[look.new]++;
    }
    return NULL;
}

static void await(atomic_uint *at)
{
    for (unsigned before = *at; *at == before;)
        usleep(100);
}

static void readers_see_the_old_or_the_new_state(void **state)
{
    (void)state;
    pthread_t threads[3];
    stop = false;
    seen[0] = seen[1] = 0;
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, read_on, NULL);
    await(&seen[0]);
    install();
    await(&seen[1]);
    stop = true;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    check_new_state();
}

static void *take_on(void *arg)
{
    const char *dir = arg;
    while (!stop) {
        struct snapshot s;
        if (snapshot_take(store, dir, &never, &s) != 0)
            abort();
        if (s.index != taken.index && s.index > 60)
            abort();
        seen[s.index == taken.index]++;
    }
    return NULL;
}

/* A copy that is being made of the old state neither fails nor holds the new one up. */
static void snapshots_are_taken_meanwhile(void **state)
{
    (void)state;
    struct snapshot found[SNAPSHOT_KEPT];
    char dir[128];
    pthread_t thread;
    snprintf(dir, sizeof(dir), "%s/snapshots", top);
    assert_int_equal(snapshot_open_dir(dir, found, why), 0);
    stop = false;
    seen[0] = seen[1] = 0;
    pthread_create(&thread, NULL, take_on, dir);
    await(&seen[0]);
    install();
    await(&seen[1]);
    stop = true;
    pthread_join(thread, NULL);
    assert_int_equal(snapshot_open_dir(dir, found, why), SNAPSHOT_KEPT);
    assert_int_equal(found[0].index, taken.index);
    assert_int_not_equal(found[0].id, taken.id);
}

/* ---- A new cluster ---- */

static void a_new_cluster_starts_from_a_snapshot(void **state)
{
    (void)state;
    char fresh[64] = "/tmp/raftfs-store-XXXXXX", path[PATH_BYTES];
    uint64_t index;
    assert_non_null(mkdtemp(fresh));
    assert_int_equal(store_restore(snapshot_file, fresh, INCARNATION, why), 0);
    assert_int_equal(store_restore(snapshot_file, fresh, INCARNATION, why), -EEXIST);
    assert_non_null(strstr(why, fresh));
    store_close(store);
    char before[sizeof(top)];
    memcpy(before, top, sizeof(top));
    memcpy(top, fresh, sizeof(top));
    open_store(top);
    assert_int_equal(store_applied_index(store), taken.index);
    assert_string_equal(content_of(kept_ino), "after");
    check_fingerprint();
    assert_null(store_config(store, &index));
    /* The old sessions are gone, and their numbers used up. */
    assert_int_equal(do_put(ROOT, "key", "value"), -EROFS);
    struct command c = {.op = COMMAND_SESSION, .incarnation = INCARNATION, .boot = 1};
    assert_int_equal(apply_as_is(&c), 0);
    assert_int_equal(result.session, 2);
    assert_int_equal(attr_of(ROOT).uid, 0);
    check_fingerprint();
    snprintf(path, sizeof(path), "%s/store.db.restoring", top);
    assert_int_not_equal(access(path, F_OK), 0);
    store_close(store);
    harness_remove_top();
    memcpy(top, before, sizeof(top));
    open_store(top);
}

static void rubbish_is_not_restored(void **state)
{
    (void)state;
    char fresh[64] = "/tmp/raftfs-store-XXXXXX", path[PATH_BYTES];
    assert_non_null(mkdtemp(fresh));
    snprintf(path, sizeof(path), "%s/store.db", fresh);
    assert_int_equal(store_restore("/nowhere/at.all", fresh, INCARNATION, why), -ENOENT);
    assert_int_equal(store_restore("/bin/sh", fresh, INCARNATION, why), -EUCLEAN);
    flip(snapshot_file, 20 * VFS_PAGE_BYTES);
    assert_int_equal(store_restore(snapshot_file, fresh, INCARNATION, why), -EUCLEAN);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(rmdir(fresh), 0); /* nothing is left behind */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(the_state_is_the_snapshots),
        T(it_is_durable_when_it_returns),
        T(one_that_is_not_ahead_changes_nothing),
        T(what_is_open_here_stays_readable),
        T(what_is_not_open_here_is_gone),
        T(a_damaged_one_is_refused),
        T(rot_in_the_old_state_is_replaced),
        T(readers_see_the_old_or_the_new_state),
        T(snapshots_are_taken_meanwhile),
        T(a_new_cluster_starts_from_a_snapshot),
        T(rubbish_is_not_restored),
    };
    return cmocka_run_group_tests_name("install", tests, NULL, NULL);
}
