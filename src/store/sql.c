/* SPDX-License-Identifier: MIT */
/*
 * Numbers are unsigned 64 bits everywhere and are stored as SQLite's signed ones with the same
 * bits. They are only ever compared for equality or known to be below 2^63 (inode numbers, indexes,
 * sequence numbers, cookies).
 */
#include "store/sql.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/report.h"
#include "store/vfs.h"

#define INODE_COLUMNS "mode, uid, gid, nlink, size, atime, mtime, ctime, version, dotdot"
#define INODE_SETS                                                                            \
    "mode=?2, uid=?3, gid=?4, nlink=?5, size=?6, atime=?7, mtime=?8, ctime=?9, version=?10, " \
    "dotdot=?11"

static const char *const texts[SQL_STATEMENTS] = {
    [SQL_BEGIN] = "BEGIN",
    [SQL_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",

    [SQL_STATE_GET] = "SELECT a, b, c, d, e, f, g, h, i FROM progress WHERE slot=0",
    [SQL_STATE_PUT] = "UPDATE progress SET a=?1, b=?2, c=?3, d=?4, e=?5, f=?6, g=?7, h=?8, i=?9 "
                      "WHERE slot=0",
    [SQL_PROGRESS_PUT] =
        "REPLACE INTO progress(slot, a, b, c, d, e, f) VALUES(?1,?2,?3,?4,?5,?6,?7)",
    [SQL_PROGRESS_DELETE] = "DELETE FROM progress WHERE slot=?1",
    [SQL_SESSION_LIST] = "SELECT id, incarnation, boot, lowest, slot FROM session",
    [SQL_RESULT_LIST] = "SELECT session, seq, status, ino, data_offset, slot FROM result",

    [SQL_CONFIG_GET] = "SELECT log_index, data FROM config",
    [SQL_CONFIG_PUT] = "REPLACE INTO config(id, log_index, data) VALUES(1, ?1, ?2)",
    [SQL_CONFIG_DELETE] = "DELETE FROM config",

    [SQL_INODE_GET] = "SELECT " INODE_COLUMNS ", head FROM inode WHERE ino=?1",
    [SQL_INODE_ADD] = "INSERT INTO inode(ino, " INODE_COLUMNS ", head) "
                      "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)",
    [SQL_INODE_UPDATE] = "UPDATE inode SET " INODE_SETS " WHERE ino=?1",
    [SQL_INODE_UPDATE_HEAD] = "UPDATE inode SET " INODE_SETS ", head=?12 WHERE ino=?1",
    [SQL_INODE_DELETE] = "DELETE FROM inode WHERE ino=?1",
    [SQL_INODE_LIST] = "SELECT ino FROM inode ORDER BY ino",

    [SQL_DENTRY_GET] = "SELECT ino, cookie FROM dentry WHERE parent=?1 AND name=?2",
    [SQL_DENTRY_PUT] = "INSERT INTO dentry(parent, name, ino, cookie) VALUES(?1,?2,?3,?4)",
    [SQL_DENTRY_DELETE] = "DELETE FROM dentry WHERE parent=?1 AND name=?2",
    [SQL_DENTRY_ANY] = "SELECT 1 FROM dentry WHERE parent=?1 LIMIT 1",
    [SQL_DENTRY_LIST] = "SELECT d.name, d.cookie, d.ino, " INODE_COLUMNS
                        " FROM dentry d INDEXED BY dentry_order JOIN inode i ON i.ino = d.ino "
                        "WHERE d.parent=?1 AND d.cookie>?2 ORDER BY d.cookie",
    [SQL_LOOKUP] = "SELECT i.ino, " INODE_COLUMNS " FROM dentry d JOIN inode i ON i.ino = d.ino "
                   "WHERE d.parent=?1 AND d.name=?2",

    [SQL_BODY_GET] = "SELECT hash, data FROM content WHERE ino=?1 AND n=?2 AND live",
    [SQL_BODY_LIST] = "SELECT n, data FROM content WHERE ino=?1 AND n BETWEEN ?2 AND ?3 AND live",
    [SQL_BODY_PUT] = "REPLACE INTO body(ino, n, hash, data) VALUES(?1,?2,?3,?4)",
    /* To compare a row with where a range ends, SQLite would read all of it: the caller does. */
    [SQL_BODY_HASHES] = "SELECT ino, n, live, hash FROM content WHERE (ino, n) >= (?1, ?2) "
                        "ORDER BY ino, n",
    [SQL_BODY_DELETE] = "DELETE FROM body WHERE ino=?1 AND n=?2",

    [SQL_GARBAGE_ANY] = "SELECT ino, first, last FROM garbage LIMIT 1",
    [SQL_GARBAGE_AT] = "SELECT ino, first, last FROM garbage WHERE ino=?1 AND first<=?2 "
                       "ORDER BY first DESC LIMIT 1",
    [SQL_GARBAGE_PUT] = "INSERT INTO garbage(ino, first, last) VALUES(?1,?2,?3)",
    [SQL_GARBAGE_DELETE] = "DELETE FROM garbage WHERE ino=?1 AND first=?2",
    [SQL_GARBAGE_DELETE_FROM] = "DELETE FROM garbage WHERE ino=?1 AND first>=?2",
    [SQL_GARBAGE_ROWS] = "SELECT ino, n FROM body WHERE (ino, n) >= (?1, ?2) ORDER BY ino, n",
    [SQL_GARBAGE_FREE] = "DELETE FROM body WHERE ino=?1 AND n BETWEEN ?2 AND ?3",
};

int sql_errno(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return -EUCLEAN;
    case SQLITE_NOMEM:
        report_fatal("out of memory in the store; give this node more, or fewer neighbours");
    default:
        if (rc == SQLITE_IOERR_SHMLOCK)
            return -EBUSY;
        return rc == SQLITE_IOERR_DATA ? -EUCLEAN : -EIO;
    }
}

