/* SPDX-License-Identifier: MIT */
#include "store/schema.h"

#include <errno.h>
#include <stdio.h>

#include "store/vfs.h"

static const char tables[] =
    "CREATE TABLE meta(id INTEGER PRIMARY KEY CHECK(id=1), format INTEGER NOT NULL,"
    " incarnation INTEGER NOT NULL);"
    "CREATE TABLE state(id INTEGER PRIMARY KEY CHECK(id=1), applied_index INTEGER NOT NULL,"
    " applied_term INTEGER NOT NULL, last_stamp INTEGER NOT NULL, next_cookie INTEGER NOT NULL,"
    " next_session INTEGER NOT NULL, keys INTEGER NOT NULL, bytes INTEGER NOT NULL,"
    " inodes INTEGER NOT NULL, fingerprint INTEGER NOT NULL);"
    "CREATE TABLE config(id INTEGER PRIMARY KEY CHECK(id=1), log_index INTEGER NOT NULL,"
    " data BLOB NOT NULL);"
    "CREATE TABLE inode(ino INTEGER PRIMARY KEY, mode INTEGER NOT NULL, uid INTEGER NOT NULL,"
    " gid INTEGER NOT NULL, nlink INTEGER NOT NULL, size INTEGER NOT NULL,"
    " atime INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL,"
    " version INTEGER NOT NULL, dotdot INTEGER NOT NULL);"
    "CREATE TABLE dentry(parent INTEGER NOT NULL, name BLOB NOT NULL, ino INTEGER NOT NULL,"
    " cookie INTEGER NOT NULL, PRIMARY KEY(parent, name)) WITHOUT ROWID;"
    "CREATE UNIQUE INDEX dentry_order ON dentry(parent, cookie, ino);"
    "CREATE TABLE chunk(ino INTEGER NOT NULL, n INTEGER NOT NULL, hash INTEGER NOT NULL,"
    " data BLOB NOT NULL, PRIMARY KEY(ino, n)) WITHOUT ROWID;"
    "CREATE TABLE session(id INTEGER PRIMARY KEY, incarnation INTEGER NOT NULL,"
    " boot INTEGER NOT NULL, lowest INTEGER NOT NULL);"
    "CREATE INDEX session_owner ON session(incarnation);"
    "CREATE TABLE result(session INTEGER NOT NULL, seq INTEGER NOT NULL,"
    " status INTEGER NOT NULL, ino INTEGER NOT NULL, data_offset INTEGER NOT NULL,"
    " PRIMARY KEY(session, seq)) WITHOUT ROWID;"
    "INSERT INTO state VALUES(1, 0, 0, 0, 1, 1, 0, 0, 0, 0);";

int schema_create(struct sql *sql, uint64_t incarnation)
{
    int reserved = VFS_RESERVED_BYTES;
    sqlite3_file_control(sql->db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
    char meta[128];
    snprintf(meta, sizeof(meta), "INSERT INTO meta VALUES(1, %d, %lld)", SCHEMA_FORMAT,
             (long long)incarnation);
    int rc = sql_exec(sql, "PRAGMA page_size=4096");
    if (rc == 0)
        rc = sql_exec(sql, "BEGIN IMMEDIATE");
    if (rc == 0)
        rc = sql_exec(sql, tables);
    if (rc == 0)
        rc = sql_exec(sql, meta);
    return rc ? rc : sql_exec(sql, "COMMIT");
}

int schema_check(struct sql *sql, const char *path, uint64_t incarnation, char why[STORE_WHY_BYTES])
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(sql->db, "SELECT format, incarnation FROM meta", -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    uint64_t format = rc == SQLITE_ROW ? sql_u64(s, 0) : 0;
    uint64_t found = rc == SQLITE_ROW ? sql_u64(s, 1) : 0;
    sqlite3_finalize(s);
    if (rc != SQLITE_ROW) {
        snprintf(why, STORE_WHY_BYTES,
                 "%s cannot be read as a store of raftfs (%s); restore the data directory, or move "
                 "it away and let this node join again",
                 path, sqlite3_errstr(rc));
        int error = sql_errno(rc);
        return error == -EIO && (rc & 0xff) == SQLITE_ERROR ? -EUCLEAN : error;
    }
    if (format != SCHEMA_FORMAT) {
        snprintf(why, STORE_WHY_BYTES,
                 "%s has format %llu and this program knows format %d; run the newer raftfs", path,
                 (unsigned long long)format, SCHEMA_FORMAT);
        return -EPROTO;
    }
    if (found != incarnation) {
        snprintf(why, STORE_WHY_BYTES,
                 "%s belongs to another data directory (incarnation %016llx, not %016llx); put the "
                 "right file back",
                 path, (unsigned long long)found, (unsigned long long)incarnation);
        return -ESTALE;
    }
    return 0;
}
