/* SPDX-License-Identifier: MIT */
/*
 * What is held, when it must be written, and why nobody misses it:
 *
 * Only new frames are held: a header at or behind the end of all that was written since the log
 * began, and the page that follows it. SQLite appends each frame of a transaction so. What it
 * writes elsewhere (pages and sums of its own transaction over again, the log's header, the first
 * frames after a rollback) goes straight through, behind what is held.
 *
 * - The page of the frame that commits (the one whose header names a size of the database) writes
 *   all of it out. That is the last frame which a transaction appends, and SQLite tells the readers
 *   of its frames, in the shared index, only after that write has succeeded. Whatever it still does
 *   before, it does to earlier frames or by another call. So other connections, each with a file of
 *   its own that knows nothing of what is held here, never look for it: they read, check and
 *   checkpoint what the index shows, and one who makes the index anew takes no frame for committed
 *   that no commit follows.
 * - An error (a full disk) comes out of that same write, and SQLite rolls the transaction back as
 *   if the frame alone had failed. A spill that finds no room fails likewise, by the write that
 *   finds the buffer full, or by the read of what was spilled. What could not be written is
 *   forgotten: the next transaction writes at the same place.
 * - The connection itself may look at its own frames again, or sync, or cut the file: whatever else
 *   is done with the file writes out what is held first (vfs.c).
 * - If the process dies, the log lacks frames that were not committed.
 */
#include "store/gather.h"

#include <string.h>

#include "base/memory.h"
#include "store/wal.h"

/* Less than 128 KiB: SQLite's own VFS for Unix takes the length of a write modulo that. */
enum { MOST_FRAMES = 31, HELD_BYTES = MOST_FRAMES * WAL_FRAME_BYTES };

void gather_init(struct gather *g)
{
    *g = (struct gather){.end = 0};
}

void gather_free(struct gather *g)
{
    memory_free(g->held);
    gather_init(g);
}

int gather_flush(struct gather *g, sqlite3_file *file)
{
    int bytes = (int)g->held_bytes;
    g->held_bytes = 0;
    return bytes ? file->pMethods->xWrite(file, g->held, bytes, g->at) : SQLITE_OK;
}

static bool follows(const struct gather *g, int64_t offset)
{
    return g->held_bytes && offset == g->at + (int64_t)g->held_bytes;
}

static void hold(struct gather *g, const uint8_t *data, int bytes, int64_t offset)
{
    if (!g->held)
        g->held = memory_alloc(HELD_BYTES);
    if (!g->held_bytes)
        g->at = offset;
    memcpy(g->held + g->held_bytes, data, (size_t)bytes);
    g->held_bytes += (size_t)bytes;
}

static int write_header(struct gather *g, sqlite3_file *file, const uint8_t *data, int64_t offset)
{
    int rc = SQLITE_OK;
    if (!follows(g, offset) || g->held_bytes == HELD_BYTES)
        rc = gather_flush(g, file);
    if (rc != SQLITE_OK)
        return rc;
    hold(g, data, WAL_FRAME_HEADER_BYTES, offset);
    g->commits = wal_frame_commits(data);
    g->end = offset + WAL_FRAME_BYTES;
    return SQLITE_OK;
}

int gather_write(struct gather *g, sqlite3_file *file, const uint8_t *data, int bytes,
                 int64_t offset)
{
    if (wal_frame_of_header(bytes, offset) >= 0 && offset >= g->end)
        return write_header(g, file, data, offset);
    if (wal_frame_of_page(bytes, offset) >= 0 && follows(g, offset)) {
        hold(g, data, bytes, offset);
        return g->commits ? gather_flush(g, file) : SQLITE_OK;
    }
    int rc = gather_flush(g, file);
    if (offset == 0)
        g->end = 0; /* the log begins anew */
    return rc == SQLITE_OK ? file->pMethods->xWrite(file, data, bytes, offset) : rc;
}
