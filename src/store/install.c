/* SPDX-License-Identifier: MIT */
/*
 * The snapshot is copied over the database page by page, through the writer's connection, in one
 * transaction of SQLite. So it is atomic and readers go on, whatever happens; and it is durable
 * once a checkpoint has moved it from the write-ahead log into the database. It then bears no data
 * directory's incarnation yet. That is set by a transaction of its own; should the process end
 * between the two, whoever opens the store next does it (schema_check). A snapshot of an older
 * format is brought to this one by that, too; from before it shows until then queries wait.
 *
 * Files that are open here and that the new state lacks are looked for twice: before the new state
 * shows, so that no reader finds them gone, and after it, for those opened meanwhile. Both times
 * they are read from the old state, which a reader keeps in sight.
 */
#include "store/install.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/report.h"
#include "store/apply.h"
#include "store/internal.h"
#include "store/pace.h"
#include "store/schema.h"
#include "store/snapshot_dir.h"
#include "store/vfs.h"

enum { PIECE_PAGES = PACE_PIECE_BYTES / VFS_PAGE_BYTES };

struct install {
    struct store *store;
    struct sql from;          /* the snapshot */
    struct sql old;           /* the store as it was, in a read transaction */
    struct store_state state; /* the snapshot's */
    uint64_t format;
    sqlite3_backup *backup;
};

/* ---- Files that are open here and go ---- */

typedef void gone_fn(struct install *in, uint64_t ino);

static void keep(struct install *in, uint64_t ino)
{
    struct store *s = in->store;
    struct store_attr attr;
    struct inode inode;
    struct txn t = {.sql = &in->old, .orphans = s->orphans, .stamp = (int64_t)in->state.last_stamp};
    if (s->options.is_open(s->options.ctx, ino) && !orphans_getattr(s->orphans, ino, &attr) &&
        tree_get(&t, ino, &inode))
        apply_keep_orphan(&t, &inode);
}

static void let_go(struct install *in, uint64_t ino)
{
    orphans_release(in->store->orphans, ino);
}

/*
 * Both tables in order of inode numbers: calls `gone` for what only the old state has. An old state
 * that is damaged ends the search and is no error: it is about to be replaced.
 */
static int each_gone(struct install *in, gone_fn *gone)
{
    sqlite3_stmt *old = sql_get(&in->old, SQL_INODE_LIST);
    sqlite3_stmt *new = sql_get(&in->from, SQL_INODE_LIST);
    bool more = sql_step(&in->from, new);
    while (sql_step(&in->old, old)) {
        uint64_t ino = sql_u64(old, 0);
        while (more && sql_u64(new, 0) < ino)
            more = sql_step(&in->from, new);
        if (in->from.error == 0 && !(more && sql_u64(new, 0) == ino))
            gone(in, ino);
    }
    sql_done(old);
    sql_done(new);
    return in->from.error;
}

/* ---- Copying ---- */

/* Syncs what the piece added to the write-ahead log, then leaves the disk to others. */
static int rest(struct install *in, uint64_t since_us)
{
    sqlite3_file *wal = NULL;
    sqlite3_file_control(in->store->writer.db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal);
    if (wal && wal->pMethods &&
        wal->pMethods->xSync(wal, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY) != SQLITE_OK)
        return -EIO;
    pace_rest(since_us);
    return 0;
}

/* All but the last page, so that nothing shows yet. */
static int copy_most(struct install *in)
{
    int rc = sqlite3_backup_step(in->backup, 1);
    while (rc == SQLITE_OK) {
        uint64_t since_us = clock_mono_us();
        int left = sqlite3_backup_remaining(in->backup) - 1;
        if (left <= 0)
            return 0;
        rc = sqlite3_backup_step(in->backup, left < PIECE_PAGES ? left : PIECE_PAGES);
        int status = rc == SQLITE_OK ? rest(in, since_us) : 0;
        if (status < 0)
            return status;
    }
    return rc == SQLITE_DONE ? -EUCLEAN : sql_errno(rc);
}

/* One transaction of the writer's. */
static int copy(struct install *in)
{
    sqlite3 *to = in->store->writer.db;
    in->backup = sqlite3_backup_init(to, "main", in->from.db, "main");
    if (!in->backup)
        return sql_errno(sqlite3_extended_errcode(to));
    vfs_set_blind(to, true);
    int status = copy_most(in);
    if (status == 0)
        status = each_gone(in, keep);
    if (in->format != SCHEMA_FORMAT)
        readers_hold(in->store->readers);
    int rc = status == 0 ? sqlite3_backup_step(in->backup, -1) : SQLITE_OK;
    vfs_set_blind(to, false);
    int end = sqlite3_backup_finish(in->backup);
    if (status == 0 && rc != SQLITE_DONE)
        status = sql_errno(rc);
    if (status == 0 && end != SQLITE_OK)
        status = sql_errno(end);
    if (status < 0)
        each_gone(in, let_go);
    return status;
}

/* ---- The whole ---- */

static int open_both(struct install *in, const char *path)
{
    struct snapshot found;
    int status = snapshot_look(path, &found);
    if (status == 0)
        status = sql_open(&in->from, path, SQLITE_OPEN_READONLY);
    if (status == 0)
        status = sql_open(&in->old, in->store->path, SQLITE_OPEN_READONLY);
    if (status < 0)
        return status;
    struct store_state state;
    struct schema_meta meta;
    sql_begin(&in->from, false);
    status = schema_read_meta(&in->from, &meta);
    in->format = meta.format;
    tree_load_state(&in->from, &in->state);
    sql_begin(&in->old, false);
    tree_load_state(&in->old, &state); /* the state is fixed by reading */
    return status ? status : in->from.error;
}

static void close_both(struct install *in)
{
    if (in->from.db) {
        sql_end(&in->from);
        sql_close(&in->from);
    }
    if (in->old.db) {
        sql_end(&in->old);
        sql_close(&in->old);
    }
}

/* Leaves the new state in sight of queries. */
static int replace(struct install *in, const char *path)
{
    struct store *s = in->store;
    int status = open_both(in, path);
    if (status == 0 && in->state.applied_index > s->published.applied_index) {
        status = copy(in);
        session_table_drop(&s->sessions);
        if (status == 0) {
            s->garbage = true; /* maybe */
            batch_saved(s, &in->state);
            store_publish(s, &in->state);
            each_gone(in, keep);
        }
    }
    close_both(in);
    return status;
}

int store_install(struct store *s, const char *path, uint64_t *index, uint64_t *term)
{
    struct install in = {.store = s};
    store_begin_installing(s);
    pthread_mutex_lock(&s->writer_lock);
    (void)batch_save_locked(s); /* what cannot be saved is part of the new state */
    cache_end_epoch(s->cache);
    int status = replace(&in, path);
    cache_forget(s->cache);
    cache_begin_epoch(s->cache, NULL, 0);
    if (status == 0)
        status = schema_claim(&s->writer, s->options.incarnation);
    readers_let_go(s->readers);
    if (status == 0)
        status = checkpoint_all(s->checkpoint);
    pthread_mutex_unlock(&s->writer_lock);
    store_end_installing(s);
    orphans_settle(s->orphans, s->options.is_open, s->options.ctx);
    if (status < 0) {
        report_error("%s cannot be installed: %s", path, strerror(-status));
        return status;
    }
    *index = s->saved.applied_index;
    *term = s->saved.applied_term;
    return 0;
}
