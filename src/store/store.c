/* SPDX-License-Identifier: MIT */
/* Opening and closing the store, and how it stands. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "store/internal.h"
#include "store/schema.h"
#include "store/vfs.h"

/* ---- Open and close ---- */

static int count_wal_pages(void *ctx, sqlite3 *db, const char *name, int pages)
{
    (void)db;
    (void)name;
    ((struct store *)ctx)->wal_pages = pages;
    return SQLITE_OK;
}

/* The new tree: a root directory, the same on every replica. Its owner comes with the first
 * session. */
static int make_root(struct store *s)
{
    struct txn t = {.sql = &s->writer};
    sql_begin(&s->writer, true);
    tree_load_state(&s->writer, &t.state);
    struct inode root = {.attr = {.ino = STORE_ROOT_INO, .mode = S_IFDIR | 0755, .nlink = 2},
                         .dotdot = STORE_ROOT_INO};
    tree_add(&t, &root);
    tree_save_state(&t);
    return sql_end(&s->writer);
}

static int set_modes(struct store *s)
{
    static const char *const pragmas[] = {
        "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=NORMAL",
        "PRAGMA wal_autocheckpoint=0",
        "PRAGMA cache_size=-8192",            /* KiB */
        "PRAGMA secure_delete=OFF",           /* what is freed need not be written */
        "PRAGMA journal_size_limit=67108864", /* an installation's gives its room back */
        "PRAGMA temp_store=MEMORY",
    };
    for (size_t i = 0; i < sizeof(pragmas) / sizeof(pragmas[0]); i++) {
        int error = sql_exec(&s->writer, pragmas[i]);
        if (error)
            return error;
    }
    sqlite3_wal_hook(s->writer.db, count_wal_pages, s);
    return 0;
}

static int open_writer(struct store *s, char why[STORE_WHY_BYTES])
{
    bool create = s->options.create;
    int flags = SQLITE_OPEN_READWRITE | (create ? SQLITE_OPEN_CREATE : 0);
    int error = sql_open(&s->writer, s->path, flags);
    if (error) {
        snprintf(why, STORE_WHY_BYTES, "%s: cannot be opened: %s", s->path, strerror(-error));
        return error;
    }
    if (create)
        error = schema_create(&s->writer, s->options.incarnation);
    else
        error = schema_check(&s->writer, s->path, s->options.incarnation, why);
    if (error == 0 || create) {
        if (error == 0)
            error = set_modes(s);
        if (error == 0 && create)
            error = make_root(s);
        if (error)
            snprintf(why, STORE_WHY_BYTES, "%s: cannot be prepared: %s", s->path, strerror(-error));
    }
    return error;
}

/* The index first: whoever has seen the state must not take what SQLite shows for all of it. */
void store_publish(struct store *s, const struct store_state *state)
{
    atomic_store(&s->applied_index, state->applied_index);
    pthread_mutex_lock(&s->published_lock);
    s->published = *state;
    pthread_mutex_unlock(&s->published_lock);
}

/*
 * Recovery ends at the first frame of the write-ahead log that is bad. If what stands behind that
 * was in the database already, old pages would hide new ones. The database alone then shows a later
 * state than both together. Where it cannot be read alone, nothing is known.
 */
static int check_recovered(struct store *s, const struct store_state *state,
                           char why[STORE_WHY_BYTES])
{
    struct sql sql;
    struct store_state alone = {0};
    if (sql_open_alone(&sql, s->path) != 0)
        return 0;
    sql_begin(&sql, false);
    tree_load_state(&sql, &alone);
    int error = sql_end(&sql);
    sql_close(&sql);
    if (error || alone.applied_index <= state->applied_index)
        return 0;
    snprintf(
        why, STORE_WHY_BYTES,
        "%s-wal is damaged: the disk has changed it; move the data directory away and let this "
        "node join again",
        s->path);
    return -EUCLEAN;
}

static int open_rest(struct store *s, char why[STORE_WHY_BYTES])
{
    struct store_state state = {0};
    sql_begin(&s->writer, false);
    tree_load_state(&s->writer, &state);
    int error = sql_end(&s->writer);
    if (error == 0 && check_recovered(s, &state, why) != 0)
        return -EUCLEAN;
    if (error == 0) {
        batch_saved(s, &state);
        store_publish(s, &state);
        s->garbage = true; /* maybe: store_reclaim() finds out */
        readers_open(&s->readers, s->path);
        error = checkpoint_open(&s->checkpoint, s->path, &s->saved_index);
    }
    char dir[4096];
    snprintf(dir, sizeof(dir), "%s/orphans", s->options.dir);
    if (error == 0)
        error = orphans_open(&s->orphans, dir);
    if (error)
        snprintf(why, STORE_WHY_BYTES, "%s: cannot be opened: %s", s->path, strerror(-error));
    return error;
}

