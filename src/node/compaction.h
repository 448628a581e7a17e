/* SPDX-License-Identifier: MIT */
/*
 * compaction.h - how far the log is cut.
 *
 * An entry may go once a snapshot holds it and the store has it on disk. Not all that may go does:
 *
 *     the newest entries stay, as many as lie between two snapshots, or less where they are large:
 *         a member that was away for a moment catches up from the log, which is cheaper
 *     a leader keeps what a member lacks that answers: it is on its way, perhaps with a snapshot in
 *         its hands, and cutting would send it back to the start, again and again
 *     a leader keeps what a member lacks that has just gone silent, for a minute and some
 * snapshots' worth: it may be restarting
 *
 * The last two only as long as the log is small, or no larger than a snapshot, which must travel
 * while it grows: a member that never catches up must not fill the others' disks.
 *
 * Threads: compaction_applied() whoever applies (applier.h), the others the loop's.
 */
#ifndef RAFTFS_NODE_COMPACTION_H
#define RAFTFS_NODE_COMPACTION_H

#include "raft/driver.h"

struct compaction;

enum { COMPACTION_KEPT_ENTRIES = 10000 };

/* Keeps the newest `entries` (0: COMPACTION_KEPT_ENTRIES). */
struct compaction *compaction_init(uint64_t entries);
void compaction_close(struct compaction *compaction);

/* Up to index is applied; those entries took log_bytes in the log. */
void compaction_applied(struct compaction *compaction, uint64_t index, uint64_t log_bytes);

struct compaction_needs {
    uint64_t last_needless;  /* nothing on this node needs the entries up to here */
    uint64_t snapshot_bytes; /* of the newest */
};

/*
 * Cuts what may go. Looks at once when last_needless has changed, else now and then. Returns when
 * to call again, UINT64_MAX if only news can bring more.
 */
uint64_t compaction_pump(struct compaction *compaction, struct raft_driver *driver,
                         const struct compaction_needs *needs, uint64_t now_us);

#endif