static void fail(struct sql *sql, int rc)
{
    if (sql->error == 0)
        sql->error = sql_errno(sqlite3_extended_errcode(sql->db));
    if (sql->error == -EIO)
        report_error("store: %s (%s)", sqlite3_errmsg(sql->db), sqlite3_errstr(rc));
}

int sql_open(struct sql *sql, const char *path, int flags)
{
    *sql = (struct sql){0};
    int rc = sqlite3_open_v2(path, &sql->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                             VFS_NAME);
    if (rc == SQLITE_OK) {
        sqlite3_busy_timeout(sql->db, SQL_BUSY_MS);
        return 0;
    }
    int error = rc == SQLITE_CANTOPEN ? -ENOENT : sql_errno(rc);
    sqlite3_close(sql->db);
    sql->db = NULL;
    return error;
}

int sql_open_alone(struct sql *sql, const char *path)
{
    char *uri = sqlite3_mprintf("file:%s?immutable=1", path);
    int error = strpbrk(path, "?#%") ? -EINVAL /* would have to be written otherwise in a URI */
                                     : sql_open(sql, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI);
    sqlite3_free(uri);
    return error;
}

void sql_close(struct sql *sql)
{
    for (int i = 0; i < SQL_STATEMENTS; i++)
        sqlite3_finalize(sql->statements[i]);
    int rc = sqlite3_close(sql->db);
    assert(rc == SQLITE_OK);
    *sql = (struct sql){0};
}

int sql_exec(struct sql *sql, const char *text)
{
    int rc = sqlite3_exec(sql->db, text, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : sql_errno(rc);
}

void sql_begin(struct sql *sql, bool write)
{
    sql->error = 0;
    sql_run(sql, sql_get(sql, write ? SQL_BEGIN_WRITE : SQL_BEGIN));
}

bool sql_begin_at_once(struct sql *sql)
{
    sql->error = 0;
    sqlite3_stmt *s = sql_get(sql, SQL_BEGIN_WRITE);
    sqlite3_busy_timeout(sql->db, 0);
    bool begun = sql->error == 0 && sqlite3_step(s) == SQLITE_DONE;
    sqlite3_busy_timeout(sql->db, SQL_BUSY_MS);
    sql_done(s);
    sql->error = 0;
    return begun;
}

int sql_end(struct sql *sql)
{
    if (sql->error == 0)
        sql_run(sql, sql_get(sql, SQL_COMMIT));
    int error = sql->error;
    if (error && !sqlite3_get_autocommit(sql->db)) {
        sql->error = 0;
        sql_run(sql, sql_get(sql, SQL_ROLLBACK));
    }
    sql->error = 0;
    return error;
}

sqlite3_stmt *sql_get(struct sql *sql, enum sql_statement which)
{
    if (!sql->statements[which] && sql->error == 0) {
        int rc = sqlite3_prepare_v3(sql->db, texts[which], -1, SQLITE_PREPARE_PERSISTENT,
                                    &sql->statements[which], NULL);
        if (rc != SQLITE_OK)
            fail(sql, rc);
    }
    return sql->statements[which];
}

void sql_bind_u64(struct sql *sql, sqlite3_stmt *s, int at, uint64_t v)
{
    if (sql->error)
        return;
    int rc = sqlite3_bind_int64(s, at, (sqlite3_int64)v);
    assert(rc == SQLITE_OK);
}

void sql_bind_blob(struct sql *sql, sqlite3_stmt *s, int at, const void *data, size_t bytes)
{
    if (sql->error)
        return;
    /* A NULL pointer would bind NULL, which is not the empty blob. */
    int rc = sqlite3_bind_blob64(s, at, bytes ? data : "", bytes, SQLITE_STATIC);
    assert(rc == SQLITE_OK);
}

bool sql_step(struct sql *sql, sqlite3_stmt *s)
{
    if (sql->error)
        return false;
    int rc = sqlite3_step(s);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        fail(sql, rc);
    return rc == SQLITE_ROW;
}

void sql_done(sqlite3_stmt *s)
{
    if (s)
        sqlite3_reset(s);
}

void sql_run(struct sql *sql, sqlite3_stmt *s)
{
    bool row = sql_step(sql, s);
    assert(!row);
    sql_done(s);
}

uint64_t sql_u64(sqlite3_stmt *s, int column)
{
    return (uint64_t)sqlite3_column_int64(s, column);
}
