/* SPDX-License-Identifier: MIT */
/*
 * node.c - the only room that knows all three wings.
 *
 *     mount --requests.c--> barriers.c, changes.c, … --> driver (loop thread) --> log, net
 *     store <--queries-- mount                     applier.c <-- committed entries
 *
 * Turns of the loop move all of it (turns.c). Start-up is a ladder (directory, listening, log and
 * store, threads, joining, mount) and the way down is its mirror image, so that each part finds
 * what it stands on. A node whose log or store is damaged goes down all the way, starts over, and
 * comes up again.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/report.h"
#include "node/damage.h"
#include "node/internal.h"

/* ---- What the driver says ---- */

static void on_apply(void *ctx, const struct raft_entry *entries, uint32_t count)
{
    struct node *n = ctx;
    applier_add(n->applier, entries, count);
}

static bool on_stamp(void *ctx, struct buf *payload)
{
    (void)ctx;
    return command_stamp(payload, clock_real_ns());
}

static void on_read_done(void *ctx, uint64_t token, uint64_t index, bool ok)
{
    struct node *n = ctx;
    barriers_read_done(n->barriers, token, index, ok);
}

static bool on_frees_space(void *ctx, const struct buf *payload)
{
    (void)ctx;
    return command_frees_space(payload);
}

static void on_forward_done(void *ctx, uint64_t seq, uint32_t count,
                            enum raft_net_forward_status status)
{
    struct node *n = ctx;
    changes_forwarded(n->changes, seq, count, status, clock_mono_us());
}

static void on_change_done(void *ctx, uint64_t seq, enum raft_refusal refusal)
{
    struct node *n = ctx;
    members_change_done(n->members, seq, refusal, clock_mono_us());
}

void node_damaged(void *ctx)
{
    struct node *n = ctx;
    if (atomic_exchange(&n->damaged, true))
        return;
    report_error("what the disk of this node holds is damaged: it stops, to start over");
    kill(getpid(), SIGTERM);
}

/* What has been sent may be lost. */
static void resend(struct node *n)
{
    changes_resend(n->changes);
    barriers_resend(n->barriers);
}

static void on_peer_changed(void *ctx, raft_id peer)
{
    struct node *n = ctx;
    if (peer == raft_driver_leader(n->driver))
        resend(n);
    fetching_peer_changed(n->fetching, peer);
    struct mount *mount = n->mount;
    if (mount)
        mount_state_changed(mount);
}

static void on_changed(void *ctx)
{
    struct node *n = ctx;
    struct raft_driver_status *status = memory_alloc(sizeof(*status));
    raft_driver_status(n->driver, status);
    if (status->leader != n->seen_leader || status->term != n->seen_term) {
        n->seen_leader = status->leader;
        n->seen_term = status->term;
        resend(n);
        contact_leader(&n->contact, status->leader != 0, clock_mono_us());
    }
    memory_free(status);
    struct mount *mount = n->mount;
    if (mount)
        mount_state_changed(mount);
}

/* ---- What whoever applies says ---- */

static void on_result(void *ctx, const struct store_result *result)
{
    struct node *n = ctx;
    bool had_session = changes_session(n->changes) != 0;
    if (!changes_applied(n->changes, result))
        return;
    if (!had_session && changes_session(n->changes))
        barriers_session_open(n->barriers);
    node_wake(n);
}

static void on_applied(void *ctx, uint64_t index, uint64_t log_bytes)
{
    struct node *n = ctx;
    barriers_applied(n->barriers, index);
    snapshots_applied(n->snapshots, index, log_bytes);
    compaction_applied(n->compaction, index, log_bytes);
    if (atomic_exchange(&n->settle_wanted, false))
        node_wake(n);
}

/* ---- Up and down ---- */

static int init_driver(struct node *n)
{
    struct raft_driver_callbacks callbacks = {.ctx = n,
                                              .apply = on_apply,
                                              .stamp = on_stamp,
                                              .read_done = on_read_done,
                                              .frees_space = on_frees_space,
                                              .forward_done = on_forward_done,
                                              .change_done = on_change_done,
                                              .removed = node_on_removed,
                                              .damaged = node_damaged,
                                              .need_snapshot = node_on_need_snapshot,
                                              .snapshot_ask = node_on_snapshot_ask,
                                              .snapshot_piece = node_on_snapshot_piece,
                                              .peer_changed = on_peer_changed,
                                              .changed = on_changed,
                                              .settled = node_settle,
                                              .invite = node_on_invite,
                                              .claim = node_on_claim};
    node_init_loop(n);
    struct raft_net_identity identity = n->dir.identity;
    memcpy(identity.address, n->options->address, sizeof(identity.address));
    return raft_driver_init(&n->driver, &n->loop, &identity, &callbacks, n->why);
}

static void init_requests(struct node *n)
{
    contact_init(&n->contact, n->options->timeout_ms * 1000ull, clock_mono_us());
    n->changes = changes_init(&n->contact, n->dir.identity.id, n->dir.boot);
    n->barriers = barriers_init(&n->contact, n->options->local_reads);
    n->applier = applier_init(&(struct applier_options){.store = n->store,
                                                        .ctx = n,
                                                        .on_result = on_result,
                                                        .on_config = node_on_config,
                                                        .on_damage = node_damaged,
                                                        .on_applied = on_applied});
    n->handover = handover_init(n->options->timeout_ms * 1000ull);
    n->members = members_init(n->options->timeout_ms * 1000ull);
    node_open_catchup(n);
}

