/* SPDX-License-Identifier: MIT */
/* A snapshot put in place of a running store's state, and a new cluster's store made out of one. */
#include "lone.h"
#include "replica.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/install.h"
#include "store/snapshot.h"
#include "store/vfs.h"

#define ROOT STORE_ROOT_INO

enum { PATH_BYTES = REPLICA_PATH_BYTES };

static const atomic_bool never;
static char why[STORE_WHY_BYTES];

static int setup(void **state)
{
    (void)state;
    return replica_setup(50, 20000);
}

static void install(void)
{
    uint64_t index = 0, term = 0;
    assert_int_equal(store_install(store, replica.file, &index, &term), 0);
    assert_int_equal(index, replica.snapshot.index);
    assert_int_equal(term, replica.snapshot.term);
}

static void the_state_is_the_snapshots(void **state)
{
    (void)state;
    install();
    replica_check_new();
    uint64_t index;
    struct buf *config = store_config(store, &index);
    assert_int_equal(index, replica.snapshot.index);
    assert_int_equal(config->bytes, 7);
    buf_unref(config);
    harness_reopen(); /* it is this directory's */
    replica_check_new();
    assert_int_equal(do_put(ROOT, "next", "value"), 0);
    check_fingerprint();
    assert_int_equal(store_applied_index(store), replica.snapshot.index + 1);
}

/* What store.db alone holds, without its write-ahead log, is what would survive a power cut. */
static void what_is_unsaved_here_gives_way(void **state)
{
    (void)state;
    lone_seq = LONE_FIRST_SEQ;
    put_saved("mine", "saved");
    put_unsaved("mine", "unsaved");
    put_unsaved("kept", "unsaved");
    install();
    replica_check_new();
    assert_int_equal(ino_of(ROOT, "mine"), 0);
    put_saved("mine", "saved");
    put_unsaved("mine", "unsaved");
    assert_string_equal(content_of(ino_of(ROOT, "mine")), "unsaved");
    check_fingerprint();
}

static void it_is_durable_when_it_returns(void **state)
{
    (void)state;
    char alone[] = "/tmp/raftfs-store-XXXXXX", before[sizeof(top)];
    memcpy(before, top, sizeof(top));
    install();
    assert_int_equal(store_durable_index(store), replica.snapshot.index);
    assert_non_null(mkdtemp(alone));
    replica_copy_store(top, alone);
    store_close(store);
    replica_open(alone);
    assert_int_equal(store_applied_index(store), replica.snapshot.index);
    assert_int_equal(fingerprint(), replica.fingerprint);
    store_close(store);
    replica_remove_dir(alone);
    replica_open(before);
}

static void one_that_is_not_ahead_changes_nothing(void **state)
{
    (void)state;
    install();
    do_put(ROOT, "next", "value");
    uint64_t before = fingerprint(), index, term;
    assert_int_equal(store_install(store, replica.file, &index, &term), 0);
    assert_int_equal(index, replica.snapshot.index + 1);
    assert_int_equal(fingerprint(), before);
    check_fingerprint();
}

static void what_is_open_here_stays_readable(void **state)
{
    (void)state;
    struct store_attr attr;
    char text[16] = "";
    size_t got;
    open_ino = replica.gone_ino;
    install();
    attr = attr_of(replica.gone_ino);
    assert_int_equal(attr.nlink, 0);
    assert_int_equal(store_read(store, replica.gone_ino, 0, sizeof(text) - 1, text, &got, &attr),
                     0);
    assert_string_equal(text, "of old");
    assert_int_equal(store_orphan_write(store, replica.gone_ino, 0, true, "!", 1, &attr), 0);
    assert_int_equal(attr.size_bytes, 7);
    replica_check_new();
    store_orphan_release(store, replica.gone_ino);
    assert_int_equal(store_getattr(store, replica.gone_ino, &attr), -ESTALE);
}

static void what_is_not_open_here_is_gone(void **state)
{
    (void)state;
    struct store_attr attr;
    open_ino = replica.kept_ino;
    install();
    assert_int_equal(store_getattr(store, replica.gone_ino, &attr), -ESTALE);
    assert_string_equal(content_of(replica.kept_ino), "after");
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
    open_ino = replica.gone_ino;
    for (off_t page = 0; page < (off_t)(replica.snapshot.bytes / VFS_PAGE_BYTES); page += 3) {
        off_t at = page * VFS_PAGE_BYTES + (page * 613) % VFS_PAGE_BYTES;
        flip(replica.file, at);
        assert_int_equal(store_install(store, replica.file, &index, &term), -EUCLEAN);
        flip(replica.file, at);
        assert_int_equal(fingerprint(), before);
        assert_string_equal(content_of(replica.gone_ino), "of old");
    }
    check_fingerprint();
    assert_int_equal(do_put(ROOT, "more", "of the old"), 0);
    assert_int_equal(do_unlink(ROOT, "gone", root_user), 0); /* and one orphan is made of it */
    assert_int_equal(store_getattr(store, replica.gone_ino, &attr), 0);
    assert_int_equal(store_install(store, "/nowhere/at.all", &index, &term), -ENOENT);
    install();
    assert_int_equal(fingerprint(), replica.fingerprint);
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
    replica_check_new();
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
    look->new |= bytes == 5 && memcmp(name, "new49", 5) == 0;
    return true;
}

