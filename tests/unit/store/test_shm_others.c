/* SPDX-License-Identifier: MIT */
/*
 * SQLite's own VFS, in this and in another process, beside a store's connections: it is kept out
 * while they are there and finds everything once they are gone, killed or not.
 *
 * The other process is forked before anything is open, and then told by a pipe what to do.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/schema.h"
#include "store/sql.h"
#include "store/store.h"
#include "store/vfs.h"

enum { ROWS = 500, INCARNATION = 5 };

static char top[64], path[96];

static int setup(void **state)
{
    (void)state;
    snprintf(top, sizeof(top), "/tmp/raftfs-shm-XXXXXX");
    assert_non_null(mkdtemp(top));
    snprintf(path, sizeof(path), "%s/store.db", top);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -r %s", top);
    return system(command);
}

static void shell(const char *text)
{
    char command[256];
    snprintf(command, sizeof(command), "cd %s && %s", top, text);
    assert_int_equal(system(command), 0);
}

/* ---- A store's connection ---- */

/* A table of ROWS numbers, in the write-ahead log alone. */
static void make(struct sql *sql)
{
    char text[512];
    assert_int_equal(vfs_register(), 0);
    assert_int_equal(sql_open(sql, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE), 0);
    assert_int_equal(schema_create(sql, INCARNATION), 0);
    snprintf(text, sizeof(text),
             "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE number(n);"
             "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<%d)"
             " INSERT INTO number SELECT i FROM c",
             ROWS);
    assert_int_equal(sql_exec(sql, text), 0);
}

static int64_t count(sqlite3 *db, int *rc)
{
    sqlite3_stmt *s = NULL;
    int64_t rows = -1;
    *rc = sqlite3_prepare_v2(db, "SELECT count(n), sum(n) FROM number", -1, &s, NULL);
    if (*rc == SQLITE_OK)
        *rc = sqlite3_step(s);
    if (*rc == SQLITE_ROW) {
        rows = sqlite3_column_int64(s, 0);
        if (sqlite3_column_int64(s, 1) != rows * (rows + 1) / 2)
            abort();
        *rc = SQLITE_OK;
    }
    sqlite3_finalize(s);
    *rc &= 0xff;
    return rows;
}

static void expect_all(struct sql *sql)
{
    int rc;
    assert_int_equal(count(sql->db, &rc), ROWS);
    assert_int_equal(rc, SQLITE_OK);
}

/* ---- SQLite's own ---- */

/* 'r'ead with a new connection, 'w'rite with one, read with one that is 'k'ept, 'c'lose that. */
static int obey(char order)
{
    static sqlite3 *kept;
    sqlite3 *db = kept;
    int rc = SQLITE_OK;
    if (order != 'k' || !kept)
        rc = sqlite3_open_v2(path, &db, order == 'w' ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY,
                             "unix");
    if (order == 'c') {
        sqlite3_close(kept);
        kept = NULL;
    } else if (order == 'w' && rc == SQLITE_OK) {
        rc = sqlite3_exec(db, "UPDATE number SET n=n", NULL, NULL, NULL);
    } else if (rc == SQLITE_OK && count(db, &rc) != ROWS && rc == SQLITE_OK) {
        rc = SQLITE_MISMATCH;
    }
    if (order == 'k')
        kept = db;
    else
        sqlite3_close(db);
    return rc & 0xff;
}

struct process {
    pid_t pid;
    int orders;
    int answers;
};

static void answer(int to, int rc)
{
    if (write(to, &rc, sizeof(rc)) != sizeof(rc))
        _exit(1);
}

static void obey_all(int orders, int answers)
{
    char order;
    while (read(orders, &order, 1) == 1)
        answer(answers, obey(order));
    _exit(0);
}

/* Holds the database with a store's connection until it is killed. */
static void hold(int orders, int answers)
{
    struct sql sql;
    char order;
    if (read(orders, &order, 1) != 1)
        _exit(0);
    make(&sql);
    answer(answers, SQLITE_OK);
    (void)!read(orders, &order, 1);
    _exit(0);
}

static void start(struct process *p, void (*run)(int orders, int answers))
{
    int orders[2], answers[2];
    assert_int_equal(pipe2(orders, O_CLOEXEC), 0);
    assert_int_equal(pipe2(answers, O_CLOEXEC), 0);
    p->pid = fork();
    if (p->pid == 0) {
        close(orders[1]);
        run(orders[0], answers[1]);
    }
    close(orders[0]);
    close(answers[1]);
    p->orders = orders[1];
    p->answers = answers[0];
}

static int order(struct process *p, char what)
{
    int rc;
    assert_int_equal(write(p->orders, &what, 1), 1);
    assert_int_equal(read(p->answers, &rc, sizeof(rc)), sizeof(rc));
    return rc;
}

static void end(struct process *p, int signal)
{
    if (signal)
        kill(p->pid, signal);
    close(p->orders);
    assert_int_equal(waitpid(p->pid, NULL, 0), p->pid);
    close(p->answers);
}

/* ---- Tests ---- */

