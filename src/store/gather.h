/* SPDX-License-Identifier: MIT */
/*
 * gather.h - writes the frames of a transaction to SQLite's write-ahead log together.
 *
 * SQLite hands the VFS each frame in two writes, its header and its page. Here they are held until
 * the frame that commits is whole, and then written by one call.
 *
 * Threads: as the file's.
 */
#ifndef RAFTFS_STORE_GATHER_H
#define RAFTFS_STORE_GATHER_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gather {
    uint8_t *held; /* NULL until something is: most files are only read */
    size_t held_bytes;
    int64_t at;   /* where they belong */
    int64_t end;  /* behind the last frame that was ever given */
    bool commits; /* the frame held last commits */
};

void gather_init(struct gather *g);
void gather_free(struct gather *g); /* what is held was never committed, and goes */

/* Each gives SQLite's result code; after an error nothing is held. */
int gather_write(struct gather *g, sqlite3_file *file, const uint8_t *data, int bytes,
                 int64_t offset);
int gather_flush(struct gather *g, sqlite3_file *file);

#endif
