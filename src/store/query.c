/* SPDX-License-Identifier: MIT */
/*
 * Queries: names and attributes from the cache (cache.h), if they are there; all else by one read
 * transaction, on a connection of the pool. SQLite's write-ahead log gives each of them the state
 * after some whole transaction, and at least the one that was saved last. The absence of a name is
 * SQLite's to say, its directory may come from the cache.
 *
 * What is applied may not be saved yet (batch.c). Then what SQLite shows of an inode or a name is
 * all there is to it if unsaved_touches() does not know it, and nothing was saved since the query
 * began: saving forgets what was touched. Otherwise the query has it saved first: then SQLite shows
 * all that was applied when the query was called, which is enough.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "store/internal.h"

/* What was so when a query began. */
struct look {
    uint64_t epoch;
    uint64_t saved_index;
    bool all_saved;
    bool had_it_saved; /* it has seen to that itself since */
};

static struct look look_at(const struct store *s)
{
    struct look look = {.epoch = cache_epoch(s->cache)};
    look.all_saved = store_is_saved(s);
    look.saved_index = atomic_load(&s->saved_index);
    return look;
}

/* Whether SQLite, asked since or from now on, shows this as it is now, or was later than now. */
static bool shows(const struct store *s, const struct look *look, uint64_t what)
{
    return look->all_saved || (!unsaved_touches(&s->unsaved, what) &&
                               atomic_load(&s->saved_index) == look->saved_index);
}

static int have_it_saved(struct store *s, struct look *look)
{
    int error = batch_save(s);
    if (error == -EUCLEAN && s->options.on_damage)
        s->options.on_damage(s->options.ctx);
    *look = look_at(s);
    look->had_it_saved = true;
    return error;
}

/* To be called before SQLite is asked. 0 or an error. */
static int have_it_shown(struct store *s, struct look *look, uint64_t what)
{
    return shows(s, look, what) ? 0 : have_it_saved(s, look);
}

/* A reader with its transaction begun; NULL with the error. */
static struct sql *begin(struct store *s, int *error)
{
    struct sql *sql = readers_take(s->readers, error);
    if (sql)
        sql_begin(sql, false);
    return sql;
}

/* The same where SQLite is to show all that is applied. */
static struct sql *begin_saved(struct store *s, int *error)
{
    struct look look = look_at(s);
    *error = look.all_saved ? 0 : have_it_saved(s, &look);
    return *error ? NULL : begin(s, error);
}

/* Ends it; an error of SQLite's goes before what the query came to. */
static int end(struct store *s, struct sql *sql, int status)
{
    int error = sql_end(sql);
    readers_give(s->readers, sql);
    if (error == -EUCLEAN && s->options.on_damage)
        s->options.on_damage(s->options.ctx);
    return error ? error : status;
}

static int get_dir(struct sql *sql, uint64_t ino, struct inode *dir)
{
    if (!tree_read(sql, ino, dir))
        return -ESTALE;
    return S_ISDIR(dir->attr.mode) ? 0 : -ENOTDIR;
}

static bool is_dots(const char *name, size_t bytes)
{
    return (bytes == 1 && name[0] == '.') || (bytes == 2 && name[0] == '.' && name[1] == '.');
}

/* One join. Finding nothing says nothing yet about the parent. */
static bool find_child(struct sql *sql, uint64_t parent, const char *name, size_t bytes,
                       struct store_attr *attr)
{
    sqlite3_stmt *q = sql_get(sql, SQL_LOOKUP);
    sql_bind_u64(sql, q, 1, parent);
    sql_bind_blob(sql, q, 2, name, bytes);
    struct inode inode;
    bool found = sql_step(sql, q);
    if (found) {
        tree_read_inode(q, 1, sql_u64(q, 0), &inode);
        *attr = inode.attr;
    }
    sql_done(q);
    return found;
}

static int lookup_dots(struct sql *sql, uint64_t dir_ino, size_t bytes, struct store_attr *attr)
{
    struct inode dir;
    int status = get_dir(sql, dir_ino, &dir);
    if (status == 0 && bytes == 2 && !tree_read(sql, dir.dotdot, &dir))
        return -ESTALE;
    if (status == 0)
        *attr = dir.attr;
    return status;
}

/*
 * What it comes to that SQLite, asked in the look's epoch or later, has no such name. That the
 * cache has the parent means that the epoch still lasts: then SQLite was asked in it, too, and as
 * nothing becomes visible in an epoch, would have shown the same parent.
 */
