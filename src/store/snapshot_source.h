/* SPDX-License-Identifier: MIT */
/*
 * snapshot_source.h - a snapshot of this node, read in pieces for another one.
 *
 * The file is held open: it can be read to its end even if a newer snapshot pushes it out of the
 * directory meanwhile. Each page is checked before it is handed out, so that rot stays here.
 *
 * Threads: any, one at a time for each source. All but the info wait for the disk.
 */
#ifndef RAFTFS_STORE_SNAPSHOT_SOURCE_H
#define RAFTFS_STORE_SNAPSHOT_SOURCE_H

#include "store/snapshot.h"

struct snapshot_source;

/*
 * The newest snapshot in `dir` with this id (0: any) and an index of at least `min_index`. 0,
 * -ENOENT if there is none, or another negative errno.
 */
int snapshot_source_open(struct snapshot_source **out, const char *dir, uint64_t id,
                         uint64_t min_index);

const struct snapshot *snapshot_source_info(const struct snapshot_source *source);

/*
 * Bytes [offset, offset + bytes), which are whole pages and lie within the file (else -EINVAL). 0,
 * -EUCLEAN (a page does not match its checksum; reported) or another negative errno.
 */
int snapshot_source_read(struct snapshot_source *source, uint64_t offset, uint32_t bytes,
                         void *out);

void snapshot_source_close(struct snapshot_source *source);

#endif