static void another_process_finds_it_locked_until_it_is_closed(void **state)
{
    (void)state;
    struct process other;
    struct sql sql, second;
    start(&other, obey_all);
    make(&sql);
    assert_int_equal(order(&other, 'r'), SQLITE_BUSY);
    assert_int_equal(order(&other, 'w'), SQLITE_BUSY);
    assert_int_equal(sql_open(&second, path, SQLITE_OPEN_READONLY), 0);
    expect_all(&second);
    sql_close(&sql);
    assert_int_equal(order(&other, 'r'), SQLITE_BUSY);
    expect_all(&second);
    sql_close(&second);
    assert_int_equal(order(&other, 'r'), SQLITE_OK);
    assert_int_equal(order(&other, 'w'), SQLITE_OK);
    end(&other, 0);
}

static void so_does_sqlites_own_vfs_in_this_process(void **state)
{
    (void)state;
    struct process other;
    struct sql sql;
    start(&other, obey_all);
    make(&sql);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(obey('r'), SQLITE_BUSY);
        assert_int_equal(obey('w'), SQLITE_BUSY);
        assert_int_equal(order(&other, 'w'), SQLITE_BUSY); /* the locks are still there */
    }
    expect_all(&sql);
    sql_close(&sql);
    assert_int_equal(obey('r'), SQLITE_OK);
    end(&other, 0);
}

/* A connection that does nothing, too: it may believe what it knows of the index. */
static void a_store_does_not_open_what_another_process_has_open(void **state)
{
    (void)state;
    struct process other;
    struct sql sql;
    struct store *store = NULL;
    struct store_options options = {.dir = top, .incarnation = INCARNATION};
    char why[STORE_WHY_BYTES] = "";
    start(&other, obey_all);
    make(&sql);
    sql_close(&sql);
    assert_int_equal(order(&other, 'k'), SQLITE_OK);
    assert_int_equal(store_open(&options, &store, why), -EBUSY);
    assert_non_null(strstr(why, path));
    assert_non_null(strstr(why, "open in another process"));
    assert_int_equal(order(&other, 'k'), SQLITE_OK);
    assert_int_equal(order(&other, 'c'), SQLITE_OK);
    assert_int_equal(sql_open(&sql, path, SQLITE_OPEN_READWRITE), 0);
    expect_all(&sql);
    sql_close(&sql);
    end(&other, 0);
}

static void all_is_there_after_a_kill(void **state)
{
    (void)state;
    static const char *const left[] = {"true", ": > store.db-shm", "rm store.db-shm",
                                       "head -c 65536 /dev/urandom > store.db-shm"};
    struct process holder;
    start(&holder, hold);
    assert_int_equal(order(&holder, 'h'), SQLITE_OK);
    end(&holder, SIGKILL);
    shell("mkdir saved && cp store.db store.db-wal store.db-shm saved/");
    assert_int_equal(vfs_register(), 0);
    for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
        struct process other;
        struct sql sql;
        start(&other, obey_all);
        shell("rm -f store.db* && cp saved/* .");
        shell(left[i]);
        assert_int_equal(order(&other, 'r'), SQLITE_OK);
        assert_int_equal(order(&other, 'w'), SQLITE_OK);
        shell("rm -f store.db* && cp saved/* .");
        shell(left[i]);
        assert_int_equal(sql_open(&sql, path, SQLITE_OPEN_READWRITE), 0);
        expect_all(&sql);
        sql_close(&sql);
        assert_int_equal(order(&other, 'r'), SQLITE_OK);
        end(&other, 0);
    }
}

/* It has the file mapped that was not made anew, and goes on from there. */
static void who_waits_goes_on_when_the_holder_is_killed(void **state)
{
    (void)state;
    struct process holder, other;
    struct sql sql;
    start(&other, obey_all);
    start(&holder, hold);
    assert_int_equal(order(&holder, 'h'), SQLITE_OK);
    assert_int_equal(order(&other, 'k'), SQLITE_BUSY);
    end(&holder, SIGKILL);
    assert_int_equal(order(&other, 'k'), SQLITE_OK);
    assert_int_equal(order(&other, 'w'), SQLITE_OK);
    assert_int_equal(order(&other, 'c'), SQLITE_OK);
    assert_int_equal(vfs_register(), 0);
    assert_int_equal(sql_open(&sql, path, SQLITE_OPEN_READWRITE), 0);
    expect_all(&sql);
    /* Its index, which was good, is not there to be believed. */
    assert_int_equal(order(&other, 'r'), SQLITE_BUSY);
    sql_close(&sql);
    end(&other, 0);
}

static void who_waits_goes_on_when_the_holder_closes(void **state)
{
    (void)state;
    struct process other;
    struct sql sql;
    start(&other, obey_all);
    make(&sql);
    assert_int_equal(order(&other, 'k'), SQLITE_BUSY);
    sql_close(&sql);
    assert_int_equal(order(&other, 'k'), SQLITE_OK);
    assert_int_equal(order(&other, 'w'), SQLITE_OK);
    end(&other, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(another_process_finds_it_locked_until_it_is_closed),
        T(so_does_sqlites_own_vfs_in_this_process),
        T(a_store_does_not_open_what_another_process_has_open),
        T(all_is_there_after_a_kill),
        T(who_waits_goes_on_when_the_holder_is_killed),
        T(who_waits_goes_on_when_the_holder_closes),
    };
    return cmocka_run_group_tests_name("shm-others", tests, NULL, NULL);
}
