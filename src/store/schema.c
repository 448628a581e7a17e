/* SPDX-License-Identifier: MIT */
#include "store/schema.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/vfs.h"

#define GARBAGE_PARTS                                                                            \
    "CREATE TABLE garbage(ino INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,"  \
    " PRIMARY KEY(ino, first)) WITHOUT ROWID;"                                                   \
    "CREATE VIEW content AS SELECT ino, n, hash, data, n > ifnull((SELECT g.last FROM garbage g" \
    " WHERE g.ino = body.ino AND g.first <= body.n ORDER BY g.first DESC LIMIT 1), -1) AS live"  \
    " FROM body;"                                                                                \
    "CREATE VIEW chunk AS SELECT ino, 0 AS n, head AS data FROM inode WHERE length(head) > 0"    \
    " UNION ALL SELECT ino, n, data FROM content WHERE live;"

/*
 * A row of `progress` with slot 0 is the state; with b = 0 a session, whose id is in a; otherwise a
 * result of session a with number b. One of a session that is gone, or below its mark, is left
 * over.
 */
static const char tables[] =
    "CREATE TABLE meta(id INTEGER PRIMARY KEY CHECK(id=1), format INTEGER NOT NULL,"
    " incarnation INTEGER NOT NULL);"
    "CREATE TABLE progress(slot INTEGER PRIMARY KEY, a INTEGER, b INTEGER, c INTEGER, d INTEGER,"
    " e INTEGER, f INTEGER, g INTEGER, h INTEGER, i INTEGER);"
    "CREATE TABLE config(id INTEGER PRIMARY KEY CHECK(id=1), log_index INTEGER NOT NULL,"
    " data BLOB NOT NULL);"
    "CREATE TABLE inode(ino INTEGER PRIMARY KEY, mode INTEGER NOT NULL, uid INTEGER NOT NULL,"
    " gid INTEGER NOT NULL, nlink INTEGER NOT NULL, size INTEGER NOT NULL,"
    " atime INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL,"
    " version INTEGER NOT NULL, dotdot INTEGER NOT NULL, head BLOB NOT NULL);"
    "CREATE TABLE dentry(parent INTEGER NOT NULL, name BLOB NOT NULL, ino INTEGER NOT NULL,"
    " cookie INTEGER NOT NULL, PRIMARY KEY(parent, name)) WITHOUT ROWID;"
    "CREATE UNIQUE INDEX dentry_order ON dentry(parent, cookie, ino);"
    "CREATE TABLE body(ino INTEGER NOT NULL, n INTEGER NOT NULL, hash INTEGER NOT NULL,"
    " data BLOB NOT NULL, PRIMARY KEY(ino, n)) WITHOUT ROWID;"
    "CREATE VIEW state AS SELECT a AS applied_index, b AS applied_term, c AS last_stamp,"
    " d AS next_cookie, e AS next_session, f AS keys, g AS bytes, h AS inodes, i AS fingerprint"
    " FROM progress WHERE slot = 0;"
    "CREATE VIEW session AS SELECT a AS id, max(CASE b WHEN 0 THEN d END) AS incarnation,"
    " max(CASE b WHEN 0 THEN e END) AS boot, max(c) AS lowest,"
    " max(CASE b WHEN 0 THEN slot END) AS slot"
    " FROM progress WHERE slot > 0 GROUP BY a HAVING min(b) = 0;"
    "CREATE VIEW result AS SELECT p.a AS session, p.b AS seq, p.d AS status, p.e AS ino,"
    " p.f AS data_offset, p.slot AS slot FROM progress p JOIN session s ON s.id = p.a"
    " WHERE p.slot > 0 AND p.b > 0 AND p.b >= s.lowest;" GARBAGE_PARTS
    "INSERT INTO progress VALUES(0, 0, 0, 0, 1, 1, 0, 0, 0, 0);";

/* From format 2, whose view knew nothing of garbage. */
static const char upgrade[] = "DROP VIEW chunk;" GARBAGE_PARTS;

/* In one transaction. */
static int run_both(struct sql *sql, const char *first, const char *second)
{
    int rc = sql_exec(sql, "BEGIN IMMEDIATE");
    if (rc == 0)
        rc = sql_exec(sql, first);
    if (rc == 0)
        rc = sql_exec(sql, second);
    if (rc == 0)
        rc = sql_exec(sql, "COMMIT");
    if (rc && !sqlite3_get_autocommit(sql->db))
        sql_exec(sql, "ROLLBACK");
    return rc;
}