static void *read_on(void *arg)
{
    (void)arg;
    while (!stop) {
        struct look look = {0};
        if (store_readdir(store, ROOT, 0, count, &look) != 0 || look.old == look.new ||
            look.entries != (look.old ? replica.old_entries : replica.new_entries))
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

/* It is put in while they read, and each state is met. */
static void install_among(void *(*reader)(void *), void *arg)
{
    pthread_t threads[3];
    stop = false;
    seen[0] = seen[1] = 0;
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, reader, arg);
    await(&seen[0]);
    install();
    await(&seen[1]);
    stop = true;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    replica_check_new();
}

static void readers_see_the_old_or_the_new_state(void **state)
{
    (void)state;
    install_among(read_on, NULL);
}

static void *read_content_on(void *arg)
{
    static _Thread_local char data[20000];
    uint64_t ino = *(uint64_t *)arg;
    while (!stop) {
        size_t got;
        struct store_attr attr;
        if (store_read(store, ino, 0, sizeof(data), data, &got, &attr) != 0 ||
            got != sizeof(data) || data[got - 1] != 'o')
            abort();
        seen[store_applied_index(store) == replica.snapshot.index]++;
    }
    return NULL;
}

/* Nobody meets it without the tables that it lacks. */
static void one_of_format_2_is_brought_to_this_one(void **state)
{
    (void)state;
    replica_make_format_2(replica.dir, replica.snapshot.name);
    uint64_t ino = ino_of(ROOT, "old0");
    install_among(read_content_on, &ino);
    harness_reopen();
    replica_check_new();
}

static void *take_on(void *arg)
{
    const char *dir = arg;
    while (!stop) {
        struct snapshot s;
        if (snapshot_take(store, dir, &never, &s) != 0)
            abort();
        if (s.index != replica.snapshot.index && s.index > 60)
            abort();
        seen[s.index == replica.snapshot.index]++;
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
    assert_int_equal(found[0].index, replica.snapshot.index);
    assert_int_not_equal(found[0].id, replica.snapshot.id);
}

/* ---- A new cluster ---- */

static void a_new_cluster_starts_from_a_snapshot(void **state)
{
    (void)state;
    char fresh[64] = "/tmp/raftfs-store-XXXXXX", path[PATH_BYTES];
    uint64_t index;
    assert_non_null(mkdtemp(fresh));
    assert_int_equal(store_restore(replica.file, fresh, INCARNATION, why), 0);
    assert_int_equal(store_restore(replica.file, fresh, INCARNATION, why), -EEXIST);
    assert_non_null(strstr(why, fresh));
    store_close(store);
    char before[sizeof(top)];
    memcpy(before, top, sizeof(top));
    replica_open(fresh);
    assert_int_equal(store_applied_index(store), replica.snapshot.index);
    assert_string_equal(content_of(replica.kept_ino), "after");
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
    replica_open(before);
}

static void a_new_cluster_starts_from_one_of_format_2(void **state)
{
    replica_make_format_2(replica.dir, replica.snapshot.name);
    a_new_cluster_starts_from_a_snapshot(state);
}

static void rubbish_is_not_restored(void **state)
{
    (void)state;
    char fresh[64] = "/tmp/raftfs-store-XXXXXX", path[PATH_BYTES];
    assert_non_null(mkdtemp(fresh));
    snprintf(path, sizeof(path), "%s/store.db", fresh);
    assert_int_equal(store_restore("/nowhere/at.all", fresh, INCARNATION, why), -ENOENT);
    assert_int_equal(store_restore("/bin/sh", fresh, INCARNATION, why), -EUCLEAN);
    flip(replica.file, 20 * VFS_PAGE_BYTES);
    assert_int_equal(store_restore(replica.file, fresh, INCARNATION, why), -EUCLEAN);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(rmdir(fresh), 0); /* nothing is left behind */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, replica_teardown)
        T(the_state_is_the_snapshots),
        T(what_is_unsaved_here_gives_way),
        T(it_is_durable_when_it_returns),
        T(one_that_is_not_ahead_changes_nothing),
        T(what_is_open_here_stays_readable),
        T(what_is_not_open_here_is_gone),
        T(a_damaged_one_is_refused),
        T(rot_in_the_old_state_is_replaced),
        T(readers_see_the_old_or_the_new_state),
        T(one_of_format_2_is_brought_to_this_one),
        T(snapshots_are_taken_meanwhile),
        T(a_new_cluster_starts_from_one_of_format_2),
        T(a_new_cluster_starts_from_a_snapshot),
        T(rubbish_is_not_restored),
    };
    return cmocka_run_group_tests_name("install", tests, NULL, NULL);
}
