/* SPDX-License-Identifier: MIT */
/*
 * snapshot_dir.h - what lies in DIR/snapshots, for those who take, send and receive snapshots.
 */
#ifndef RAFTFS_STORE_SNAPSHOT_DIR_H
#define RAFTFS_STORE_SNAPSHOT_DIR_H

#include "store/snapshot.h"
#include "store/sql.h"
#include "store/tree.h"

enum { SNAPSHOT_PATH_BYTES = 4096, SNAPSHOT_MOST_LISTED = 64 };

void snapshot_path(char path[SNAPSHOT_PATH_BYTES], const char *dir, const char *name);

/* What the file holds, by its own word. 0 or a negative errno: -EUCLEAN, -EPROTO (another format).
 */
int snapshot_look(const char *path, struct snapshot *out);

/* All that can be read, newest first: their number or a negative errno. Others are reported. */
int snapshot_list(const char *dir, struct snapshot out[SNAPSHOT_MOST_LISTED]);

/*
 * Gives the whole and synced file `made` in `dir` the name of the snapshot that it is, and removes
 * those that are not kept any more. `s` has id, term and index; the rest is filled in.
 */
int snapshot_publish(const char *dir, const char *made, struct snapshot *s);

#endif
