/* SPDX-License-Identifier: MIT */
/*
 * schema.h - the tables of store.db, and making or checking them.
 *
 *     meta     what never changes: format version, incarnation
 *     state    one row, rewritten by every batch: applied index and term, the last stamp, counters,
 *              totals, fingerprint
 *     config   the configuration that was applied last, as the log holds it
 *     inode    attributes; `dotdot` is a directory's parent
 *     dentry   (parent, name) -> inode; `cookie` orders a directory for readdir and never changes
 *     chunk    content of files and symlinks, STORE_CHUNK_BYTES a row; a missing row or tail reads
 *              as zeroes
 *     session  (incarnation, boot), and the lowest sequence number that it still waits for
 *     result   what a session's commands came to, for the ones that are sent again
 */
#ifndef RAFTFS_STORE_SCHEMA_H
#define RAFTFS_STORE_SCHEMA_H

#include <stdint.h>

#include "store/sql.h"
#include "store/store.h"

enum { SCHEMA_FORMAT = 1 };

/* Makes the tables in an empty database. 0 or a negative errno. */
int schema_create(struct sql *sql, uint64_t incarnation);

/* 0; -EPROTO (newer format, or not ours), -ESTALE (another incarnation), other errors; with why. */
int schema_check(struct sql *sql, const char *path, uint64_t incarnation,
                 char why[STORE_WHY_BYTES]);

#endif
