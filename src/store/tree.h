/* SPDX-License-Identifier: MIT */
/*
 * tree.h - the rows of the tree, inside one transaction of the writer's.
 *
 * Every change of a row goes through here (or session.h), because every change also moves the
 * totals and the fingerprint. The rules of who may change what are apply.c's.
 *
 * The fingerprint is the sum, modulo 2^64, of a hash of each row: adding a row adds its hash,
 * deleting it subtracts the same. So it does not depend on the order of changes, costs nothing to
 * keep, and two replicas that agree on it hold the same rows.
 */
#ifndef RAFTFS_STORE_TREE_H
#define RAFTFS_STORE_TREE_H

#include "store/sql.h"
#include "store/store.h"

/* The state's row: in memory, and on disk with every transaction. */
struct store_state {
    uint64_t applied_index;
    uint64_t applied_term;
    uint64_t last_stamp;
    uint64_t next_cookie;
    uint64_t next_session;
    uint64_t keys;
    uint64_t bytes;
    uint64_t inodes;
    uint64_t fingerprint;
};

struct orphans;
struct session_table;
struct touched;

/* One batch being applied. */
struct txn {
    struct sql *sql;
    struct store_state state;
    struct session_table *sessions;
    struct orphans *orphans;
    struct touched *touched;                  /* NULL: nobody wants to know */
    bool (*is_open)(void *ctx, uint64_t ino); /* store_options.is_open */
    void *is_open_ctx;
    uint64_t index; /* of the entry being applied */
    int64_t stamp;  /* its time, above every earlier one */
    bool garbage;   /* some was made */
};

/*
 * An inode's row. The content's first chunk stands in it as long as it is short, so that changing a
 * small file changes one row.
 */
enum { TREE_HEAD_BYTES = 1024 };

struct inode {
    struct store_attr attr;
    uint64_t dotdot; /* of a directory: its parent; otherwise 0 */
    uint16_t head_bytes;
    uint8_t head[TREE_HEAD_BYTES];
};

struct dentry {
    uint64_t ino;
    uint64_t cookie;
};

/* A name as commands carry it. */
struct name {
    const char *text;
    uint8_t bytes;
};

/* The row's hash counts for the fingerprint with this kind, so that rows of two tables differ. */
enum tree_row {
    TREE_ROW_INODE = 1,
    TREE_ROW_DENTRY,
    TREE_ROW_CHUNK,
    TREE_ROW_SESSION,
    TREE_ROW_RESULT
};
uint64_t tree_row_hash(enum tree_row kind, const uint64_t *fields, size_t count, const void *tail,
                       size_t tail_bytes);

/* Reads the state's row. */
void tree_load_state(struct sql *sql, struct store_state *state);
void tree_save_state(struct txn *t);

bool tree_get(struct txn *t, uint64_t ino, struct inode *inode);
void tree_add(struct txn *t, const struct inode *inode);
void tree_update(struct txn *t, const struct inode *before, const struct inode *after);
void tree_remove(struct txn *t, const struct inode *inode); /* with its content */

bool tree_find(struct txn *t, uint64_t parent, struct name name, struct dentry *dentry);
void tree_link(struct txn *t, uint64_t parent, struct name name, uint64_t ino);
void tree_unlink(struct txn *t, uint64_t parent, struct name name, const struct dentry *dentry);
bool tree_is_empty(struct txn *t, uint64_t dir);

/*
 * Content. The inode's size and head change in memory: the caller adds or updates the inode
 * afterwards.
 */
void tree_write(struct txn *t, struct inode *inode, uint64_t offset, const void *data,
                size_t bytes);
void tree_resize(struct txn *t, struct inode *inode, uint64_t size_bytes);

/* Copies the content to a file; 0 or a negative errno of the file's. */
int tree_copy_out(struct txn *t, const struct inode *inode, int fd);

/* The inode's row, for queries too. */
bool tree_read(struct sql *sql, uint64_t ino, struct inode *inode);

/* A row of inode columns, from `column` on, as attributes; the head is left out. */
void tree_read_inode(sqlite3_stmt *s, int column, uint64_t ino, struct inode *inode);

#endif
