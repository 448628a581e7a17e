/* SPDX-License-Identifier: MIT */
/*
 * store.h - the state machine: a tree of directories, files and symlinks in SQLite.
 *
 * Committed entries go in through store_apply(), in log order, one SQLite transaction a batch, with
 * the applied index in it; a small one by itself through store_apply_unsaved(), whose transaction
 * stays open for more (batch.c). Everything else only looks. Applying is deterministic: two stores
 * that applied the same entries have the same rows, the same inode numbers and the same
 * fingerprint. schema.h shows the tables, apply.h the rules of each command.
 *
 * Threads: store_apply() and store_apply_unsaved() on any thread, but one at a time: "the apply
 * thread", whichever it is. Queries on any thread, from memory or each on a connection of its own
 * from a small pool, always on all that is applied; they never wait for a batch, but one that needs
 * what is unsaved saves it.
 *
 * Errors are negative errno. -EIO and -EUCLEAN (a page's checksum did not match) have been reported
 * before they are returned.
 */
#ifndef RAFTFS_STORE_H
#define RAFTFS_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "store/command.h"

enum {
    STORE_ROOT_INO = 1,
    STORE_WHY_BYTES = 512,
    STORE_CHUNK_BYTES = 64 * 1024, /* a file's content is kept in rows of this size */
    STORE_MAX_RESULTS = 16384,     /* remembered a session, for retried commands */
};

#define STORE_MAX_FILE_BYTES ((uint64_t)1 << 40)

struct store;

struct store_attr {
    uint64_t ino;
    uint32_t mode; /* type and permissions, as st_mode */
    uint32_t uid;
    uint32_t gid;
    uint32_t nlink;
    uint64_t size_bytes;
    int64_t atime_ns;
    int64_t mtime_ns;
    int64_t ctime_ns;
    uint64_t version; /* of the data: the index of the entry that changed it last */
};

/* An inode, or a name, that a batch has touched. */
struct store_touched {
    uint64_t ino;       /* the inode touched, or the one that the name stands (stood) for */
    bool data;          /* its content too, not only its attributes */
    bool added;         /* the name, else it was removed; of an inode: the batch made it */
    uint8_t name_bytes; /* 0: the inode itself */
    uint64_t dir;
    char name[COMMAND_NAME_BYTES + 1];
    struct store_attr attr; /* of the inode itself, after this touch; ino 0: gone */
};

struct store_options {
    const char *dir;      /* DIR/store.db, and DIR/orphans for files unlinked while open */
    uint64_t incarnation; /* the data directory's; must match the database's */
    bool create;          /* make an empty one; otherwise it must be there */
    void *ctx;
    /* Whether this node has the inode open: then its content is kept aside when it goes. */
    bool (*is_open)(void *ctx, uint64_t ino);
    /* A query has met damage (-EUCLEAN), on its thread; NULL: nobody wants to know. */
    void (*on_damage)(void *ctx);
    /* What a batch that queries see now has touched. Apply thread. NULL: nobody wants to know. */
    void (*touched)(void *ctx, const struct store_touched *items, uint32_t count);
};

/*
 * 0, or a negative errno with one line in `why`: -ENOENT, -ESTALE (another incarnation), -EPROTO
 * (another format), -EUCLEAN (corrupt).
 */
int store_open(const struct store_options *options, struct store **out, char why[STORE_WHY_BYTES]);

/* Checkpoints and frees. No query may be running. */
void store_close(struct store *store);

/* ---- Applying ---- */

enum store_entry_kind { STORE_ENTRY_EMPTY = 1, STORE_ENTRY_COMMAND, STORE_ENTRY_CONFIG };

struct store_entry {
    uint64_t index;
    uint64_t term;
    enum store_entry_kind kind;
    const void *data; /* a command, or a configuration kept as it is */
    uint32_t bytes;
};

/* What a command came to; meaningful on the node whose session it is. */
struct store_result {
    uint64_t session; /* COMMAND_SESSION: the number that was granted */
    uint64_t seq;
    uint64_t incarnation; /* of COMMAND_SESSION: whose it is */
    uint64_t boot;
    int status; /* 0 or a negative errno */
    /* Of what was made, changed or found; ino 0 if nothing. After a replay: as it is now. */
    struct store_attr attr;
    uint64_t offset; /* WRITE and CREATE with data: where the data went */
};

/*
 * Applies entries whose indexes follow the applied one without a gap, in one transaction.
 * results[i] belongs to entries[i]; seq 0 where there is nobody to tell. 0 when all of it is
 * visible to queries; a negative errno (-ENOSPC, -EIO) when none of it is: try again. A command
 * that cannot be decoded is applied as a change of nothing, the same on every node.
 */
