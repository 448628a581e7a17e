/* SPDX-License-Identifier: MIT */
/*
 * The store is made beside its place, as DIR/store.db.restoring, and gets its name once it is whole
 * and synced. Sessions go, or the new cluster would keep those of nodes that it never had; their
 * numbers stay used up, because the inodes that they made bear them.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "store/install.h"
#include "store/schema.h"
#include "store/session.h"
#include "store/snapshot_dir.h"
#include "store/vfs.h"

static int copy(struct sql *to, const char *path)
{
    struct sql from;
    int status = sql_open(&from, path, SQLITE_OPEN_READONLY);
    if (status < 0)
        return status;
    sqlite3_backup *backup = sqlite3_backup_init(to->db, "main", from.db, "main");
    int rc = backup ? sqlite3_backup_step(backup, -1) : sqlite3_extended_errcode(to->db);
    int end = sqlite3_backup_finish(backup);
    sql_close(&from);
    if (rc != SQLITE_DONE)
        return sql_errno(rc);
    return end == SQLITE_OK ? 0 : sql_errno(end);
}

/* The copy without a journal: nothing reads it before it is whole. */
static int make(const char *made, const char *path)
{
    struct sql to;
    int status = sql_open(&to, made, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    if (status < 0)
        return status;
    status = sql_exec(&to, "PRAGMA journal_mode=OFF");
    if (status == 0)
        status = copy(&to, path);
    sql_close(&to);
    return status;
}

/* Its transactions sync the whole file. */
static int adopt(const char *made, uint64_t incarnation)
{
    struct session_table sessions = {0};
    struct sql sql;
    struct txn t = {.sql = &sql, .sessions = &sessions};
    int status = sql_open(&sql, made, SQLITE_OPEN_READWRITE);
    if (status < 0)
        return status;
    status =
        sql_exec(&sql, "PRAGMA journal_mode=DELETE"); /* no write-ahead log is left beside it */
    if (status == 0)
        status = schema_claim(&sql, incarnation);
    if (status == 0) {
        sql_begin(&sql, true);
        tree_load_state(&sql, &t.state);
        session_table_begin(&sessions, &sql);
        session_end_all(&t);
        sql_run(&sql, sql_get(&sql, SQL_CONFIG_DELETE));
        tree_save_state(&t);
        status = sql_end(&sql);
    }
    session_table_free(&sessions);
    sql_close(&sql);
    return status;
}

static int put_in_place(const char *made, const char *dir, const char *final)
{
    return rename(made, final) < 0 ? -errno : file_sync_dir(dir);
}

static const char *advice(int status)
{
    if (status == -EUCLEAN)
        return "; it is damaged, or no snapshot: take another one";
    return status == -EPROTO ? "; its format is of another version of raftfs: use that one" : "";
}

int store_restore(const char *path, const char *dir, uint64_t incarnation,
                  char why[STORE_WHY_BYTES])
{
    char made[SNAPSHOT_PATH_BYTES], final[SNAPSHOT_PATH_BYTES];
    struct snapshot found;
    snapshot_path(made, dir, "store.db.restoring");
    snapshot_path(final, dir, "store.db");
    if (access(final, F_OK) == 0) {
        snprintf(why, STORE_WHY_BYTES, "%s is there already; restore into an empty directory",
                 final);
        return -EEXIST;
    }
    int status = vfs_register();
    if (status == 0)
        status = snapshot_look(path, &found);
    if (status == 0 && unlink(made) < 0 && errno != ENOENT)
        status = -errno;
    if (status == 0)
        status = make(made, path);
    if (status == 0)
        status = adopt(made, incarnation);
    if (status == 0)
        status = put_in_place(made, dir, final);
    if (status < 0) {
        snprintf(why, STORE_WHY_BYTES, "%s cannot be restored into %s: %s%s", path, dir,
                 strerror(-status), advice(status));
        unlink(made);
    }
    return status;
}
