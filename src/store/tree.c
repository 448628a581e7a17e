/* SPDX-License-Identifier: MIT */
#include "store/tree.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/bytes.h"
#include "store/garbage.h"
#include "store/touched.h"

enum { ROW_FIELDS = 12, INODE_FIELDS = 11, HEAD_PARAMETER = 12, HEAD_COLUMN = 10 };

enum { FEW_ROWS = 16 }; /* are deleted at once */

uint64_t tree_row_hash(enum tree_row kind, const uint64_t *fields, size_t count, const void *tail,
                       size_t tail_bytes)
{
    uint8_t fixed[8 * (ROW_FIELDS + 1)];
    struct bytes_writer w = bytes_writer(fixed, sizeof(fixed));
    bytes_put_u64(&w, kind);
    for (size_t i = 0; i < count; i++)
        bytes_put_u64(&w, fields[i]);
    assert(!w.bad);
    uint64_t hash = XXH3_64bits(fixed, bytes_written(&w));
    return tail_bytes ? XXH3_64bits_withSeed(tail, tail_bytes, hash) : hash;
}

/* ---- State ---- */

void tree_load_state(struct sql *sql, struct store_state *state)
{
    sqlite3_stmt *s = sql_get(sql, SQL_STATE_GET);
    if (sql_step(sql, s))
        *state = (struct store_state){.applied_index = sql_u64(s, 0),
                                      .applied_term = sql_u64(s, 1),
                                      .last_stamp = sql_u64(s, 2),
                                      .next_cookie = sql_u64(s, 3),
                                      .next_session = sql_u64(s, 4),
                                      .keys = sql_u64(s, 5),
                                      .bytes = sql_u64(s, 6),
                                      .inodes = sql_u64(s, 7),
                                      .fingerprint = sql_u64(s, 8)};
    sql_done(s);
}

void tree_save_state(struct txn *t)
{
    const struct store_state *state = &t->state;
    const uint64_t row[] = {state->applied_index, state->applied_term, state->last_stamp,
                            state->next_cookie,   state->next_session, state->keys,
                            state->bytes,         state->inodes,       state->fingerprint};
    sqlite3_stmt *s = sql_get(t->sql, SQL_STATE_PUT);
    for (int i = 0; i < (int)(sizeof(row) / sizeof(row[0])); i++)
        sql_bind_u64(t->sql, s, i + 1, row[i]);
    sql_run(t->sql, s);
}

/* ---- What is touched ---- */

static void touch_inode(struct txn *t, uint64_t ino, const struct store_attr *attr, bool data)
{
    if (t->touched)
        touched_inode(t->touched, ino, attr, data);
}

static void touch_name(struct txn *t, uint64_t dir, struct name name, uint64_t ino, bool added)
{
    if (t->touched)
        touched_name(t->touched, dir, name.text, name.bytes, ino, added);
}

/* ---- Inodes ---- */

void tree_read_inode(sqlite3_stmt *s, int column, uint64_t ino, struct inode *inode)
{
    inode->attr = (struct store_attr){.ino = ino,
                                      .mode = (uint32_t)sql_u64(s, column),
                                      .uid = (uint32_t)sql_u64(s, column + 1),
                                      .gid = (uint32_t)sql_u64(s, column + 2),
                                      .nlink = (uint32_t)sql_u64(s, column + 3),
                                      .size_bytes = sql_u64(s, column + 4),
                                      .atime_ns = (int64_t)sql_u64(s, column + 5),
                                      .mtime_ns = (int64_t)sql_u64(s, column + 6),
                                      .ctime_ns = (int64_t)sql_u64(s, column + 7),
                                      .version = sql_u64(s, column + 8)};
    inode->dotdot = sql_u64(s, column + 9);
    inode->head_bytes = 0;
}

bool tree_read(struct sql *sql, uint64_t ino, struct inode *inode)
{
    sqlite3_stmt *s = sql_get(sql, SQL_INODE_GET);
    sql_bind_u64(sql, s, 1, ino);
    bool found = sql_step(sql, s);
    if (found) {
        tree_read_inode(s, 0, ino, inode);
        size_t bytes = (size_t)sqlite3_column_bytes(s, HEAD_COLUMN);
        inode->head_bytes = (uint16_t)(bytes < TREE_HEAD_BYTES ? bytes : TREE_HEAD_BYTES);
        if (bytes)
            memcpy(inode->head, sqlite3_column_blob(s, HEAD_COLUMN), inode->head_bytes);
    }
    sql_done(s);
    return found;
}

bool tree_get(struct txn *t, uint64_t ino, struct inode *inode)
{
    return tree_read(t->sql, ino, inode);
}

