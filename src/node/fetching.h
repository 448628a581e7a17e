/* SPDX-License-Identifier: MIT */
/*
 * fetching.h - gets a snapshot from another member, and puts it in the store's place.
 *
 * The leader's log no longer has what this node needs next, says the core, again with each
 * heartbeat. A snapshot then comes in pieces, from whichever member has it:
 *
 *     IDLE --need--> LOOKING --nothing here--> ASKING --first answer--> RECEIVING --all-->
 * INSTALLING ^                | a part is here -------------------------------^   | ^  | | | a
 * whole one is here ------------------------------|------------------+  | | ASKING <-- nobody has
 * it ----+                     |
 *      +----- installed, failed (again after a pause), or not needed any more -------------------+
 *
 *     LOOKING     what earlier tries have left in DIR/snapshots is worth something
 *     ASKING      any snapshot at or above what is needed: the leader first, then the others in
 * turn RECEIVING   one piece at a time of one snapshot, known by its id, from any member that has
 * it. What has come outlives a lost connection, a dead sender and this process INSTALLING  applying
 * pauses; the apply thread, when idle, puts the snapshot in the store's place; then the core's log
 * starts over behind it
 *
 * Nothing has a time limit as a whole: a large snapshot takes as long as it takes, and a second try
 * would take no less. What is limited is silence. An answer that stays away for NO_ANSWER_US sends
 * the ask to the next member; a member that lacks this snapshot does so at once; when nobody has
 * it, or no piece came for NO_PROGRESS_US while the leader's log has moved beyond it, another one
 * is asked for. What fails here (a full disk) is tried again after a pause. A need that is not
 * repeated is none any more. So each state is left by an answer, by the disk, or by time.
 *
 * Threads: disk work runs on one thread of its own, installing on the apply thread; all functions
 * are the loop's.
 */
#ifndef RAFTFS_NODE_FETCHING_H
#define RAFTFS_NODE_FETCHING_H

#include "node/applier.h"
#include "raft/driver.h"
#include "store/snapshot.h"

struct fetching;

struct fetching_options {
    struct store *store;
    struct applier *applier;
    const char *dir; /* DIR/snapshots */
    raft_id self;
    void *ctx;
    void (*wake)(void *ctx); /* call fetching_pump() on the loop's thread */
    /* A whole one has come into the directory. */
    void (*on_received)(void *ctx, const struct snapshot *received);
    /* The store's state is the snapshot's, with this newest configuration. The apply thread. */
    void (*on_replaced)(void *ctx, uint64_t index, struct buf *config);
    /* And the driver knows. */
    void (*on_installed)(void *ctx);
};

struct fetching *fetching_init(const struct fetching_options *options);

/* Call it once the apply thread has ended. */
void fetching_close(struct fetching *fetching);

/* The leader's log begins behind index. Said again as long as that helps. */
void fetching_need(struct fetching *fetching, uint64_t index, uint64_t now_us);

/* An answer; the reference passes over. */
void fetching_piece(struct fetching *fetching, raft_id from,
                    const struct raft_net_snapshot_piece *piece, struct buf *data);

/* What has been asked of this member may be lost. */
void fetching_peer_changed(struct fetching *fetching, raft_id peer);

/* Goes on; returns when to call again, UINT64_MAX if only news can bring more. */
uint64_t fetching_pump(struct fetching *fetching, struct raft_driver *driver, uint64_t now_us);

#endif
