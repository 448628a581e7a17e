/* SPDX-License-Identifier: MIT */
/*
 * sql.h - one SQLite connection and its prepared statements.
 *
 * A connection is used by one thread at a time. A statement is prepared at its first use and kept.
 * Errors are sticky within a transaction: the first one is kept in `error`, later calls do nothing,
 * and whoever ends the transaction finds it there. So the rules in apply.c read as rules.
 */
#ifndef RAFTFS_STORE_SQL_H
#define RAFTFS_STORE_SQL_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A reader that meets the write-ahead log's header half written takes the writer's lock for a
 * moment to look again, and whoever begins then finds the store busy: SQLite's own affair, to be
 * waited for. The store's own transaction, which may stay open, is out of the way of checkpoints by
 * the store's writer_lock.
 */
enum { SQL_BUSY_MS = 10000 };

/* Every statement that the store uses, its text and its parameters in sql.c. */
enum sql_statement {
    SQL_BEGIN,
    SQL_BEGIN_WRITE,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_STATE_GET,
    SQL_STATE_PUT,
    SQL_PROGRESS_PUT,
    SQL_PROGRESS_DELETE,
    SQL_SESSION_LIST,
    SQL_RESULT_LIST,
    SQL_CONFIG_GET,
    SQL_CONFIG_PUT,
    SQL_CONFIG_DELETE,
    SQL_INODE_GET,
    SQL_INODE_ADD,
    SQL_INODE_UPDATE,
    SQL_INODE_UPDATE_HEAD,
    SQL_INODE_DELETE,
    SQL_INODE_LIST,
    SQL_DENTRY_GET,
    SQL_DENTRY_PUT,
    SQL_DENTRY_DELETE,
    SQL_DENTRY_ANY,
    SQL_DENTRY_LIST,
    SQL_LOOKUP,
    SQL_BODY_GET,
    SQL_BODY_LIST,
    SQL_BODY_PUT,
    SQL_BODY_HASHES,
    SQL_BODY_DELETE,
    SQL_GARBAGE_ANY,
    SQL_GARBAGE_AT,
    SQL_GARBAGE_PUT,
    SQL_GARBAGE_DELETE,
    SQL_GARBAGE_DELETE_FROM,
    SQL_GARBAGE_ROWS,
    SQL_GARBAGE_FREE,
    SQL_STATEMENTS
};

struct sql {
    sqlite3 *db;
    sqlite3_stmt *statements[SQL_STATEMENTS];
    int error; /* negative errno of the first failure since sql_begin() */
};

/* Opens through the checksumming VFS; `flags` as for sqlite3_open_v2(). 0 or a negative errno. */
int sql_open(struct sql *sql, const char *path, int flags);
void sql_close(struct sql *sql);

/* The database as it is without its write-ahead log, which nobody may write to meanwhile. */
int sql_open_alone(struct sql *sql, const char *path);

/* Runs text without results, as for a pragma. 0 or a negative errno; not sticky. */
int sql_exec(struct sql *sql, const char *text);

/* A read or a write transaction. sql_end() commits, or rolls back if `error` is set; returns it. */
void sql_begin(struct sql *sql, bool write);
bool sql_begin_at_once(struct sql *sql); /* to write; false: somebody else does, and nothing is */
int sql_end(struct sql *sql);

/*
 * Runs one statement: get it, bind parameters (from 1), sql_step() while it gives rows, and
 * sql_done(). Binding is by reference: what is bound must live until sql_done().
 */
sqlite3_stmt *sql_get(struct sql *sql, enum sql_statement which);
void sql_bind_u64(struct sql *sql, sqlite3_stmt *s, int at, uint64_t v);
void sql_bind_blob(struct sql *sql, sqlite3_stmt *s, int at, const void *data, size_t bytes);
bool sql_step(struct sql *sql, sqlite3_stmt *s);
void sql_done(sqlite3_stmt *s);

/* A statement without rows: step and done. */
void sql_run(struct sql *sql, sqlite3_stmt *s);

/* Columns are counted from 0. */
uint64_t sql_u64(sqlite3_stmt *s, int column);

/*
 * A result code as a negative errno: -ENOSPC, -EUCLEAN (corrupt), -EBUSY (another process has the
 * database open), -EIO.
 */
int sql_errno(int rc);

#endif