static void inode_fields(const struct inode *inode, uint64_t fields[INODE_FIELDS])
{
    const struct store_attr *a = &inode->attr;
    const uint64_t row[INODE_FIELDS] = {a->ino,
                                        a->mode,
                                        a->uid,
                                        a->gid,
                                        a->nlink,
                                        a->size_bytes,
                                        (uint64_t)a->atime_ns,
                                        (uint64_t)a->mtime_ns,
                                        (uint64_t)a->ctime_ns,
                                        a->version,
                                        inode->dotdot};
    memcpy(fields, row, sizeof(row));
}

static uint64_t chunk_hash(uint64_t ino, uint64_t n, const void *data, size_t bytes)
{
    const uint64_t fields[] = {ino, n};
    return tree_row_hash(TREE_ROW_CHUNK, fields, 2, data, bytes);
}

/* Counts the inode in the totals and the fingerprint; `sign` is 1 or -1. */
static void count_inode(struct txn *t, const struct inode *inode, int sign)
{
    uint64_t fields[INODE_FIELDS];
    inode_fields(inode, fields);
    uint64_t by = (uint64_t)sign;
    t->state.fingerprint += by * tree_row_hash(TREE_ROW_INODE, fields, INODE_FIELDS, NULL, 0);
    if (inode->head_bytes)
        t->state.fingerprint += by * chunk_hash(inode->attr.ino, 0, inode->head, inode->head_bytes);
    t->state.inodes += by;
    if (!S_ISDIR(inode->attr.mode)) {
        t->state.keys += by;
        t->state.bytes += by * inode->attr.size_bytes;
    }
}

static void put_inode(struct txn *t, enum sql_statement how, const struct inode *inode)
{
    uint64_t fields[INODE_FIELDS];
    inode_fields(inode, fields);
    sqlite3_stmt *s = sql_get(t->sql, how);
    for (int i = 0; i < INODE_FIELDS; i++)
        sql_bind_u64(t->sql, s, i + 1, fields[i]);
    if (how != SQL_INODE_UPDATE)
        sql_bind_blob(t->sql, s, HEAD_PARAMETER, inode->head, inode->head_bytes);
    sql_run(t->sql, s);
}

void tree_add(struct txn *t, const struct inode *inode)
{
    put_inode(t, SQL_INODE_ADD, inode);
    count_inode(t, inode, 1);
    if (t->touched)
        touched_new_inode(t->touched, &inode->attr);
}

void tree_update(struct txn *t, const struct inode *before, const struct inode *after)
{
    bool same = before->head_bytes == after->head_bytes &&
                memcmp(before->head, after->head, after->head_bytes) == 0;
    put_inode(t, same ? SQL_INODE_UPDATE : SQL_INODE_UPDATE_HEAD, after);
    count_inode(t, before, -1);
    count_inode(t, after, 1);
    touch_inode(t, after->attr.ino, &after->attr, false);
}

void tree_remove(struct txn *t, const struct inode *inode)
{
    struct inode gone = *inode;
    if (!S_ISDIR(inode->attr.mode))
        tree_resize(t, &gone, 0);
    sqlite3_stmt *s = sql_get(t->sql, SQL_INODE_DELETE);
    sql_bind_u64(t->sql, s, 1, inode->attr.ino);
    sql_run(t->sql, s);
    count_inode(t, inode, -1);
    touch_inode(t, inode->attr.ino, NULL, false);
}

/* ---- Names ---- */

static uint64_t dentry_hash(uint64_t parent, struct name name, const struct dentry *dentry)
{
    const uint64_t fields[] = {parent, dentry->ino, dentry->cookie};
    return tree_row_hash(TREE_ROW_DENTRY, fields, 3, name.text, name.bytes);
}

bool tree_find(struct txn *t, uint64_t parent, struct name name, struct dentry *dentry)
{
    sqlite3_stmt *s = sql_get(t->sql, SQL_DENTRY_GET);
    sql_bind_u64(t->sql, s, 1, parent);
    sql_bind_blob(t->sql, s, 2, name.text, name.bytes);
    bool found = sql_step(t->sql, s);
    if (found)
        *dentry = (struct dentry){.ino = sql_u64(s, 0), .cookie = sql_u64(s, 1)};
    sql_done(s);
    return found;
}

void tree_link(struct txn *t, uint64_t parent, struct name name, uint64_t ino)
{
    struct dentry dentry = {.ino = ino, .cookie = t->state.next_cookie++};
    sqlite3_stmt *s = sql_get(t->sql, SQL_DENTRY_PUT);
    sql_bind_u64(t->sql, s, 1, parent);
    sql_bind_blob(t->sql, s, 2, name.text, name.bytes);
    sql_bind_u64(t->sql, s, 3, ino);
    sql_bind_u64(t->sql, s, 4, dentry.cookie);
    sql_run(t->sql, s);
    t->state.fingerprint += dentry_hash(parent, name, &dentry);
    touch_name(t, parent, name, ino, true);
}

