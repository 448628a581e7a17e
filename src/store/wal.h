/* SPDX-License-Identifier: MIT */
/*
 * wal.h - checks pages that are read back from SQLite's write-ahead log.
 *
 * SQLite sums up each frame when it writes it and checks the sums when it recovers, but not when it
 * reads: a page that the disk or the memory has changed since would be served, and moved into the
 * database with a good checksum. So the VFS checks the frame of every page that is read.
 *
 *     header   32 bytes   …, salts, checksum of the header
 *     frame    24 bytes   page number, pages in the database (of a commit, else 0), salts,
 *                         checksum of this and all frames before it
 *              4096 bytes the page
 *
 * A frame's sum goes on from the one that stands in front of it, so it is checked with that one
 * alone. Only the frames of a transaction that is under way may disagree: SQLite writes over them
 * in place and sums them up again when it commits. They are the writer's, who alone reads them;
 * what is known about them stands in a struct wal_watch beside its file.
 *
 * Threads: as the file's.
 */
#ifndef RAFTFS_STORE_WAL_H
#define RAFTFS_STORE_WAL_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/vfs.h"

enum {
    WAL_FRAME_HEADER_BYTES = 24,
    WAL_FRAME_BYTES = WAL_FRAME_HEADER_BYTES + VFS_PAGE_BYTES,
};

struct wal_watch {
    int64_t unsettled; /* from this frame on sums may not be right yet */
    int64_t headed;    /* the frame whose header was written last */
};

void wal_watch_init(struct wal_watch *w);

/* This has been written to the file. */
void wal_watch_write(struct wal_watch *w, const uint8_t *data, int bytes, int64_t offset);

/* Which frame's page, or header, such a read or write is for, from 0; -1: it is none. */
int64_t wal_frame_of_page(int bytes, int64_t offset);
int64_t wal_frame_of_header(int bytes, int64_t offset);

/* Whether the frame with this header is the last one of a transaction. */
bool wal_frame_commits(const uint8_t header[WAL_FRAME_HEADER_BYTES]);

/* Whether the frame's sum has to be right: it is none of the transaction under way. */
bool wal_is_settled(const struct wal_watch *w, int64_t frame);

/* Reads the page of a settled frame. SQLITE_IOERR_DATA: it is not what was written there. */
int wal_read_page(sqlite3_file *file, int64_t frame, uint8_t page[VFS_PAGE_BYTES]);

#endif
