/* SPDX-License-Identifier: MIT */
/*
 * vfs.h - page checksums beneath SQLite.
 *
 * A VFS over the system's own that keeps a checksum of every database page in the page's reserved
 * bytes. A page that does not match is never handed to SQLite: the read fails with
 * SQLITE_IOERR_DATA. The write-ahead log carries SQLite's own checksums, which are checked too.
 * The log's index is this process's alone (shm.h).
 */
#ifndef RAFTFS_STORE_VFS_H
#define RAFTFS_STORE_VFS_H

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    VFS_PAGE_BYTES = 4096,
    VFS_RESERVED_BYTES = 8,                         /* at the end of each page: its checksum */
    VFS_LOCK_PAGE = (1 << 30) / VFS_PAGE_BYTES + 1, /* a hole in every database, without one */
};

#define VFS_NAME "raftfs-checksum"

/* Sets the checksum of a page that is written past SQLite; pages are numbered from 1. */
void vfs_seal_page(uint8_t page[VFS_PAGE_BYTES], uint64_t number);

bool vfs_page_is_good(const uint8_t page[VFS_PAGE_BYTES], uint64_t number);

/*
 * While it is on, pages of this connection's database, but for the first, read as zeroes, and those
 * of the write-ahead log as they are: they are about to be overwritten whole, and what they hold
 * need be neither read nor right.
 */
void vfs_set_blind(sqlite3 *db, bool on);

/*
 * From now on, what this connection writes to the database goes at the pace of pace.h, but while
 * `hurry` is set; NULL: at no pace.
 */
void vfs_set_pace(sqlite3 *db, const atomic_bool *hurry);

/* Registers the VFS; once or more, any thread. 0 or -EIO. */
int vfs_register(void);

#endif
