/* SPDX-License-Identifier: MIT */
/*
 * snapshot.h - consistent copies of the store, each one SQLite file.
 *
 *     DIR/snapshots/TERM-INDEX.db     whole, synced; sqlite3 opens it
 *     DIR/snapshots/new               being made
 *     DIR/snapshots/incoming-...      being received (snapshot_sink.h)
 *
 * A copy is made page by page inside one read transaction of SQLite: it shows one applied index
 * while applying goes on beside it. It is written as `new`, synced and renamed, so that under its
 * name it is always whole. What it holds is told by the row `state` in it; the name only says it to
 * people. Pages bear the checksums of vfs.h. It belongs to no data directory (incarnation 0) and
 * has a random id of its own: two nodes that copy the same state make two different files.
 *
 * A copy must not make writers wait for the disk: it goes at the pace of pace.h. It starts over if
 * a whole other state is installed meanwhile.
 */
#ifndef RAFTFS_STORE_SNAPSHOT_H
#define RAFTFS_STORE_SNAPSHOT_H

#include <stdatomic.h>

#include "store/store.h"

enum { SNAPSHOT_KEPT = 2, SNAPSHOT_NAME_BYTES = 96 };

#define SNAPSHOT_NEW "new"

struct snapshot {
    uint64_t id;   /* random; 0: made by a program that gave none */
    uint64_t term; /* of the entry applied last */
    uint64_t index;
    uint64_t bytes;
    int64_t made_ns; /* since the epoch */
    char name[SNAPSHOT_NAME_BYTES];
};

/*
 * Makes `dir` and removes what was left half made. The whole ones go into `out`, newest first;
 * others are reported and left alone. Their number, or a negative errno with `why`.
 */
int snapshot_open_dir(const char *dir, struct snapshot out[SNAPSHOT_KEPT],
                      char why[STORE_WHY_BYTES]);

/*
 * Takes one of what is applied now, and removes all but the newest SNAPSHOT_KEPT. Waits for the
 * disk; one thread at a time. 0; -ECANCELED once *cancel is set; or a negative errno (-ENOSPC,
 * -EIO, -EUCLEAN), reported.
 */
int snapshot_take(struct store *store, const char *dir, const atomic_bool *cancel,
                  struct snapshot *out);

#endif
