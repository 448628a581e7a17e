/* SPDX-License-Identifier: MIT */
/* Snapshots: consistent while applying goes on, whole or not there, opened by any SQLite. */
#include "harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/snapshot.h"

#define ROOT STORE_ROOT_INO

enum { PATH_BYTES = 256, MOST_ENTRIES = 500 * 1000 };

static char dir[128];
static const atomic_bool never;
static char why[STORE_WHY_BYTES];

static int setup(void **state)
{
    int error = harness_setup(state);
    snprintf(dir, sizeof(dir), "%s/snapshots", top);
    struct snapshot found[SNAPSHOT_KEPT];
    return error ? error : snapshot_open_dir(dir, found, why);
}

static void put_many(unsigned from, unsigned count)
{
    char name[32], value[512];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (unsigned i = from; i < from + count; i++) {
        snprintf(name, sizeof(name), "key%u", i);
        assert_int_equal(do_put(ROOT, name, value), 0);
    }
}

static int count_files(void)
{
    int count = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        count += e->d_name[0] != '.';
    closedir(d);
    return count;
}

/* The first column of the first row, as plain SQLite without our VFS reads it. */
static void query(const struct snapshot *s, const char *text, char out[64])
{
    char path[PATH_BYTES];
    sqlite3 *db;
    sqlite3_stmt *stmt;
    snprintf(path, sizeof(path), "%s/%s", dir, s->name);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, "unix"), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    snprintf(out, 64, "%s", (const char *)sqlite3_column_text(stmt, 0));
    sqlite3_finalize(stmt);
    sqlite3_close(db);
}

/* A store that starts from the snapshot has this fingerprint, by its word and by its rows. */
static void check_restored(const struct snapshot *s, uint64_t wanted)
{
    char restored[64] = "/tmp/raftfs-store-XXXXXX", command[2 * PATH_BYTES];
    assert_non_null(mkdtemp(restored));
    snprintf(command, sizeof(command), "cp %s/%s %s/store.db", dir, s->name, restored);
    assert_int_equal(system(command), 0);
    struct store *running = store;
    char running_top[sizeof(top)];
    memcpy(running_top, top, sizeof(top));
    memcpy(top, restored, sizeof(top)); /* where the harness looks */
    struct store_options options;
    harness_open_options(&options, top, false);
    assert_int_equal(store_open(&options, &store, why), 0);
    assert_int_equal(store_applied_index(store), s->index);
    assert_int_equal(fingerprint(), wanted);
    check_fingerprint();
    store_close(store);
    store = running;
    memcpy(top, running_top, sizeof(top));
    snprintf(command, sizeof(command), "rm -r %s", restored);
    assert_int_equal(system(command), 0);
}

static void plain_sqlite_opens_it(void **state)
{
    (void)state;
    struct snapshot s;
    char text[64];
    put_many(0, 300);
    assert_int_equal(snapshot_take(store, dir, &never, &s), 0);
    assert_int_equal(s.index, store_applied_index(store));
    assert_int_equal(s.term, 1);
    query(&s, "PRAGMA integrity_check", text);
    assert_string_equal(text, "ok");
    query(&s, "PRAGMA journal_mode", text);
    assert_string_equal(text, "delete");
    query(&s, "SELECT count(*) FROM dentry", text);
    assert_string_equal(text, "300");
    assert_int_equal(count_files(), 1); /* and nothing beside it */
    check_restored(&s, fingerprint());
}

static uint64_t fingerprints[MOST_ENTRIES];
static atomic_bool stop;

static void *apply_on(void *arg)
{
    (void)arg;
    for (unsigned i = 0; !stop && store_applied_index(store) + 1 < MOST_ENTRIES; i++) {
        char value[32], name[32];
        snprintf(name, sizeof(name), "other%u", i % 1000);
        snprintf(value, sizeof(value), "%u", i);
        if (do_put(ROOT, name, value) != 0)
            abort();
        fingerprints[store_applied_index(store)] = fingerprint();
    }
    return NULL;
}

/* On a busy machine nothing may be applied while one is taken; such a one proves little. */
static void it_shows_one_moment_while_applying_goes_on(void **state)
{
    (void)state;
    put_many(0, 3000);
    fingerprints[store_applied_index(store)] = fingerprint();
    pthread_t thread;
    stop = false;
    pthread_create(&thread, NULL, apply_on, NULL);
    struct snapshot s[2] = {0};
    int status = 0;
    bool newest = true;
    for (int proofs = 0; proofs < 5 && status == 0;) {
        uint64_t before = store_applied_index(store);
        s[0] = s[1];
        status = snapshot_take(store, dir, &never, &s[1]);
        newest = newest && s[1].index >= before;
        proofs += store_applied_index(store) > s[1].index;
    }
    stop = true;
    pthread_join(thread, NULL);
    assert_int_equal(status, 0);
    assert_true(newest);
    for (int i = 0; i < 2; i++) /* the older ones are gone */
        check_restored(&s[i], fingerprints[s[i].index]);
}

