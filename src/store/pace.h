/* SPDX-License-Identifier: MIT */
/*
 * pace.h - how much is copied at once, so that no writer waits for it.
 *
 * Whoever moves a whole state over this node's disk works in pieces: each one is synced, so that no
 * heap of dirty pages stands before the log's next sync, and then the disk is the others' for as
 * long as the piece took.
 */
#ifndef RAFTFS_STORE_PACE_H
#define RAFTFS_STORE_PACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { PACE_PIECE_BYTES = 512 * 1024 };

/* Rests as long as it is since then. */
void pace_rest(uint64_t since_us);

/*
 * Writes what is dirty of the file's first bytes to its disk in such pieces, so that little is left
 * for the sync that is to follow; not to the end once `hurry` is set. Errors are the sync's to
 * find.
 */
void pace_write_back(int fd, int64_t bytes, const atomic_bool *hurry);

#endif
