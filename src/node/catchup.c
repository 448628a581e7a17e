/* SPDX-License-Identifier: MIT */
/*
 * catchup.c - the node's snapshots at work: what is taken cuts the log, what is asked for is
 * served, what this node needs is fetched. Here these parts are tied to the rest of the node.
 *
 *     snapshots.c --index--> compaction.c --> driver      (the log is cut)
 *     driver <--piece-- serving.c <--ask-- driver         (for others)
 *     driver --need, piece--> fetching.c --> apply thread --> store    (for this node)
 */
#include "base/clock.h"
#include "node/internal.h"

static void on_snapshot_taken(void *ctx)
{
    node_wake(ctx);
}

static void on_wake(void *ctx)
{
    node_wake(ctx);
}

static void on_missing(void *ctx, uint64_t min_index)
{
    struct node *n = ctx;
    if (raft_driver_leads(n->driver))
        snapshots_want(n->snapshots, min_index);
}

static void on_damaged(void *ctx)
{
    struct node *n = ctx;
    snapshots_renew(n->snapshots);
}

static void on_received(void *ctx, const struct snapshot *received)
{
    struct node *n = ctx;
    snapshots_received(n->snapshots, received);
}

static void on_replaced(void *ctx, uint64_t index, struct buf *config)
{
    struct node *n = ctx;
    struct mount *mount = n->mount;
    node_adopt_config(n, config);
    compaction_applied(n->compaction, index, 0);
    if (mount)
        mount_tree_replaced(mount);
    barriers_applied(n->barriers, index);
}

/*
 * Entries that the snapshot took the place of are never applied here, so those of this node's
 * changes tell nobody what they came to. Asked again, each gives the result that the snapshot has.
 */
static void on_installed(void *ctx)
{
    struct node *n = ctx;
    changes_resend(n->changes);
}

int node_open_snapshots(struct node *n)
{
    char path[NODE_PATH_BYTES];
    node_path(n, "snapshots", path);
    return snapshots_init(&n->snapshots,
                          &(struct snapshots_options){.store = n->store,
                                                      .dir = path,
                                                      .entries = n->options->snapshot_entries,
                                                      .ctx = n,
                                                      .on_taken = on_snapshot_taken},
                          n->why);
}

void node_open_catchup(struct node *n)
{
    char path[NODE_PATH_BYTES];
    node_path(n, "snapshots", path);
    n->compaction = compaction_init(n->options->snapshot_entries);
    compaction_applied(n->compaction, store_applied_index(n->store), 0);
    n->serving = serving_init(&(struct serving_options){.dir = path,
                                                        .ctx = n,
                                                        .wake = on_wake,
                                                        .on_missing = on_missing,
                                                        .on_damaged = on_damaged});
    n->fetching = fetching_init(&(struct fetching_options){.store = n->store,
                                                           .applier = n->applier,
                                                           .dir = path,
                                                           .self = n->dir.identity.id,
                                                           .ctx = n,
                                                           .wake = on_wake,
                                                           .on_received = on_received,
                                                           .on_replaced = on_replaced,
                                                           .on_installed = on_installed});
}

void node_close_catchup(struct node *n)
{
    serving_close(n->serving);
    fetching_close(n->fetching);
    compaction_close(n->compaction);
}

uint64_t node_pump_catchup(struct node *n, uint64_t now_us)
{
    struct snapshot newest = snapshots_newest(n->snapshots);
    uint64_t durable_index = store_durable_index(n->store);
    struct compaction_needs needs = {.last_needless = newest.index < durable_index ? newest.index
                                                                                   : durable_index,
                                     .snapshot_bytes = newest.bytes};
    serving_pump(n->serving, n->driver);
    uint64_t fetch_us = fetching_pump(n->fetching, n->driver, now_us);
    uint64_t compact_us = compaction_pump(n->compaction, n->driver, &needs, now_us);
    return fetch_us < compact_us ? fetch_us : compact_us;
}

/* ---- What the driver says ---- */

void node_on_need_snapshot(void *ctx, uint64_t index)
{
    struct node *n = ctx;
    fetching_need(n->fetching, index, clock_mono_us());
}

void node_on_snapshot_ask(void *ctx, raft_id from, const struct raft_net_snapshot_ask *ask)
{
    struct node *n = ctx;
    serving_ask(n->serving, from, ask);
}

void node_on_snapshot_piece(void *ctx, raft_id from, const struct raft_net_snapshot_piece *piece,
                            struct buf *data)
{
    struct node *n = ctx;
    fetching_piece(n->fetching, from, piece, data);
}