void tree_unlink(struct txn *t, uint64_t parent, struct name name, const struct dentry *dentry)
{
    sqlite3_stmt *s = sql_get(t->sql, SQL_DENTRY_DELETE);
    sql_bind_u64(t->sql, s, 1, parent);
    sql_bind_blob(t->sql, s, 2, name.text, name.bytes);
    sql_run(t->sql, s);
    t->state.fingerprint -= dentry_hash(parent, name, dentry);
    touch_name(t, parent, name, dentry->ino, false);
}

bool tree_is_empty(struct txn *t, uint64_t dir)
{
    sqlite3_stmt *s = sql_get(t->sql, SQL_DENTRY_ANY);
    sql_bind_u64(t->sql, s, 1, dir);
    bool any = sql_step(t->sql, s);
    sql_done(s);
    return !any;
}

/* ---- Content ---- */

/*
 * A chunk as it is in the store: `bytes` of it are there, the rest reads as zeroes. In a row of
 * `body` its hash stands too, so that dropping it need not read it. No chunk reaches beyond the
 * file's size, so a file within the head has no such row, and behind the end there is none: what
 * the table holds there still is garbage (garbage.h), as what it holds in some holes.
 */
struct chunk {
    uint64_t n;
    bool in_body;
    uint64_t hash; /* in the body */
    size_t bytes;
    uint8_t data[STORE_CHUNK_BYTES];
};

static bool has_body(const struct inode *inode, uint64_t from)
{
    return inode->attr.size_bytes > TREE_HEAD_BYTES &&
           from * STORE_CHUNK_BYTES < inode->attr.size_bytes;
}

static void get_from_body(struct txn *t, struct chunk *chunk, uint64_t ino)
{
    sqlite3_stmt *s = sql_get(t->sql, SQL_BODY_GET);
    sql_bind_u64(t->sql, s, 1, ino);
    sql_bind_u64(t->sql, s, 2, chunk->n);
    if (sql_step(t->sql, s)) {
        size_t bytes = (size_t)sqlite3_column_bytes(s, 1);
        chunk->in_body = true;
        chunk->hash = sql_u64(s, 0);
        chunk->bytes = bytes < STORE_CHUNK_BYTES ? bytes : STORE_CHUNK_BYTES;
        if (chunk->bytes)
            memcpy(chunk->data, sqlite3_column_blob(s, 1), chunk->bytes);
    }
    sql_done(s);
}

static void get_chunk(struct txn *t, struct chunk *chunk, const struct inode *inode, uint64_t n)
{
    chunk->n = n;
    chunk->in_body = false;
    chunk->hash = 0;
    chunk->bytes = 0;
    if (n == 0 && inode->head_bytes) {
        chunk->bytes = inode->head_bytes;
        memcpy(chunk->data, inode->head, chunk->bytes);
    } else if (has_body(inode, n)) {
        get_from_body(t, chunk, inode->attr.ino);
    }
}

static void delete_row(struct txn *t, uint64_t ino, uint64_t n)
{
    sqlite3_stmt *s = sql_get(t->sql, SQL_BODY_DELETE);
    sql_bind_u64(t->sql, s, 1, ino);
    sql_bind_u64(t->sql, s, 2, n);
    sql_run(t->sql, s);
}

/* Chunks from the first to the last of these go; behind the last there is none. */
static void drop_body(struct txn *t, uint64_t ino, uint64_t first, uint64_t last)
{
    uint64_t few[FEW_ROWS], count = 0;
    sqlite3_stmt *s = sql_get(t->sql, SQL_BODY_HASHES);
    sql_bind_u64(t->sql, s, 1, ino);
    sql_bind_u64(t->sql, s, 2, first);
    while (sql_step(t->sql, s) && sql_u64(s, 0) == ino && sql_u64(s, 1) <= last) {
        if (!sql_u64(s, 2))
            continue;
        if (count < FEW_ROWS)
            few[count] = sql_u64(s, 1);
        t->state.fingerprint -= sql_u64(s, 3);
        count++;
    }
    sql_done(s);
    if (count > FEW_ROWS)
        garbage_add(t, ino, first);
    for (uint64_t i = 0; i < count && count <= FEW_ROWS; i++)
        delete_row(t, ino, few[i]);
}

