/* SPDX-License-Identifier: MIT */
/* A bit flipped in the write-ahead log: refused or harmless, never served nor kept. */
#include "harness.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/sql.h"
#include "store/tree.h"
#include "store/vfs.h"

#define ROOT STORE_ROOT_INO

enum { FRAME_BYTES = 24 + VFS_PAGE_BYTES, FILES = 12, FILE_BYTES = 9000, MOST_INDEX = 64 };

static char why[STORE_WHY_BYTES], wal_path[128], db_path[128];
static uint64_t fingerprints[MOST_INDEX];

static int setup(void **state)
{
    int error = harness_setup(state);
    snprintf(db_path, sizeof(db_path), "%s/store.db", top);
    snprintf(wal_path, sizeof(wal_path), "%s/store.db-wal", top);
    return error;
}

static void put_files(void)
{
    static char value[FILE_BYTES + 1];
    memset(value, 'd', FILE_BYTES);
    for (int i = 0; i < FILES; i++) {
        char name[16];
        snprintf(name, sizeof(name), "key%d", i);
        assert_int_equal(do_put(ROOT, name, value), 0);
        fingerprints[store_applied_index(store)] = fingerprint();
    }
}

static off_t size_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

static void flip(off_t at)
{
    uint8_t byte;
    int fd = open(wal_path, O_RDWR);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

/* A byte of the k-th frame: mostly of its page, at times of its header. */
static off_t somewhere_in(off_t frame)
{
    return 32 + frame * FRAME_BYTES + frame * 613 % FRAME_BYTES;
}

/* Reads all rows on a connection that has nothing cached: 0 or the error. */
static int read_all(void)
{
    struct sql sql;
    sqlite3_stmt *s;
    int rows = 0;
    assert_int_equal(sql_open(&sql, db_path, SQLITE_OPEN_READONLY), 0);
    int rc = sqlite3_prepare_v2(sql.db, "SELECT data FROM chunk", -1, &s, NULL);
    while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        const char *data = sqlite3_column_blob(s, 0);
        for (int i = 0; i < sqlite3_column_bytes(s, 0); i++)
            assert_int_equal(data[i], 'd');
        rows++;
        rc = SQLITE_OK;
    }
    sqlite3_finalize(s);
    sql_close(&sql);
    if (rc == SQLITE_DONE)
        assert_int_equal(rows, FILES);
    return rc == SQLITE_DONE ? 0 : sql_errno(rc);
}

static void a_running_store_never_serves_it(void **state)
{
    (void)state;
    put_files();
    unsigned found = 0, frames = (unsigned)(size_of(wal_path) / FRAME_BYTES);
    assert_true(frames > 40);
    for (unsigned k = 0; k < frames; k++) {
        flip(somewhere_in(k));
        int error = read_all();
        assert_true(error == 0 || error == -EUCLEAN);
        found += error != 0;
        flip(somewhere_in(k));
    }
    assert_true(found > 2 * FILES); /* the rest are older versions of pages */
    assert_int_equal(read_all(), 0);
}

/* 0 or the error. */
static int read_state(void)
{
    struct sql sql;
    struct store_state found = {0};
    assert_int_equal(sql_open(&sql, db_path, SQLITE_OPEN_READONLY), 0);
    sql_begin(&sql, false);
    tree_load_state(&sql, &found);
    int error = sql_end(&sql);
    sql_close(&sql);
    if (error == 0)
        assert_int_equal(found.applied_index, store_applied_index(store));
    return error;
}

/* The first frame has no other before it: its sum goes on from that of the log's header. */
static void the_first_frame_is_checked_with_the_header(void **state)
{
    (void)state;
    enum { HEADER_SUM_AT = 24, FRAMES_AT = 32 };
    put_files();
    assert_int_equal(store_sync(store), 0);
    assert_int_equal(do_put(ROOT, "key0", "d"), 0); /* the log starts over */
    static const off_t bytes[] = {HEADER_SUM_AT, FRAMES_AT, FRAMES_AT + 16, FRAMES_AT + 24};
    for (unsigned i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
        assert_int_equal(read_state(), 0);
        flip(bytes[i]);
        assert_int_equal(read_state(), -EUCLEAN);
        flip(bytes[i]);
    }
}

static void it_is_not_moved_into_the_database(void **state)
{
    (void)state;
    put_files();
    uint64_t durable = store_durable_index(store);
    /* The last frame is the newest version of its page. */
    off_t at = somewhere_in(size_of(wal_path) / FRAME_BYTES - 1);
    flip(at);
    assert_int_equal(store_sync(store), -EUCLEAN);
    assert_int_equal(store_durable_index(store), durable);
    flip(at);
    assert_int_equal(store_sync(store), 0);
    assert_int_equal(store_durable_index(store), store_applied_index(store));
    assert_int_equal(read_all(), 0);
}

