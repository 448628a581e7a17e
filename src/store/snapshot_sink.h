/* SPDX-License-Identifier: MIT */
/*
 * snapshot_sink.h - a snapshot of another node, received in pieces.
 *
 *     DIR/snapshots/incoming-ID-TERM-INDEX-BYTES     what has come so far, always from the start on
 *
 * Pieces are written in order, each page checked first and each piece synced, so that no heap of
 * dirty pages stands before the log's next sync. What is there survives the process: whoever opens
 * a sink for the same snapshot goes on behind the last page that is good. Whole and checked, the
 * file gets a snapshot's name, and is one from then on.
 *
 * Threads: any, one sink at a time for each directory. All but the offset wait for the disk.
 */
#ifndef RAFTFS_STORE_SNAPSHOT_SINK_H
#define RAFTFS_STORE_SNAPSHOT_SINK_H

#include "store/snapshot.h"

struct snapshot_sink;

/*
 * What an earlier try left in `dir`: its id, index, term and bytes. 0, -ENOENT if there is nothing,
 * or another negative errno.
 */
int snapshot_sink_left(const char *dir, struct snapshot *out);

/*
 * A sink for the snapshot with this id, index, term and bytes: goes on with what an earlier try
 * left of the same one, and removes what is left of any other. 0 or a negative errno.
 */
int snapshot_sink_open(struct snapshot_sink **out, const char *dir, const struct snapshot *what);

/* Where the next piece goes. */
uint64_t snapshot_sink_offset(const struct snapshot_sink *sink);

/*
 * Adds a piece: whole pages at the sink's offset (else -EINVAL). 0; -EUCLEAN: a page does not match
 * its checksum, nothing was written, the piece can be had again; or another negative errno, as
 * -ENOSPC.
 */
int snapshot_sink_write(struct snapshot_sink *sink, uint64_t offset, const void *data,
                        uint32_t bytes);

/*
 * All of it has come: makes it a snapshot in `dir` and tells about it. Older ones that are not kept
 * any more go. 0; -EINVAL: not all of it is there; -EUCLEAN: it is not the snapshot that was
 * announced (reported; to be discarded); or another negative errno. The sink is to be closed or
 * discarded in any case.
 */
int snapshot_sink_finish(struct snapshot_sink *sink, struct snapshot *out);

/* Keeps what has come. */
void snapshot_sink_close(struct snapshot_sink *sink);

/* Removes what has come. */
void snapshot_sink_discard(struct snapshot_sink *sink);

#endif