static void on_unmounted(void *ctx)
{
    (void)ctx;
    kill(getpid(), SIGTERM);
}

static int open_mount(struct node *n, const struct backend *backend)
{
    struct mount_options options = {.mountpoint = n->options->mountpoint,
                                    .fuse_options = n->options->fuse_options,
                                    .cache_names = n->options->local_reads,
                                    .special_hidden = n->options->special_hidden,
                                    .no_spin = n->options->no_spin,
                                    .backend = backend,
                                    .on_unmounted = on_unmounted,
                                    .ctx = n};
    struct mount *mount = NULL;
    int status = mount_open(&options, &mount, n->why);
    n->mount = mount;
    if (mount)
        mount_tree_replaced(mount); /* it was not told of what was touched meanwhile */
    return status;
}

static void serve(struct node *n, void (*on_serving)(void *ctx), void *ctx)
{
    sigset_t signals;
    int signal = 0;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    if (!n->served)
        on_serving(ctx);
    n->served = true;
    report_info("serves %s", n->options->mountpoint);
    sigwait(&signals, &signal);
    report_info("stops");
}

static enum datadir_state state_of(struct node *n)
{
    pthread_mutex_lock(&n->dir_lock);
    enum datadir_state state = n->dir.state;
    pthread_mutex_unlock(&n->dir_lock);
    return state;
}

/* From the loop's thread on up: everything that may run only while it does. */
static int run_threads(struct node *n, void (*on_serving)(void *ctx), void *ctx)
{
    struct backend backend = node_backend(n);
    node_adopt_stored_config(n);
    bool asks = joining_start(&n->joining, n->driver, &n->dir.identity, n->options->join,
                              n->dir.peers, !n->options->nonvoter);
    node_start_loop(n);
    int status = 0;
    if (asks && state_of(n) == DATADIR_JOINING)
        status = joining_await_answer(&n->joining, n->why);
    if (status == 0)
        status = open_mount(n, &backend);
    if (status == 0) {
        serve(n, on_serving, ctx);
        snapshots_stop(n->snapshots); /* nobody is to wait for one any more */
        mount_close(n->mount);
    }
    node_stop_loop(n);
    return status == 0 && state_of(n) == DATADIR_REMOVED ? -ENOTCONN : status;
}

static void close_requests(struct node *n)
{
    applier_close(n->applier);
    if (n->mount)
        mount_free(n->mount); /* now that neither the loop nor the apply thread calls it */
    n->mount = NULL;
    node_close_catchup(n);
    handover_close(n->handover);
    members_close(n->members);
    barriers_close(n->barriers);
    changes_close(n->changes);
}

static int run(struct node *n, void (*on_serving)(void *ctx), void *ctx)
{
    int status = init_driver(n);
    if (status == 0)
        status = node_open_directory(n);
    if (status == 0)
        status = node_open_snapshots(n);
    if (status == 0) {
        init_requests(n);
        status = node_start_driver(n);
        if (status == 0)
            status = run_threads(n, on_serving, ctx);
        close_requests(n);
    }
    if (n->snapshots)
        snapshots_close(n->snapshots);
    node_close_loop(n);
    if (n->store)
        store_close(n->store);
    return status;
}

/* One life of the node on its directory, whose state it hands back; *damaged: it is to start over.
 */
static int live(struct datadir *dir, const struct node_options *options, bool *served,
                bool *damaged, void (*on_serving)(void *ctx), void *ctx, char why[NODE_WHY_BYTES])
{
    struct node *n = memory_zalloc(sizeof(*n));
    n->options = options;
    n->why = why;
    n->started_us = clock_mono_us();
    n->dir = *dir;
    n->served = *served;
    pthread_mutex_init(&n->dir_lock, NULL);
    joining_init(&n->joining);
    int status = run(n, on_serving, ctx);
    *dir = n->dir;
    *served = n->served;
    *damaged = n->damaged && dir->state != DATADIR_REMOVED;
    joining_close(&n->joining);
    pthread_mutex_destroy(&n->dir_lock);
    memory_free(n);
    return status;
}

int node_run(const struct node_options *options, void (*on_serving)(void *ctx), void *ctx,
             char why[NODE_WHY_BYTES])
{
    /* Every thread inherits this: signals are for sigwait() alone. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);

    struct datadir dir;
    bool served = false, damaged;
    why[0] = '\0';
    int status = datadir_open(&dir, options->data_dir, options->name, options->address,
                              options->join != NULL, why);
    if (status < 0)
        return status;
    do {
        status = live(&dir, options, &served, &damaged, on_serving, ctx, why);
        if (damaged && status < 0)
            report_error("%s", why);
        if (damaged)
            status = damage_start_over(&dir, options, why);
    } while (damaged && status == 0);
    datadir_close(&dir);
    return status;
}