/* The transaction that is under way reads its own pages back, and writes over them. */
static void a_batch_that_outgrows_the_cache_is_read_back(void **state)
{
    (void)state;
    enum { BATCH = 100, AROUND = 25, BYTES = 1000000 };
    static char data[BYTES];
    static struct store_result results[BATCH];
    struct store_entry entries[BATCH];
    struct buf *bufs[BATCH];
    assert_int_equal(do_put(ROOT, "big", "d"), 0);
    uint64_t ino = result.attr.ino, index = store_applied_index(store);
    memset(data, 'd', sizeof(data));
    for (unsigned i = 0; i < BATCH; i++) {
        /* Round and round, so that what was spilled is written over and met again. */
        struct command c = {.op = COMMAND_WRITE,
                            .ino = ino,
                            .offset = (uint64_t)(i % AROUND) * BYTES,
                            .data = data,
                            .data_bytes = BYTES,
                            .session = 1,
                            .seq = 1000 + i,
                            .lowest_awaited = 1000 + i};
        bufs[i] = command_encode(&c);
        entries[i] = (struct store_entry){.index = index + 1 + i,
                                          .term = 1,
                                          .kind = STORE_ENTRY_COMMAND,
                                          .data = bufs[i]->data,
                                          .bytes = bufs[i]->bytes};
    }
    assert_int_equal(store_apply(store, entries, BATCH, results), 0);
    for (unsigned i = 0; i < BATCH; i++) {
        assert_int_equal(results[i].status, 0);
        buf_unref(bufs[i]);
    }
    check_fingerprint();
    assert_int_equal(store_sync(store), 0);
    check_fingerprint();
}

/* A killed process leaves a write-ahead log that is in the database already, or is not. */
static void leave_log(bool synced)
{
    pid_t child = fork();
    if (child == 0) {
        struct store_options options;
        harness_open_options(&options, top, false);
        if (store_open(&options, &store, why) != 0)
            _exit(1);
        put_files();
        if (synced && store_sync(store) != 0)
            _exit(2);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void save(const char *command_format)
{
    char command[256];
    snprintf(command, sizeof(command), "cd %s && %s", top, command_format);
    assert_int_equal(system(command), 0);
}

static void check_after_crash(bool synced)
{
    store_close(store);
    uint64_t first = 2; /* the session's entry is the first one */
    leave_log(synced);
    save("mkdir saved && cp store.db store.db-wal saved/");
    unsigned refused = 0, frames = (unsigned)(size_of(wal_path) / FRAME_BYTES);
    for (unsigned k = 0; k < frames; k++) {
        flip(somewhere_in(k));
        struct store_options options;
        harness_open_options(&options, top, false);
        int error = store_open(&options, &store, why);
        if (error == 0) {
            uint64_t index = store_applied_index(store);
            /* What could be durable is there; each state is one that was. */
            assert_in_range(index, synced ? first + FILES - 1 : first - 1, first + FILES - 1);
            if (index >= first)
                assert_int_equal(fingerprint(), fingerprints[index]);
            check_fingerprint();
            store_close(store);
        } else {
            assert_int_equal(error, -EUCLEAN);
            assert_non_null(strstr(why, "store.db-wal"));
            refused++;
        }
        save("rm -f store.db-wal store.db-shm && cp saved/* .");
    }
    assert_true(synced ? refused > frames / 2 : refused == 0);
    struct store_options options;
    harness_open_options(&options, top, false);
    assert_int_equal(store_open(&options, &store, why), 0);
    assert_int_equal(store_applied_index(store), first + FILES - 1);
}

static void old_pages_do_not_hide_new_ones_after_a_crash(void **state)
{
    (void)state;
    /* The child's own memory has them, too: as this process computes them. */
    put_files();
    store_close(store);
    harness_remove_top();
    assert_int_equal(setup(NULL), 0);
    check_after_crash(true);
}

static void what_was_not_durable_is_cut_after_a_crash(void **state)
{
    (void)state;
    put_files();
    store_close(store);
    harness_remove_top();
    assert_int_equal(setup(NULL), 0);
    check_after_crash(false);
}

/* A database of more than 1 GiB has one; its snapshots were refused for it once. */
static void the_page_of_sqlites_locks_is_a_hole(void **state)
{
    (void)state;
    uint8_t page[VFS_PAGE_BYTES] = {0};
    assert_int_equal(VFS_LOCK_PAGE, 262145);
    assert_true(vfs_page_is_good(page, VFS_LOCK_PAGE));
    assert_false(vfs_page_is_good(page, VFS_LOCK_PAGE - 1));
    assert_false(vfs_page_is_good(page, VFS_LOCK_PAGE + 1));
    page[100] = 1;
    assert_false(vfs_page_is_good(page, VFS_LOCK_PAGE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, harness_teardown)
        T(the_page_of_sqlites_locks_is_a_hole),
        T(a_running_store_never_serves_it),
        T(the_first_frame_is_checked_with_the_header),
        T(it_is_not_moved_into_the_database),
        T(a_batch_that_outgrows_the_cache_is_read_back),
        T(old_pages_do_not_hide_new_ones_after_a_crash),
        T(what_was_not_durable_is_cut_after_a_crash),
    };
    return cmocka_run_group_tests_name("rot", tests, NULL, NULL);
}