static int absence(struct store *s, const struct look *look, struct sql *sql, uint64_t parent,
                   bool *parent_shown)
{
    struct inode dir;
    bool found = cache_find(s->cache, look->epoch, parent, &dir.attr);
    *parent_shown = found;
    if (!found && !tree_read(sql, parent, &dir))
        return -ESTALE;
    return S_ISDIR(dir.attr.mode) ? -ENOENT : -ENOTDIR;
}

/* False: it says nothing certain, because what it came upon has been touched. */
static bool ask_name(struct store *s, const struct look *look, uint64_t parent, const char *name,
                     size_t name_bytes, struct store_attr *attr, int *status)
{
    struct sql *sql = begin(s, status);
    if (!sql)
        return true;
    bool parent_shown = true;
    bool found = find_child(sql, parent, name, name_bytes, attr);
    *status = end(s, sql, found ? 0 : absence(s, look, sql, parent, &parent_shown));
    if (!found)
        return parent_shown || look->had_it_saved || shows(s, look, unsaved_inode(parent));
    bool shown = shows(s, look, unsaved_inode(attr->ino));
    if (*status == 0 && shown && shows(s, look, unsaved_name(parent, name, name_bytes)))
        cache_learn_name(s->cache, look->epoch, parent, name, name_bytes, attr);
    return shown || look->had_it_saved;
}

static int lookup_in_dots(struct store *s, uint64_t dir, size_t name_bytes, struct store_attr *attr)
{
    int error;
    struct sql *sql = begin_saved(s, &error);
    return sql ? end(s, sql, lookup_dots(sql, dir, name_bytes, attr)) : error;
}

int store_lookup(struct store *s, uint64_t parent, const char *name, size_t name_bytes,
                 struct store_attr *attr)
{
    int status;
    struct look look = look_at(s);
    if (name_bytes > COMMAND_NAME_BYTES)
        return -ENAMETOOLONG;
    if (is_dots(name, name_bytes))
        return lookup_in_dots(s, parent, name_bytes, attr);
    if (cache_find_name(s->cache, look.epoch, parent, name, name_bytes, attr))
        return 0;
    status = have_it_shown(s, &look, unsaved_name(parent, name, name_bytes));
    if (status == 0 && !ask_name(s, &look, parent, name, name_bytes, attr, &status)) {
        status = have_it_saved(s, &look);
        if (status == 0)
            ask_name(s, &look, parent, name, name_bytes, attr, &status);
    }
    return status;
}

int store_getattr(struct store *s, uint64_t ino, struct store_attr *attr)
{
    struct inode inode;
    struct look look = look_at(s);
    if (cache_find(s->cache, look.epoch, ino, attr))
        return 0;
    int error = have_it_shown(s, &look, unsaved_inode(ino));
    struct sql *sql = error ? NULL : begin(s, &error);
    if (!sql)
        return error;
    bool found = tree_read(sql, ino, &inode);
    if (found)
        *attr = inode.attr;
    error = end(s, sql, 0);
    if (error == 0 && found && shows(s, &look, unsaved_inode(ino)))
        cache_learn(s->cache, look.epoch, attr);
    if (error || found)
        return error;
    return orphans_getattr(s->orphans, ino, attr) ? 0 : -ESTALE;
}

/* A place in the content, of which a piece is wanted. */
struct wanted {
    uint64_t offset;
    size_t bytes;
    uint8_t *out;
};

static void take_from(const struct wanted *w, uint64_t start, const uint8_t *data, size_t bytes)
{
    uint64_t stop = start + bytes;
    uint64_t from = start > w->offset ? start : w->offset;
    uint64_t to = stop < w->offset + w->bytes ? stop : w->offset + w->bytes;
    if (from < to)
        memcpy(w->out + (from - w->offset), data + (from - start), (size_t)(to - from));
}

/* What no chunk holds is zero. */
static void read_content(struct sql *sql, const struct inode *inode, const struct wanted *w)
{
    memset(w->out, 0, w->bytes);
    take_from(w, 0, inode->head, inode->head_bytes);
    if (inode->attr.size_bytes <= TREE_HEAD_BYTES)
        return; /* there is no more */
    sqlite3_stmt *q = sql_get(sql, SQL_BODY_LIST);
    sql_bind_u64(sql, q, 1, inode->attr.ino);
    sql_bind_u64(sql, q, 2, w->offset / STORE_CHUNK_BYTES);
    sql_bind_u64(sql, q, 3, (w->offset + w->bytes - 1) / STORE_CHUNK_BYTES);
    while (sql_step(sql, q))
        take_from(w, sql_u64(q, 0) * STORE_CHUNK_BYTES, sqlite3_column_blob(q, 1),
                  (size_t)sqlite3_column_bytes(q, 1));
    sql_done(q);
}

