/* SPDX-License-Identifier: MIT */
/*
 * schema.h - the tables of store.db, and making or checking them.
 *
 *     meta      what never changes: format version, incarnation (0: nobody's yet, as in a snapshot)
 *     progress  how far applying got: the state, sessions and results, each in a row with a slot
 *     config    the configuration that was applied last, as the log holds it
 *     inode     attributes; `dotdot` is a directory's parent; `head` is the content's first chunk,
 *               as long as that has no more than TREE_HEAD_BYTES
 *     body      all other content of files and symlinks, a chunk of STORE_CHUNK_BYTES a row
 *     garbage   which rows of `body` are nothing any more, and are still to be freed (garbage.h)
 *     dentry    (parent, name) -> inode; `cookie` orders a directory for readdir and never changes
 *     snapshot  only in a snapshot: its id
 *
 * What a small change rewrites lies together, because each batch costs the pages that it touches:
 * an inode with its small content on one, all of a batch's progress on another. What the parts mean
 * is shown by views, which are not for the busy:
 *
 *     state     applied index and term, the last stamp, counters, totals, fingerprint; slot 0
 *     session   (incarnation, boot), and the lowest sequence number that it still waits for
 *     result    what a session's commands came to, for the ones that are sent again
 *     chunk     all content; a missing row or tail reads as zeroes
 *     content   body; what is not `live` is garbage. For the busy, too
 *
 * Format 2 has neither garbage nor `content`. A store of that format is given them when it is
 * opened, a snapshot when it is made a store.
 */
#ifndef RAFTFS_STORE_SCHEMA_H
#define RAFTFS_STORE_SCHEMA_H

#include <stdint.h>

#include "store/sql.h"
#include "store/store.h"

enum { SCHEMA_FORMAT = 3, SCHEMA_OLDEST_FORMAT = 2 };

/* Makes the tables in an empty database. 0 or a negative errno. */
int schema_create(struct sql *sql, uint64_t incarnation);

struct schema_meta {
    uint64_t format;
    uint64_t incarnation;
    uint64_t snapshot_id; /* 0: no snapshot */
};

/* 0 or a negative errno: -EUCLEAN, if it is no store at all. */
int schema_read_meta(struct sql *sql, struct schema_meta *meta);

bool schema_is_known(uint64_t format);

/*
 * 0; -EPROTO (an unknown format), -ESTALE (another incarnation), other errors; with why. A store
 * that is nobody's yet is claimed, one of an older format brought to this one.
 */
int schema_check(struct sql *sql, const char *path, uint64_t incarnation,
                 char why[STORE_WHY_BYTES]);

/*
 * The database is this data directory's from now on, no snapshot, and of this format. 0 or a
 * negative errno.
 */
int schema_claim(struct sql *sql, uint64_t incarnation);

/* The database is a snapshot from now on, and nobody's. 0 or a negative errno. */
int schema_make_snapshot(struct sql *sql, uint64_t id);

#endif