static void put_in_body(struct txn *t, const struct chunk *chunk, uint64_t ino)
{
    uint64_t hash = chunk_hash(ino, chunk->n, chunk->data, chunk->bytes);
    if (!chunk->in_body)
        garbage_take_out(t->sql, ino, chunk->n);
    sqlite3_stmt *s = sql_get(t->sql, SQL_BODY_PUT);
    sql_bind_u64(t->sql, s, 1, ino);
    sql_bind_u64(t->sql, s, 2, chunk->n);
    sql_bind_u64(t->sql, s, 3, hash);
    sql_bind_blob(t->sql, s, 4, chunk->data, chunk->bytes);
    sql_run(t->sql, s);
    t->state.fingerprint += hash - chunk->hash;
}

/* The first one goes into the head, or out of it, by its size. */
static void put_chunk(struct txn *t, const struct chunk *chunk, struct inode *inode)
{
    bool fits = chunk->n == 0 && chunk->bytes <= TREE_HEAD_BYTES;
    if (chunk->n == 0)
        inode->head_bytes = fits ? (uint16_t)chunk->bytes : 0;
    if (!fits) {
        put_in_body(t, chunk, inode->attr.ino);
        return;
    }
    memcpy(inode->head, chunk->data, chunk->bytes);
    if (chunk->in_body) {
        t->state.fingerprint -= chunk->hash;
        delete_row(t, inode->attr.ino, 0);
    }
}

void tree_write(struct txn *t, struct inode *inode, uint64_t offset, const void *data, size_t bytes)
{
    struct chunk chunk;
    const uint8_t *from = data;
    touch_inode(t, inode->attr.ino, NULL, true);
    while (bytes > 0) {
        size_t at = (size_t)(offset % STORE_CHUNK_BYTES);
        size_t n = STORE_CHUNK_BYTES - at < bytes ? STORE_CHUNK_BYTES - at : bytes;
        get_chunk(t, &chunk, inode, offset / STORE_CHUNK_BYTES);
        if (chunk.bytes < at)
            memset(chunk.data + chunk.bytes, 0, at - chunk.bytes);
        memcpy(chunk.data + at, from, n);
        if (chunk.bytes < at + n)
            chunk.bytes = at + n;
        put_chunk(t, &chunk, inode);
        from += n;
        offset += n;
        bytes -= n;
        if (inode->attr.size_bytes < offset)
            inode->attr.size_bytes = offset;
    }
}

/* What lies behind the new end must not show again when the file grows, so it is cut off. */
static void cut(struct txn *t, struct inode *inode, uint64_t size_bytes)
{
    uint64_t last = size_bytes / STORE_CHUNK_BYTES;
    size_t kept = (size_t)(size_bytes % STORE_CHUNK_BYTES);
    uint64_t dropped = kept ? last + 1 : last;
    touch_inode(t, inode->attr.ino, NULL, true);
    if (dropped == 0)
        inode->head_bytes = 0;
    if (has_body(inode, dropped))
        drop_body(t, inode->attr.ino, dropped, (inode->attr.size_bytes - 1) / STORE_CHUNK_BYTES);
    if (!kept)
        return;
    struct chunk chunk;
    get_chunk(t, &chunk, inode, last);
    if (chunk.bytes <= kept)
        return;
    chunk.bytes = kept;
    put_chunk(t, &chunk, inode);
}

void tree_resize(struct txn *t, struct inode *inode, uint64_t size_bytes)
{
    if (size_bytes < inode->attr.size_bytes)
        cut(t, inode, size_bytes);
    inode->attr.size_bytes = size_bytes;
}

static int write_out(int fd, const void *data, size_t bytes, uint64_t at)
{
    ssize_t n = pwrite(fd, data, bytes, (off_t)at);
    if (n == (ssize_t)bytes)
        return 0;
    return n < 0 ? -errno : -ENOSPC;
}

int tree_copy_out(struct txn *t, const struct inode *inode, int fd)
{
    int error = write_out(fd, inode->head, inode->head_bytes, 0);
    sqlite3_stmt *s = sql_get(t->sql, SQL_BODY_LIST);
    sql_bind_u64(t->sql, s, 1, inode->attr.ino);
    sql_bind_u64(t->sql, s, 2, 0);
    sql_bind_u64(t->sql, s, 3, inode->attr.size_bytes / STORE_CHUNK_BYTES);
    while (error == 0 && sql_step(t->sql, s))
        error = write_out(fd, sqlite3_column_blob(s, 1), (size_t)sqlite3_column_bytes(s, 1),
                          sql_u64(s, 0) * STORE_CHUNK_BYTES);
    sql_done(s);
    if (error == 0 && ftruncate(fd, (off_t)inode->attr.size_bytes) < 0) /* it may end in a hole */
        error = -errno;
    return error;
}