static void the_newest_two_are_kept(void **state)
{
    (void)state;
    struct snapshot s, found[SNAPSHOT_KEPT];
    uint64_t indexes[4];
    for (unsigned i = 0; i < 4; i++) {
        put_many(i, 1);
        assert_int_equal(snapshot_take(store, dir, &never, &s), 0);
        indexes[i] = s.index;
    }
    assert_int_equal(count_files(), 2);
    assert_int_equal(snapshot_open_dir(dir, found, why), 2);
    assert_int_equal(found[0].index, indexes[3]);
    assert_int_equal(found[1].index, indexes[2]);
    assert_int_equal(found[0].bytes, s.bytes);
    assert_string_equal(found[0].name, s.name);
    /* Again without a change: still the same one. */
    assert_int_equal(snapshot_take(store, dir, &never, &s), 0);
    assert_int_equal(count_files(), 2);
}

static void what_was_left_half_made_goes(void **state)
{
    (void)state;
    struct snapshot s, found[SNAPSHOT_KEPT];
    char path[PATH_BYTES];
    put_many(0, 10);
    assert_int_equal(snapshot_take(store, dir, &never, &s), 0);
    snprintf(path, sizeof(path), "%s/new", dir);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    snprintf(path, sizeof(path), "%s/9-999999.db", dir);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, "no snapshot", 11), 11);
    close(fd);
    assert_int_equal(snapshot_open_dir(dir, found, why), 1);
    assert_int_equal(found[0].index, s.index);
    assert_int_equal(count_files(), 2); /* what cannot be read is the operator's to remove */
}

static void a_cancelled_one_leaves_nothing(void **state)
{
    (void)state;
    struct snapshot s;
    atomic_bool cancel = true;
    put_many(0, 1500);
    assert_int_equal(snapshot_take(store, dir, &cancel, &s), -ECANCELED);
    assert_int_equal(count_files(), 0);
}

static void no_room_for_the_directory_is_said(void **state)
{
    (void)state;
    struct snapshot found[SNAPSHOT_KEPT];
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/store.db/snapshots", top);
    assert_int_equal(snapshot_open_dir(path, found, why), -ENOTDIR);
    assert_non_null(strstr(why, path));
}

/* Takes them until it is killed, and tells of each. */
static void child_main(int out)
{
    struct store_options options;
    harness_open_options(&options, top, false);
    if (store_open(&options, &store, why) != 0)
        _exit(1);
    for (unsigned i = 0;; i++) {
        struct snapshot s;
        put_many(i % 50, 1);
        if (snapshot_take(store, dir, &never, &s) != 0 || write(out, &s, sizeof(s)) != sizeof(s))
            _exit(2);
    }
}

/* Until the one being made has grown so far. */
static void await_new(off_t bytes)
{
    char path[PATH_BYTES];
    struct stat st;
    snprintf(path, sizeof(path), "%s/new", dir);
    while (stat(path, &st) < 0 || st.st_size < bytes)
        ;
}

static void a_kill_leaves_whole_ones(void **state)
{
    (void)state;
    put_many(0, 2000);
    store_close(store);
    for (int round = 0; round < 25; round++) {
        int pipes[2];
        assert_int_equal(pipe(pipes), 0);
        pid_t child = fork();
        if (child == 0)
            child_main(pipes[1]);
        close(pipes[1]);
        struct snapshot told = {0}, found[SNAPSHOT_KEPT];
        for (int i = 0; i <= round % 3; i++)
            assert_int_equal(read(pipes[0], &told, sizeof(told)), sizeof(told));
        await_new((off_t)(told.bytes * (unsigned)round / 25));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        while (read(pipes[0], &told, sizeof(told)) == sizeof(told))
            ;
        close(pipes[0]);
        int count = snapshot_open_dir(dir, found, why);
        assert_in_range(count, 1, 2);
        assert_true(found[0].index >= told.index); /* what was told of is there */
        for (int i = 0; i < count; i++) {
            char text[64];
            query(&found[i], "PRAGMA integrity_check", text);
            assert_string_equal(text, "ok");
        }
    }
    struct store_options options;
    harness_open_options(&options, top, false);
    assert_int_equal(store_open(&options, &store, why), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, harness_teardown)
        T(plain_sqlite_opens_it),          T(it_shows_one_moment_while_applying_goes_on),
        T(the_newest_two_are_kept),        T(what_was_left_half_made_goes),
        T(a_cancelled_one_leaves_nothing), T(no_room_for_the_directory_is_said),
        T(a_kill_leaves_whole_ones),
    };
    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
