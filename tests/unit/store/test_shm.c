/* SPDX-License-Identifier: MIT */
/* The write-ahead log's index in memory: its regions and locks, alone and beneath SQLite. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/schema.h"
#include "store/shm.h"
#include "store/sql.h"
#include "store/vfs.h"

enum {
    REGION_BYTES = 32768,
    WRITE = 0, /* SQLite's slots */
    READ = 3,
    READS = 5,
};

static char top[64], path[96], file[112];

static int setup(void **state)
{
    (void)state;
    snprintf(top, sizeof(top), "/tmp/raftfs-shm-XXXXXX");
    assert_non_null(mkdtemp(top));
    snprintf(path, sizeof(path), "%s/store.db", top);
    snprintf(file, sizeof(file), "%s-shm", path);
    assert_int_equal(vfs_register(), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    static const char *const names[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char name[128];
        snprintf(name, sizeof(name), "%s%s", path, names[i]);
        unlink(name);
    }
    return rmdir(top);
}

/* ---- Alone ---- */

static volatile uint8_t *map(struct shm_link *l, int number)
{
    void volatile *region = NULL;
    assert_int_equal(shm_map(l, path, number, REGION_BYTES, &region), SQLITE_OK);
    assert_non_null(region);
    return region;
}

static bool locks(struct shm_link *l, int first, int count, int kind)
{
    int rc = shm_lock(l, first, count, SQLITE_SHM_LOCK | kind);
    assert_true(rc == SQLITE_OK || rc == SQLITE_BUSY);
    return rc == SQLITE_OK;
}

static void unlocks(struct shm_link *l, int first, int count, int kind)
{
    assert_int_equal(shm_lock(l, first, count, SQLITE_SHM_UNLOCK | kind), SQLITE_OK);
}

static void all_see_the_same_regions_for_as_long_as_one_does(void **state)
{
    (void)state;
    struct shm_link a = {0}, b = {0};
    volatile uint8_t *first = map(&a, 0);
    for (int i = 0; i < REGION_BYTES; i++)
        assert_int_equal(first[i], 0);
    first[REGION_BYTES - 1] = 7;
    volatile uint8_t *far = map(&a, 40);
    far[1] = 8;
    assert_ptr_equal(map(&b, 0), first);
    assert_ptr_equal(map(&b, 40), far);
    shm_unmap(&a, false);
    assert_int_equal(first[REGION_BYTES - 1], 7);
    assert_int_equal(far[1], 8);
    shm_unmap(&b, false);
    assert_int_equal(map(&a, 0)[REGION_BYTES - 1], 0);
    assert_int_equal(map(&a, 40)[1], 0);
    shm_unmap(&a, true);
    assert_int_not_equal(access(file, F_OK), 0);
}

static void a_slot_is_shared_or_exclusive(void **state)
{
    (void)state;
    struct shm_link a = {0}, b = {0}, c = {0};
    map(&a, 0), map(&b, 0), map(&c, 0);
    for (int slot = 0; slot < SQLITE_SHM_NLOCK; slot++) {
        assert_true(locks(&a, slot, 1, SQLITE_SHM_SHARED));
        assert_true(locks(&b, slot, 1, SQLITE_SHM_SHARED));
        assert_true(locks(&a, slot, 1, SQLITE_SHM_SHARED)); /* again: counts once */
        assert_false(locks(&c, slot, 1, SQLITE_SHM_EXCLUSIVE));
        unlocks(&a, slot, 1, SQLITE_SHM_SHARED);
        unlocks(&a, slot, 1, SQLITE_SHM_SHARED);
        assert_false(locks(&c, slot, 1, SQLITE_SHM_EXCLUSIVE));
        unlocks(&b, slot, 1, SQLITE_SHM_SHARED);
        assert_true(locks(&c, slot, 1, SQLITE_SHM_EXCLUSIVE));
        assert_false(locks(&a, slot, 1, SQLITE_SHM_SHARED));
        assert_false(locks(&a, slot, 1, SQLITE_SHM_EXCLUSIVE));
        unlocks(&a, slot, 1, SQLITE_SHM_EXCLUSIVE); /* not its own: stays */
        assert_false(locks(&b, slot, 1, SQLITE_SHM_SHARED));
        unlocks(&c, slot, 1, SQLITE_SHM_EXCLUSIVE);
        assert_false(a.shared | a.exclusive | b.shared | b.exclusive | c.shared | c.exclusive);
    }
    shm_unmap(&a, false), shm_unmap(&b, false), shm_unmap(&c, true);
}

static void a_range_is_locked_whole_or_not_at_all(void **state)
{
    (void)state;
    struct shm_link a = {0}, b = {0};
    map(&a, 0), map(&b, 0);
    for (int taken = READ; taken < READ + READS; taken++) {
        assert_true(locks(&a, taken, 1, SQLITE_SHM_SHARED));
        assert_false(locks(&b, READ, READS, SQLITE_SHM_EXCLUSIVE));
        assert_int_equal(b.exclusive, 0);
        for (int slot = READ; slot < READ + READS; slot++) {
            bool free = locks(&b, slot, 1, SQLITE_SHM_EXCLUSIVE);
            assert_int_equal(free, slot != taken);
            unlocks(&b, slot, 1, SQLITE_SHM_EXCLUSIVE);
        }
        unlocks(&a, taken, 1, SQLITE_SHM_SHARED);
    }
    assert_true(locks(&a, WRITE, 1, SQLITE_SHM_EXCLUSIVE));
    assert_true(locks(&b, READ, READS, SQLITE_SHM_EXCLUSIVE));
    assert_false(locks(&a, READ + READS - 1, 1, SQLITE_SHM_SHARED));
    assert_false(locks(&b, 0, SQLITE_SHM_NLOCK, SQLITE_SHM_EXCLUSIVE));
    unlocks(&b, READ, READS, SQLITE_SHM_EXCLUSIVE);
    assert_true(locks(&b, READ, 1, SQLITE_SHM_SHARED));
    unlocks(&b, READ, 1, SQLITE_SHM_SHARED);
    unlocks(&a, WRITE, 1, SQLITE_SHM_EXCLUSIVE);
    assert_true(locks(&b, 0, SQLITE_SHM_NLOCK, SQLITE_SHM_EXCLUSIVE));
    unlocks(&b, 0, SQLITE_SHM_NLOCK, SQLITE_SHM_EXCLUSIVE);
    shm_unmap(&a, false), shm_unmap(&b, true);
}

static atomic_bool stop;

/* What the locks guard: a plain number, which ThreadSanitizer watches, too. */
static uint64_t guarded;

static void *count_exclusively(void *arg)
{
    struct shm_link l = {0};
    uint64_t counted = 0;
    map(&l, 0);
    while (counted < *(const uint64_t *)arg) {
        int first = READ - (int)(counted % 3); /* each range holds the slot READ */
        if (!locks(&l, first, READ + 1 - first, SQLITE_SHM_EXCLUSIVE))
            continue;
        guarded++;
        counted++;
        unlocks(&l, first, READ + 1 - first, SQLITE_SHM_EXCLUSIVE);
    }
    shm_unmap(&l, false);
    return NULL;
}

static void *look_shared(void *arg)
{
    struct shm_link l = {0};
    uint64_t *looks = arg;
    map(&l, 0);
    for (uint64_t last = 0; !atomic_load(&stop) || *looks == 0;) {
        if (!locks(&l, READ, 1, SQLITE_SHM_SHARED))
            continue;
        uint64_t now = guarded;
        if (now < last || now != *(volatile uint64_t *)&guarded)
            abort();
        last = now;
        ++*looks;
        unlocks(&l, READ, 1, SQLITE_SHM_SHARED);
    }
    shm_unmap(&l, false);
    return NULL;
}

static void threads_exclude_each_other(void **state)
{
    (void)state;
    uint64_t each = 20000, looks[2] = {0, 0};
    pthread_t counters[2], lookers[2];
    atomic_store(&stop, false);
    guarded = 0;
    for (int i = 0; i < 2; i++) {
        pthread_create(&counters[i], NULL, count_exclusively, &each);
        pthread_create(&lookers[i], NULL, look_shared, &looks[i]);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(counters[i], NULL);
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(lookers[i], NULL);
    assert_int_equal(guarded, 2 * each);
}

/* ---- Beneath SQLite ---- */

enum { PAIRS = 200 };

static void run(struct sql *sql, const char *text)
{
    assert_int_equal(sql_exec(sql, text), 0);
}

static int rc_of(struct sql *sql, const char *text)
{
    return sqlite3_exec(sql->db, text, NULL, NULL, NULL) & 0xff;
}

static void open_it(struct sql *sql)
{
    assert_int_equal(sql_open(sql, path, SQLITE_OPEN_READWRITE), 0);
    run(sql, "PRAGMA wal_autocheckpoint=0; SELECT count(*) FROM meta");
    sqlite3_busy_timeout(sql->db, 0);
}

/* A table whose rows are all the same number at any moment, on many pages. */
static void make(struct sql *sql)
{
    char text[512];
    assert_int_equal(sql_open(sql, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE), 0);
    assert_int_equal(schema_create(sql, 1), 0);
    snprintf(text, sizeof(text),
             "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=OFF;"
             "CREATE TABLE same(id INTEGER PRIMARY KEY, n INTEGER, filler BLOB);"
             "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<%d)"
             " INSERT INTO same SELECT i, 0, zeroblob(300) FROM c",
             PAIRS);
    run(sql, text);
    sqlite3_busy_timeout(sql->db, 0);
}

/* The number; -1: the rows differ or some are missing. */
static int64_t same(struct sql *sql)
{
    sqlite3_stmt *s = NULL;
    int64_t n = -1;
    if (sqlite3_prepare_v2(sql->db, "SELECT count(*), min(n), max(n) FROM same", -1, &s, NULL) ==
            SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW && sqlite3_column_int(s, 0) == PAIRS &&
        sqlite3_column_int64(s, 1) == sqlite3_column_int64(s, 2))
        n = sqlite3_column_int64(s, 1);
    sqlite3_finalize(s);
    return n;
}

static void a_writer_excludes_writers(void **state)
{
    (void)state;
    struct sql a, b, c;
    make(&a);
    open_it(&b);
    open_it(&c);
    run(&a, "BEGIN IMMEDIATE; UPDATE same SET n=1");
    assert_int_equal(rc_of(&b, "BEGIN IMMEDIATE"), SQLITE_BUSY);
    assert_int_equal(same(&c), 0);
    run(&a, "COMMIT");
    run(&b, "BEGIN IMMEDIATE; UPDATE same SET n=2");
    assert_int_equal(rc_of(&a, "BEGIN IMMEDIATE"), SQLITE_BUSY);
    assert_int_equal(same(&c), 1);
    run(&b, "COMMIT");
    assert_int_equal(same(&c), 2);
    sql_close(&a);
    sql_close(&b);
    sql_close(&c);
    assert_int_not_equal(access(file, F_OK), 0); /* the last one has made an end of the log */
}

static void a_reader_keeps_the_log_from_starting_over(void **state)
{
    (void)state;
    struct sql writer, reader, other;
    make(&writer);
    open_it(&reader);
    open_it(&other);
    run(&reader, "BEGIN");
    assert_int_equal(same(&reader), 0);
    run(&writer, "UPDATE same SET n=1");
    assert_int_equal(
        sqlite3_wal_checkpoint_v2(other.db, "main", SQLITE_CHECKPOINT_RESTART, NULL, NULL) & 0xff,
        SQLITE_BUSY);
    assert_int_equal(same(&reader), 0);
    assert_int_equal(same(&other), 1);
    run(&reader, "COMMIT");
    int pages, copied;
    assert_int_equal(
        sqlite3_wal_checkpoint_v2(other.db, "main", SQLITE_CHECKPOINT_RESTART, &pages, &copied),
        SQLITE_OK);
    assert_int_equal(copied, pages);
    assert_int_equal(same(&reader), 1);
    sql_close(&writer);
    sql_close(&other);
    sql_close(&reader);
}

static void *read_on(void *arg)
{
    struct sql sql;
    uint64_t *reads = arg;
    if (sql_open(&sql, path, SQLITE_OPEN_READONLY) != 0)
        abort();
    for (int64_t last = 0; !atomic_load(&stop) || *reads == 0; ++*reads) {
        int64_t n = same(&sql);
        if (n < last)
            abort();
        last = n;
    }
    sql_close(&sql);
    return NULL;
}

static void *checkpoint_on(void *arg)
{
    static const int modes[] = {SQLITE_CHECKPOINT_PASSIVE, SQLITE_CHECKPOINT_RESTART,
                                SQLITE_CHECKPOINT_FULL, SQLITE_CHECKPOINT_TRUNCATE};
    struct sql sql;
    uint64_t *done = arg;
    if (sql_open(&sql, path, SQLITE_OPEN_READWRITE) != 0)
        abort();
    run(&sql, "PRAGMA synchronous=OFF; SELECT count(*) FROM meta");
    for (unsigned i = 0; !atomic_load(&stop) || *done == 0; i++) {
        int rc = sqlite3_wal_checkpoint_v2(sql.db, "main", modes[i % 4], NULL, NULL);
        if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY)
            abort();
        *done += rc == SQLITE_OK;
    }
    sql_close(&sql);
    return NULL;
}

static void readers_see_whole_states_beside_a_writer_and_checkpoints(void **state)
{
    (void)state;
    enum { READERS = 3, CHANGES = 300 };
    uint64_t reads[READERS] = {0}, checkpoints = 0;
    pthread_t readers[READERS], checkpointer;
    struct sql writer;
    make(&writer);
    sqlite3_busy_timeout(writer.db, SQL_BUSY_MS);
    atomic_store(&stop, false);
    for (int i = 0; i < READERS; i++)
        pthread_create(&readers[i], NULL, read_on, &reads[i]);
    pthread_create(&checkpointer, NULL, checkpoint_on, &checkpoints);
    int error = 0;
    for (int i = 1; i <= CHANGES && error == 0; i++) {
        error = sql_exec(&writer, i % 3 ? "UPDATE same SET n=n+1"
                                        : "BEGIN IMMEDIATE; UPDATE same SET n=n+7; ROLLBACK; "
                                          "BEGIN IMMEDIATE; UPDATE same SET n=n+1; COMMIT");
    }
    atomic_store(&stop, true);
    for (int i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    pthread_join(checkpointer, NULL);
    assert_int_equal(error, 0);
    assert_int_equal(same(&writer), CHANGES);
    sql_close(&writer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(all_see_the_same_regions_for_as_long_as_one_does),
        T(a_slot_is_shared_or_exclusive),
        T(a_range_is_locked_whole_or_not_at_all),
        T(threads_exclude_each_other),
        T(a_writer_excludes_writers),
        T(a_reader_keeps_the_log_from_starting_over),
        T(readers_see_whole_states_beside_a_writer_and_checkpoints),
    };
    return cmocka_run_group_tests_name("shm", tests, NULL, NULL);
}