static int read_file(struct sql *sql, const struct inode *inode, uint64_t offset, size_t bytes,
                     void *out, size_t *got)
{
    const struct store_attr *attr = &inode->attr;
    if (S_ISDIR(attr->mode))
        return -EISDIR;
    if (!S_ISREG(attr->mode))
        return -EINVAL;
    if (offset >= attr->size_bytes || bytes == 0)
        return 0;
    uint64_t left = attr->size_bytes - offset;
    *got = left < bytes ? (size_t)left : bytes;
    read_content(sql, inode, &(struct wanted){.offset = offset, .bytes = *got, .out = out});
    return 0;
}

int store_read(struct store *s, uint64_t ino, uint64_t offset, size_t bytes, void *out, size_t *got,
               struct store_attr *attr)
{
    struct look look = look_at(s);
    *got = 0;
    int error = have_it_shown(s, &look, unsaved_inode(ino));
    struct sql *sql = error ? NULL : begin(s, &error);
    if (!sql)
        return error;
    struct inode inode;
    bool found = tree_read(sql, ino, &inode);
    int status = 0;
    if (found) {
        *attr = inode.attr;
        status = read_file(sql, &inode, offset, bytes, out, got);
    }
    status = end(s, sql, status);
    if (status || found)
        return status;
    return orphans_read(s->orphans, ino, offset, bytes, out, got, attr);
}

static int read_target(struct sql *sql, uint64_t ino, struct buf **target)
{
    struct inode inode;
    if (!tree_read(sql, ino, &inode))
        return -ESTALE;
    if (!S_ISLNK(inode.attr.mode))
        return -EINVAL;
    *target = buf_new((uint32_t)inode.attr.size_bytes);
    read_content(sql, &inode,
                 &(struct wanted){.bytes = inode.attr.size_bytes, .out = (*target)->data});
    return 0;
}

int store_readlink(struct store *s, uint64_t ino, struct buf **target)
{
    int error;
    struct sql *sql = begin_saved(s, &error);
    if (!sql)
        return error;
    *target = NULL;
    int status = end(s, sql, read_target(sql, ino, target));
    if (status) {
        buf_unref(*target);
        *target = NULL;
    }
    return status;
}

static void list(struct sql *sql, uint64_t dir, uint64_t cookie, store_dirent_fn *each, void *ctx)
{
    sqlite3_stmt *q = sql_get(sql, SQL_DENTRY_LIST);
    sql_bind_u64(sql, q, 1, dir);
    sql_bind_u64(sql, q, 2, cookie);
    bool more = true;
    while (more && sql_step(sql, q)) {
        struct inode inode;
        tree_read_inode(q, 3, sql_u64(q, 2), &inode);
        more = each(ctx, sqlite3_column_blob(q, 0), (size_t)sqlite3_column_bytes(q, 0),
                    sql_u64(q, 1), &inode.attr);
    }
    sql_done(q);
}

int store_readdir(struct store *s, uint64_t dir, uint64_t cookie, store_dirent_fn *each, void *ctx)
{
    int error;
    struct sql *sql = begin_saved(s, &error);
    if (!sql)
        return error;
    struct inode inode;
    int status = get_dir(sql, dir, &inode);
    if (status == 0)
        list(sql, dir, cookie, each, ctx);
    return end(s, sql, status);
}

int store_parent(struct store *s, uint64_t dir, uint64_t *parent)
{
    int error;
    struct sql *sql = begin_saved(s, &error);
    if (!sql)
        return error;
    struct inode inode;
    int status = get_dir(sql, dir, &inode);
    if (status == 0)
        *parent = inode.dotdot;
    return end(s, sql, status);
}

struct buf *store_config(struct store *s, uint64_t *index)
{
    int error;
    struct buf *config = NULL;
    struct sql *sql = begin_saved(s, &error);
    if (!sql)
        return NULL;
    sqlite3_stmt *q = sql_get(sql, SQL_CONFIG_GET);
    if (sql_step(sql, q)) {
        *index = sql_u64(q, 0);
        config = buf_copy(sqlite3_column_blob(q, 1), (uint32_t)sqlite3_column_bytes(q, 1));
    }
    sql_done(q);
    end(s, sql, 0);
    return config;
}

/* ---- Orphans ---- */

int store_orphan_write(struct store *s, uint64_t ino, uint64_t offset, bool append,
                       const void *data, size_t bytes, struct store_attr *attr)
{
    return orphans_write(s->orphans, ino, offset, append, data, bytes, attr);
}

int store_orphan_setattr(struct store *s, const struct command *setattr, struct store_attr *attr)
{
    return orphans_setattr(s->orphans, setattr, attr);
}

void store_orphan_release(struct store *s, uint64_t ino)
{
    orphans_release(s->orphans, ino);
}