int schema_create(struct sql *sql, uint64_t incarnation)
{
    int reserved = VFS_RESERVED_BYTES;
    sqlite3_file_control(sql->db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
    char meta[128];
    snprintf(meta, sizeof(meta), "INSERT INTO meta VALUES(1, %d, %lld)", SCHEMA_FORMAT,
             (long long)incarnation);
    int rc = sql_exec(sql, "PRAGMA page_size=4096");
    return rc ? rc : run_both(sql, tables, meta);
}

int schema_claim(struct sql *sql, uint64_t incarnation)
{
    char text[256];
    struct schema_meta meta;
    int status = schema_read_meta(sql, &meta);
    if (status < 0)
        return status;
    snprintf(text, sizeof(text),
             "DROP TABLE IF EXISTS snapshot; UPDATE meta SET incarnation=%lld, format=%d",
             (long long)incarnation, SCHEMA_FORMAT);
    return run_both(sql, text, meta.format < SCHEMA_FORMAT ? upgrade : "");
}

int schema_make_snapshot(struct sql *sql, uint64_t id)
{
    char row[256];
    snprintf(row, sizeof(row),
             "CREATE TABLE snapshot(id INTEGER NOT NULL); INSERT INTO snapshot VALUES(%lld)",
             (long long)id);
    return run_both(sql, "UPDATE meta SET incarnation=0; DROP TABLE IF EXISTS snapshot", row);
}

/* The numbers of the first row: 0, or SQLite's result code. */
static int read_row(struct sql *sql, const char *text, uint64_t *numbers, int count)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(sql->db, text, -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    for (int i = 0; rc == SQLITE_ROW && i < count; i++)
        numbers[i] = sql_u64(s, i);
    sqlite3_finalize(s);
    return rc == SQLITE_ROW ? 0 : rc;
}

int schema_read_meta(struct sql *sql, struct schema_meta *meta)
{
    uint64_t numbers[2];
    *meta = (struct schema_meta){0};
    int rc = read_row(sql, "SELECT format, incarnation FROM meta", numbers, 2);
    if (rc)
        return (rc & 0xff) == SQLITE_ERROR || rc == SQLITE_DONE ? -EUCLEAN : sql_errno(rc);
    meta->format = numbers[0];
    meta->incarnation = numbers[1];
    /* Only a snapshot has the table: that there is none is no error. */
    rc = read_row(sql, "SELECT id FROM snapshot", &meta->snapshot_id, 1);
    return rc == 0 || (rc & 0xff) == SQLITE_ERROR || rc == SQLITE_DONE ? 0 : sql_errno(rc);
}

bool schema_is_known(uint64_t format)
{
    return format >= SCHEMA_OLDEST_FORMAT && format <= SCHEMA_FORMAT;
}

int schema_check(struct sql *sql, const char *path, uint64_t incarnation, char why[STORE_WHY_BYTES])
{
    struct schema_meta meta;
    int status = schema_read_meta(sql, &meta);
    if (status == -EBUSY) {
        snprintf(why, STORE_WHY_BYTES,
                 "%s is open in another process, such as sqlite3: end that one first", path);
        return status;
    }
    if (status < 0) {
        snprintf(why, STORE_WHY_BYTES, "%s cannot be read as a store of raftfs (%s)", path,
                 strerror(-status));
        return status;
    }
    if (!schema_is_known(meta.format)) {
        snprintf(why, STORE_WHY_BYTES,
                 "%s has format %llu and this program knows format %d; run the %s raftfs", path,
                 (unsigned long long)meta.format, SCHEMA_FORMAT,
                 meta.format > SCHEMA_FORMAT ? "newer" : "older");
        return -EPROTO;
    }
    if (meta.incarnation != incarnation && meta.incarnation != 0) {
        snprintf(why, STORE_WHY_BYTES,
                 "%s belongs to another data directory (incarnation %016llx, not %016llx); put the "
                 "right file back",
                 path, (unsigned long long)meta.incarnation, (unsigned long long)incarnation);
        return -ESTALE;
    }
    bool ready = meta.incarnation && meta.format == SCHEMA_FORMAT;
    status = ready ? 0 : schema_claim(sql, incarnation);
    if (status < 0)
        snprintf(why, STORE_WHY_BYTES, "%s cannot be written: %s; check this node's disk", path,
                 strerror(-status));
    return status;
}
