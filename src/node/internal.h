/* SPDX-License-Identifier: MIT */
/* internal.h - the running node, for node.c and those who have its parts (turns.c, requests.c, …).
 */
#ifndef RAFTFS_NODE_INTERNAL_H
#define RAFTFS_NODE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <uv.h>

#include "fuse/mount.h"
#include "node/applier.h"
#include "node/barriers.h"
#include "node/changes.h"
#include "node/compaction.h"
#include "node/datadir.h"
#include "node/fetching.h"
#include "node/handover.h"
#include "node/joining.h"
#include "node/members.h"
#include "node/node.h"
#include "node/serving.h"
#include "node/snapshots.h"

enum { NODE_PATH_BYTES = 4096 };

struct node {
    const struct node_options *options;
    char *why;
    uint64_t started_us;

    struct datadir dir;
    pthread_mutex_t dir_lock; /* the loop and the apply thread both change its state */
    atomic_bool claimed;      /* a cluster that we are not in calls us its member */

    /* turns.c; `turn` guards all that the loop's thread uses. */
    pthread_mutex_t turn;
    uv_loop_t loop;
    uv_async_t wake;
    uv_timer_t housekeeping;
    pthread_t loop_thread;
    uint64_t seen_commit_index; /* its thread looks out, or not, for a while after each commit */
    uint64_t awake_until_us;
    uint64_t asleep_until_us;
    uint64_t waits_until_ms; /* the loop's thread, if nothing happens; on the loop's clock */
    bool loop_ended;         /* it holds nothing of the driver's any more */

    struct raft_driver *driver;
    struct store *store;
    struct contact contact;
    struct changes *changes;
    struct barriers *barriers;
    struct applier *applier;
    struct handover *handover;
    struct members *members;
    struct snapshots *snapshots;
    struct compaction *compaction;
    struct serving *serving;
    struct fetching *fetching;
    struct mount *_Atomic mount;
    uint64_t seen_term;
    raft_id seen_leader;
    atomic_bool settle_wanted; /* the loop waits for the apply thread */
    atomic_bool joined;        /* it has just become a member */
    atomic_bool damaged;       /* log or store: it ends, to start over */
    bool served;

    struct joining joining;

    atomic_bool stopping;
    uint64_t hand_over_until_us;
    bool closing;
};

/* The table of requests.c; any thread may use it while the loop's runs. */
struct backend node_backend(struct node *node);

/* belonging.c: raft_driver_callbacks.removed, invite, claim; applier_options.on_config. */
void node_on_removed(void *ctx, const char *by_name);
bool node_on_invite(void *ctx, const struct raft_net_invitation *invitation,
                    struct raft_net_join *self, char why[RAFT_NET_WHY_BYTES]);
enum raft_net_claim node_on_claim(void *ctx, uint64_t cluster, raft_id from, const char *from_name,
                                  const char *from_address, raft_id expected_id);
void node_on_config(void *ctx, const struct raft_entry *entry);

/* This configuration, encoded or NULL, is in force by what the store holds. Any thread. */
void node_adopt_config(struct node *node, const struct buf *encoded);

/* The same of the one that the store holds. */
void node_adopt_stored_config(struct node *node);

/*
 * Log or store cannot be read any more: the node ends, and starts over (damage.h). Any thread.
 */
void node_damaged(void *ctx);

/* The path of a file in the data directory. */
void node_path(const struct node *node, const char *name, char path[NODE_PATH_BYTES]);

/* ---- opening.c ---- */

/* Log and store of the node's directory. 0, or a negative errno with n->why. */
int node_open_directory(struct node *node);

/* Recovers the log and starts the core on it, behind what the store has; likewise. */
int node_start_driver(struct node *node);

/* ---- catchup.c ---- */

int node_open_snapshots(struct node *node);
void node_open_catchup(struct node *node);
void node_close_catchup(struct node *node);
/* Goes on; returns when to call again. The loop's thread. */
uint64_t node_pump_catchup(struct node *node, uint64_t now_us);

/* raft_driver_callbacks.need_snapshot, snapshot_ask, snapshot_piece. */
void node_on_need_snapshot(void *ctx, uint64_t index);
void node_on_snapshot_ask(void *ctx, raft_id from, const struct raft_net_snapshot_ask *ask);
void node_on_snapshot_piece(void *ctx, raft_id from, const struct raft_net_snapshot_piece *piece,
                            struct buf *data);

/* ---- turns.c ---- */

void node_init_loop(struct node *node);
void node_start_loop(struct node *node);

/* Hands leadership over, closes the driver and joins the thread. */
void node_stop_loop(struct node *node);

/* Closes what it holds still, the driver too, if the thread did not. */
void node_close_loop(struct node *node);

/*
 * Sends on whatever can move now: raft_driver_callbacks.settled; or within a turn.
 */
void node_settle(void *ctx);

/* Has the loop do so. Any thread. */
void node_wake(struct node *node);

/*
 * The same at once, on this thread, unless somebody is at it: for a request with which nothing else
 * is on its way. Any thread that holds no lock which a request's `done` takes.
 */
void node_take_turn(struct node *node);

#endif
