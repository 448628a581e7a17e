/* SPDX-License-Identifier: MIT */
/*
 * vfs.h - page checksums beneath SQLite.
 *
 * A VFS over the system's own that keeps a checksum of every database page in the page's reserved
 * bytes. A page that does not match is never handed to SQLite: the read fails with
 * SQLITE_IOERR_DATA. The write-ahead log carries SQLite's own checksums, which recovery checks.
 */
#ifndef RAFTFS_STORE_VFS_H
#define RAFTFS_STORE_VFS_H

#include <stdint.h>

enum {
    VFS_PAGE_BYTES = 4096,
    VFS_RESERVED_BYTES = 8, /* at the end of each page: its checksum */
};

#define VFS_NAME "raftfs-checksum"

/* Sets the checksum of a page that is written past SQLite; pages are numbered from 1. */
void vfs_seal_page(uint8_t page[VFS_PAGE_BYTES], uint64_t number);

/* Registers the VFS; once or more, any thread. 0 or -EIO. */
int vfs_register(void);

#endif
