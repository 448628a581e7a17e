/* SPDX-License-Identifier: MIT */
/*
 * What is cut off: gone at once for whoever looks, freed in pieces later, and it makes no
 * difference when. Rows are counted in the database itself.
 */
#include "replica.h"

#include <stdio.h>
#include <stdlib.h>

#include "store/install.h"
#include "store/sql.h"

#define ROOT  STORE_ROOT_INO
#define CHUNK ((uint64_t)STORE_CHUNK_BYTES)

enum { MIB = 1024 * 1024, WRITE_CHUNKS = 15, ROWS = 40, FEW_ROWS = 16, PIECE_ROWS = 8 };

static const atomic_bool never;

/* ---- What stands in the database ---- */

static uint64_t number_of(const char *query)
{
    char path[128];
    struct sql sql;
    sqlite3_stmt *s = NULL;
    assert_int_equal(store_save(store), 0);
    snprintf(path, sizeof(path), "%s/store.db", top);
    assert_int_equal(sql_open(&sql, path, SQLITE_OPEN_READONLY), 0);
    assert_int_equal(sqlite3_prepare_v2(sql.db, query, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    uint64_t number = sql_u64(s, 0);
    sqlite3_finalize(s);
    sql_close(&sql);
    return number;
}

static uint64_t rows(void)
{
    return number_of("SELECT count(*) FROM body");
}

static uint64_t live_rows(void)
{
    return number_of("SELECT count(*) FROM content WHERE live");
}

static uint64_t ranges(void)
{
    return number_of("SELECT count(*) FROM garbage");
}

static uint64_t pages_in_use(void)
{
    return number_of("SELECT page_count - freelist_count FROM pragma_page_count, "
                     "pragma_freelist_count");
}

/* ---- What is done ---- */

static void resize(uint64_t ino, uint64_t bytes)
{
    assert_int_equal(
        apply((struct command){
            .op = COMMAND_SETATTR, .set = COMMAND_SET_SIZE, .ino = ino, .size = bytes}),
        0);
}

/* Full chunks from one to another, of one letter. */
static void fill(uint64_t ino, uint64_t first, uint64_t end, char letter)
{
    static char data[WRITE_CHUNKS * STORE_CHUNK_BYTES];
    memset(data, letter, sizeof(data));
    for (uint64_t n = first; n < end; n += WRITE_CHUNKS) {
        uint64_t count = end - n < WRITE_CHUNKS ? end - n : WRITE_CHUNKS;
        assert_int_equal(do_write(ino, n * CHUNK, data, count * CHUNK, 0), 0);
    }
}

static uint64_t make_file(const char *name, uint64_t chunks)
{
    assert_int_equal(do_put(ROOT, name, "small"), 0);
    uint64_t ino = result.attr.ino;
    fill(ino, 0, chunks, 'a');
    assert_int_equal(attr_of(ino).size_bytes, chunks * CHUNK);
    return ino;
}

static unsigned reclaim_all(void)
{
    unsigned pieces = 0;
    for (; store_has_garbage(store); pieces++)
        assert_int_equal(store_reclaim(store), 0);
    return pieces;
}

/* Every byte of these chunks is that one. */
static void check_chunks(uint64_t ino, uint64_t first, uint64_t end, char want)
{
    static char data[STORE_CHUNK_BYTES];
    for (uint64_t n = first; n < end; n++) {
        size_t got;
        struct store_attr attr;
        assert_int_equal(store_read(store, ino, n * CHUNK, CHUNK, data, &got, &attr), 0);
        assert_int_equal(got, CHUNK);
        for (size_t i = 0; i < CHUNK; i++)
            if (data[i] != want)
                fail_msg("byte %zu of chunk %ju is %d", i, (uintmax_t)n, data[i]);
    }
}

static int setup(void **state)
{
    int error = harness_setup(state);
    reclaim_all(); /* it has looked */
    return error;
}

/* ---- Cutting off, and freeing ---- */

static void what_is_cut_off_is_freed_in_pieces(void **state)
{
    (void)state;
    uint64_t ino = make_file("big", ROWS);
    assert_false(store_has_garbage(store));
    resize(ino, 0);
    assert_true(store_has_garbage(store));
    assert_int_equal(rows(), ROWS);
    assert_int_equal(live_rows(), 0);
    uint64_t before = fingerprint();
    for (uint64_t left = ROWS; left > 0; left -= PIECE_ROWS) {
        assert_int_equal(rows(), left);
        assert_int_equal(store_reclaim(store), 0);
        assert_int_equal(fingerprint(), before);
        check_fingerprint();
    }
    assert_int_equal(rows(), 0);
    reclaim_all();
    assert_int_equal(ranges(), 0);
}

static void a_removed_file_is_freed_too(void **state)
{
    (void)state;
    uint64_t kept = make_file("kept", FEW_ROWS + 1);
    make_file("big", ROWS);
    assert_int_equal(do_unlink(ROOT, "big", root_user), 0);
    assert_int_equal(rows(), FEW_ROWS + 1 + ROWS);
    assert_int_equal(live_rows(), FEW_ROWS + 1);
    reclaim_all();
    assert_int_equal(rows(), FEW_ROWS + 1);
    check_chunks(kept, 0, FEW_ROWS + 1, 'a');
}

static void a_few_rows_are_freed_at_once(void **state)
{
    (void)state;
    uint64_t ino = make_file("big", ROWS);
    resize(ino, (ROWS - FEW_ROWS) * CHUNK);
    assert_false(store_has_garbage(store));
    assert_int_equal(rows(), ROWS - FEW_ROWS);
    resize(ino, 7 * CHUNK - 1);
    assert_true(store_has_garbage(store));
    resize(ino, 5 * CHUNK + 1); /* what is garbage already is not counted again */
    assert_int_equal(live_rows(), 6);
    assert_int_equal(rows(), ROWS - FEW_ROWS - 1);
    reclaim_all();
    assert_int_equal(rows(), 6);
    check_chunks(ino, 0, 5, 'a');
}

static void where_there_is_none_nothing_is_written(void **state)
{
    (void)state;
    char path[128];
    struct stat before, after;
    resize(make_file("big", ROWS), 0);
    reclaim_all();
    harness_reopen();
    assert_true(store_has_garbage(store)); /* for all it knows */
    assert_int_equal(store_save(store), 0);
    snprintf(path, sizeof(path), "%s/store.db-wal", top);
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(store_reclaim(store), 0);
    assert_false(store_has_garbage(store));
    assert_int_equal(store_reclaim(store), 0);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_size, before.st_size);
    assert_memory_equal(&after.st_mtim, &before.st_mtim, sizeof(after.st_mtim));
}

static void it_goes_on_after_a_restart(void **state)
{
    (void)state;
    uint64_t ino = make_file("big", ROWS);
    resize(ino, CHUNK);
    assert_int_equal(store_reclaim(store), 0);
    harness_reopen();
    assert_int_equal(rows(), ROWS - PIECE_ROWS);
    assert_int_equal(live_rows(), 1);
    reclaim_all();
    assert_int_equal(rows(), 1);
    check_chunks(ino, 0, 1, 'a');
}

/* ---- Where there was content before ---- */

/* As fast as into a file that never had any. */
static void a_file_that_grows_again_is_a_hole(void **state)
{
    (void)state;
    uint64_t ino = make_file("big", ROWS);
    resize(ino, 3 * CHUNK + 5);
    resize(ino, ROWS * CHUNK);
    assert_int_equal(rows(), ROWS);
    check_fingerprint();
    for (int freed = 0; freed < 2; freed++) {
        check_chunks(ino, 0, 3, 'a');
        check_chunks(ino, 4, ROWS, '\0');
        reclaim_all();
    }
    assert_int_equal(rows(), 4);
}

static void what_is_written_there_stays(void **state)
{
    (void)state;
    uint64_t ino = make_file("big", ROWS);
    resize(ino, 0);
    fill(ino, 20, 21, 'b');
    fill(ino, 3, 5, 'c');
    assert_int_equal(do_write(ino, 30 * CHUNK + 7, "tail", 4, 0), 0);
    assert_int_equal(rows(), ROWS);
    assert_int_equal(live_rows(), 4);
    for (int freed = 0; freed < 2; freed++) {
        check_chunks(ino, 0, 3, '\0');
        check_chunks(ino, 3, 5, 'c');
        check_chunks(ino, 5, 20, '\0');
        check_chunks(ino, 20, 21, 'b');
        check_chunks(ino, 21, 30, '\0');
        check_fingerprint();
        reclaim_all();
    }
    assert_int_equal(rows(), 4);
    assert_int_equal(do_unlink(ROOT, "big", root_user), 0);
    reclaim_all();
    assert_int_equal(rows(), 0);
}

/* A part of it cut off again, with what lies in the holes. */
static void it_is_cut_off_again(void **state)
{
    (void)state;
    uint64_t ino = make_file("big", 3 * ROWS);
    resize(ino, 0);
    fill(ino, ROWS, 2 * ROWS, 'b');
    assert_int_equal(ranges(), 2);
    resize(ino, (ROWS + 3) * CHUNK);
    check_fingerprint();
    assert_int_equal(live_rows(), 3);
    resize(ino, 0);
    check_fingerprint();
    assert_int_equal(live_rows(), 0);
    reclaim_all();
    assert_int_equal(rows(), 0);
    assert_int_equal(ranges(), 0);
}

static void it_is_cut_off_within_a_hole(void **state)
{
    (void)state;
    uint64_t ino = make_file("big", 3 * ROWS);
    resize(ino, 0);
    fill(ino, ROWS, 2 * ROWS, 'b');
    resize(ino, (ROWS - 5) * CHUNK);
    fill(ino, ROWS - 3, ROWS - 2, 'c');
    reclaim_all();
    check_fingerprint();
    assert_int_equal(rows(), 1);
    check_chunks(ino, ROWS - 3, ROWS - 2, 'c');
}

static void a_name_made_again_is_another_file(void **state)
{
    (void)state;
    make_file("big", ROWS);
    assert_int_equal(do_unlink(ROOT, "big", root_user), 0);
    uint64_t ino = make_file("big", ROWS);
    assert_int_equal(rows(), 2 * ROWS);
    reclaim_all();
    assert_int_equal(rows(), ROWS);
    check_chunks(ino, 0, ROWS, 'a');
}

static void who_has_it_open_keeps_what_he_could_see(void **state)
{
    (void)state;
    uint64_t ino = make_file("big", ROWS);
    resize(ino, 2 * CHUNK);
    resize(ino, ROWS * CHUNK);
    fill(ino, 30, 31, 'b');
    open_ino = ino;
    assert_int_equal(do_unlink(ROOT, "big", root_user), 0);
    reclaim_all();
    assert_int_equal(rows(), 0);
    assert_int_equal(attr_of(ino).size_bytes, ROWS * CHUNK);
    check_chunks(ino, 0, 2, 'a');
    check_chunks(ino, 2, 30, '\0');
    check_chunks(ino, 30, 31, 'b');
    check_chunks(ino, 31, ROWS, '\0');
    store_orphan_release(store, ino);
}

/* ---- Room ---- */

static void what_is_freed_is_used_again(void **state)
{
    (void)state;
    uint64_t ino = make_file("big", ROWS);
    uint64_t most = pages_in_use() + 10;
    for (int i = 0; i < 5; i++) {
        resize(ino, 0);
        if (i % 2)
            assert_int_equal(store_reclaim(store), 0);
        fill(ino, 0, ROWS, (char)('b' + i));
        assert_in_range(pages_in_use(), 0, most);
        check_chunks(ino, 0, ROWS, (char)('b' + i));
    }
    uint64_t pages = number_of("PRAGMA page_count");
    for (int i = 0; i < 5; i++) {
        assert_int_equal(do_unlink(ROOT, "big", root_user), 0);
        reclaim_all();
        make_file("big", ROWS);
    }
    assert_in_range(number_of("PRAGMA page_count"), 0, pages + 10);
}

/* The pages themselves are left as they are. */
static void freeing_writes_little(void **state)
{
    (void)state;
    char path[128];
    struct stat before, after;
    resize(make_file("big", ROWS), 0);
    assert_int_equal(store_sync(store), 0);
    store_close(store); /* the write-ahead log starts over, as short as can be */
    replica_open(top);
    snprintf(path, sizeof(path), "%s/store.db-wal", top);
    assert_int_equal(stat(path, &before), 0);
    reclaim_all();
    assert_int_equal(stat(path, &after), 0);
    assert_in_range(after.st_size - before.st_size, 1, MIB / 2);
}

/* ---- Snapshots ---- */

static void a_snapshot_may_hold_some(void **state)
{
    (void)state;
    struct snapshot snapshot, found[SNAPSHOT_KEPT];
    char dir[128], file[REPLICA_PATH_BYTES], why[STORE_WHY_BYTES], ahead[sizeof(top)];
    char behind[] = "/tmp/raftfs-store-XXXXXX";
    uint64_t index, term;
    assert_non_null(mkdtemp(behind));
    assert_int_equal(store_sync(store), 0);
    store_close(store);
    replica_copy_store(top, behind);
    replica_open(top);
    uint64_t ino = make_file("big", ROWS);
    resize(ino, 2 * CHUNK);
    fill(ino, 10, 12, 'b');
    uint64_t want = fingerprint();
    snprintf(dir, sizeof(dir), "%s/s", top);
    assert_int_equal(snapshot_open_dir(dir, found, why), 0);
    assert_int_equal(snapshot_take(store, dir, &never, &snapshot), 0);
    snprintf(file, sizeof(file), "%s/%s", dir, snapshot.name);
    store_close(store);

    memcpy(ahead, top, sizeof(top));
    replica_open(behind);
    reclaim_all();
    assert_int_equal(store_install(store, file, &index, &term), 0);
    assert_int_equal(fingerprint(), want);
    assert_true(store_has_garbage(store));
    reclaim_all();
    assert_int_equal(rows(), 4);
    assert_int_equal(fingerprint(), want);
    check_fingerprint();
    check_chunks(ino, 0, 2, 'a');
    check_chunks(ino, 2, 10, '\0');
    check_chunks(ino, 10, 12, 'b');
    store_close(store);
    replica_remove_dir(behind);
    replica_open(ahead);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, harness_teardown)
        T(what_is_cut_off_is_freed_in_pieces),
        T(a_removed_file_is_freed_too),
        T(a_few_rows_are_freed_at_once),
        T(where_there_is_none_nothing_is_written),
        T(it_goes_on_after_a_restart),
        T(a_file_that_grows_again_is_a_hole),
        T(what_is_written_there_stays),
        T(it_is_cut_off_again),
        T(it_is_cut_off_within_a_hole),
        T(a_name_made_again_is_another_file),
        T(who_has_it_open_keeps_what_he_could_see),
        T(what_is_freed_is_used_again),
        T(freeing_writes_little),
        T(a_snapshot_may_hold_some),
    };
    return cmocka_run_group_tests_name("garbage", tests, NULL, NULL);
}