int store_apply(struct store *store, const struct store_entry *entries, uint32_t count,
                struct store_result *results);

/*
 * Applies one entry without waiting for anybody, as store_apply() would but for the commit: that is
 * store_save()'s, the next batch's, or a query's that needs it. -EAGAIN: this entry at this time is
 * for store_apply(). Another negative errno: nothing happened, and store_apply() tells why.
 */
int store_apply_unsaved(struct store *store, const struct store_entry *entry,
                        struct store_result *result);

bool store_is_saved(const struct store *store); /* any thread, cheap */

/*
 * Commits what is unsaved, if anything, and may wait for a checkpoint. A negative errno (-ENOSPC,
 * -EIO): try again; it stays visible, but for queries that need SQLite, which fail. The thread of
 * store_apply(), or while that cannot run.
 */
int store_save(struct store *store);

/*
 * What was cut off of large files, or removed, is freed in pieces (garbage.h), at any time and by
 * each replica for itself: no query and no entry comes out differently. store_reclaim() frees one,
 * in a transaction of its own, and may wait for a checkpoint. A negative errno (-ENOSPC, -EIO): try
 * again later. Threads: as store_save().
 */
bool store_has_garbage(const struct store *store); /* maybe; any thread, cheap */
int store_reclaim(struct store *store);

uint64_t store_applied_index(const struct store *store); /* any thread, cheap */
uint64_t store_applied_term(const struct store *store);

/* The configuration applied last, its index in *index; NULL if none. The caller unrefs. */
struct buf *store_config(struct store *store, uint64_t *index);

/*
 * What would survive a power cut: the applied index read before the last checkpoint that succeeded.
 * Checkpoints run by themselves on a thread of their own; idle stores are not written to.
 */
uint64_t store_durable_index(const struct store *store);

/*
 * A checkpoint now, waited for: what is applied when it is called is then durable. Any thread. 0 or
 * a negative errno: -EBUSY while somebody reads an old state for long, as a snapshot's copy does.
 */
int store_sync(struct store *store);

/* ---- Queries (any thread) ---- */

/* -ENOENT, -ENOTDIR, -ESTALE (the parent is gone). "." and ".." are resolved too. */
int store_lookup(struct store *store, uint64_t parent, const char *name, size_t name_bytes,
                 struct store_attr *attr);

/* -ESTALE if there is no such inode. Orphans are found too, with nlink 0. */
int store_getattr(struct store *store, uint64_t ino, struct store_attr *attr);

/* The target as a new buffer. -EINVAL if it is no symlink. */
int store_readlink(struct store *store, uint64_t ino, struct buf **target);

/*
 * Bytes [offset, offset + bytes) into `out` and their number in *got (fewer at the end of the
 * file), with the attributes of the same moment. Holes read as zero. -EISDIR, -EINVAL (a symlink).
 */
int store_read(struct store *store, uint64_t ino, uint64_t offset, size_t bytes, void *out,
               size_t *got, struct store_attr *attr);

/*
 * Names of `dir` behind `cookie` (0: from the first), in cookie order, until `each` returns false.
 * A cookie names the same entry for as long as that entry lives. No "." or "..".
 */
typedef bool store_dirent_fn(void *ctx, const char *name, size_t name_bytes, uint64_t cookie,
                             const struct store_attr *attr);
int store_readdir(struct store *store, uint64_t dir, uint64_t cookie, store_dirent_fn *each,
                  void *ctx);

/* The directory's parent (the root's is itself). */
int store_parent(struct store *store, uint64_t dir, uint64_t *parent);

/* Totals, kept up incrementally; consistent with each other. */
struct store_totals {
    uint64_t applied_index;
    uint64_t keys;  /* files and symlinks */
    uint64_t bytes; /* of their content */
    uint64_t inodes;
    uint64_t fingerprint; /* hash of the replicated state at applied_index */
};
void store_totals(struct store *store, struct store_totals *totals); /* never waits for a disk */

/* ---- Orphans: unlinked, but open on this node ---- */

/* Writes to the private copy, as write(2), truncate(2) and fchmod(2) would. -ESTALE: no such one.
 */
int store_orphan_write(struct store *store, uint64_t ino, uint64_t offset, bool append,
                       const void *data, size_t bytes, struct store_attr *attr);
int store_orphan_setattr(struct store *store, const struct command *setattr,
                         struct store_attr *attr);

/* The last local handle is closed: the copy goes. No-op for an inode that is no orphan. */
void store_orphan_release(struct store *store, uint64_t ino);

#endif