int store_open(const struct store_options *options, struct store **out, char why[STORE_WHY_BYTES])
{
    int error = vfs_register();
    if (error) {
        snprintf(why, STORE_WHY_BYTES, "SQLite refuses the checksumming VFS; check libsqlite3");
        return error;
    }
    struct store *s = memory_zalloc(sizeof(*s));
    s->options = *options;
    pthread_mutex_init(&s->published_lock, NULL);
    pthread_mutex_init(&s->writer_lock, NULL);
    pthread_mutex_init(&s->copy_lock, NULL);
    pthread_cond_init(&s->copy_changed, NULL);
    s->cache = cache_open();
    snprintf(s->path, sizeof(s->path), "%s/store.db", options->dir);
    error = open_writer(s, why);
    if (error == 0)
        error = open_rest(s, why);
    if (error) {
        store_close(s);
        return error;
    }
    *out = s;
    return 0;
}

void store_close(struct store *s)
{
    (void)batch_save(s); /* what cannot be is in the Raft log still */
    readers_close(s->readers);
    checkpoint_close(s->checkpoint);
    cache_close(s->cache);
    orphans_close(s->orphans);
    if (s->writer.db)
        sql_close(&s->writer);
    pthread_cond_destroy(&s->copy_changed);
    pthread_mutex_destroy(&s->copy_lock);
    touched_free(&s->touched);
    session_table_free(&s->sessions);
    unsaved_clear(&s->unsaved);
    pthread_mutex_destroy(&s->writer_lock);
    pthread_mutex_destroy(&s->published_lock);
    memory_free(s);
}

/* ---- Copying and installing ---- */

void store_begin_copying(struct store *s)
{
    pthread_mutex_lock(&s->copy_lock);
    while (s->installing)
        pthread_cond_wait(&s->copy_changed, &s->copy_lock);
    s->copying = true;
    pthread_mutex_unlock(&s->copy_lock);
    checkpoint_hold(s->checkpoint, true);
}

void store_end_copying(struct store *s)
{
    checkpoint_hold(s->checkpoint, false);
    pthread_mutex_lock(&s->copy_lock);
    s->copying = false;
    pthread_cond_broadcast(&s->copy_changed);
    pthread_mutex_unlock(&s->copy_lock);
}

void store_begin_installing(struct store *s)
{
    pthread_mutex_lock(&s->copy_lock);
    s->installing = true;
    while (s->copying)
        pthread_cond_wait(&s->copy_changed, &s->copy_lock);
    pthread_mutex_unlock(&s->copy_lock);
}

void store_end_installing(struct store *s)
{
    pthread_mutex_lock(&s->copy_lock);
    s->installing = false;
    pthread_cond_broadcast(&s->copy_changed);
    pthread_mutex_unlock(&s->copy_lock);
}

/* ---- How it stands ---- */

uint64_t store_applied_index(const struct store *s)
{
    return atomic_load(&s->applied_index);
}

uint64_t store_applied_term(const struct store *s)
{
    struct store *store = (struct store *)s;
    pthread_mutex_lock(&store->published_lock);
    uint64_t term = store->published.applied_term;
    pthread_mutex_unlock(&store->published_lock);
    return term;
}

uint64_t store_durable_index(const struct store *s)
{
    return checkpoint_durable_index(s->checkpoint);
}

int store_sync(struct store *s)
{
    pthread_mutex_lock(&s->writer_lock); /* so that no transaction stays open meanwhile */
    int error = batch_save_locked(s);
    if (error == 0)
        error = checkpoint_all(s->checkpoint);
    pthread_mutex_unlock(&s->writer_lock);
    return error;
}

void store_totals(struct store *s, struct store_totals *totals)
{
    pthread_mutex_lock(&s->published_lock);
    const struct store_state *p = &s->published;
    *totals = (struct store_totals){.applied_index = p->applied_index,
                                    .keys = p->keys,
                                    .bytes = p->bytes,
                                    .inodes = p->inodes,
                                    .fingerprint = p->fingerprint};
    pthread_mutex_unlock(&s->published_lock);
}
