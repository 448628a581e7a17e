/* SPDX-License-Identifier: MIT */
/*
 * opening.c - a node's log and store: made where its directory is new, else opened as they are.
 *
 * What is found damaged is only noted here (node.damaged): whether the node may start over is for
 * damage.c to say, once nothing of it runs any more.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "node/internal.h"
#include "node/standing.h"

enum { FOUNDING_LISTEN_MS = 2 * RAFT_NET_REDIAL_MS }; /* members redial within half of it */

void node_path(const struct node *n, const char *name, char path[NODE_PATH_BYTES])
{
    snprintf(path, NODE_PATH_BYTES, "%s/%s", n->dir.path, name);
}

/* ---- The store ---- */

static bool is_open(void *ctx, uint64_t ino)
{
    struct node *n = ctx;
    struct mount *mount = n->mount;
    return mount && mount_is_open(mount, ino);
}

/* As long as the others are no majority, what this node still has is worth more. */
static void on_damaged_query(void *ctx)
{
    struct node *n = ctx;
    struct raft_driver_status *status = memory_alloc(sizeof(*status));
    raft_driver_status(n->driver, status);
    bool replaceable = status->quorum && status->member_count > 1;
    memory_free(status);
    if (replaceable)
        node_damaged(n);
}

static void on_touched(void *ctx, const struct store_touched *items, uint32_t count)
{
    struct node *n = ctx;
    struct mount *mount = n->mount;
    if (mount)
        mount_touched(mount, items, count);
}

static int open_store(struct node *n, bool create)
{
    struct store_options options = {.dir = n->dir.path,
                                    .incarnation = n->dir.identity.id,
                                    .create = create,
                                    .ctx = n,
                                    .is_open = is_open,
                                    .on_damage = on_damaged_query,
                                    .touched = on_touched};
    return store_open(&options, &n->store, n->why);
}

/* ---- A new directory ---- */

static void on_listened(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

/*
 * A new cluster's first node listens before it founds: a peer that claims it means that its data
 * directory was lost, and founding would split the cluster in two under one name.
 */
static int listen_for_claims(struct node *n)
{
    uv_timer_start(&n->housekeeping, on_listened, FOUNDING_LISTEN_MS, 0);
    while (uv_is_active((uv_handle_t *)&n->housekeeping) && !n->claimed)
        uv_run(&n->loop, UV_RUN_ONCE);
    uv_timer_stop(&n->housekeeping);
    return n->claimed ? -EEXIST : 0;
}

/* Makes log and store of a directory that has none yet; also again, where that was cut short. */
static int make_directory(struct node *n)
{
    char path[NODE_PATH_BYTES];
    bool founding = n->dir.state == DATADIR_FOUNDING;
    node_path(n, "log", path);
    if (founding && n->options->nonvoter) {
        snprintf(n->why, NODE_WHY_BYTES,
                 "a new cluster's first node votes: name a member with -join, or leave -nonvoter "
                 "out");
        return -EINVAL;
    }
    int status = founding ? listen_for_claims(n) : 0;
    if (status < 0)
        return status;
    status = datadir_clear(&n->dir);
    if (status < 0) {
        snprintf(n->why, NODE_WHY_BYTES, "%s cannot be cleared: %s", n->dir.path,
                 strerror(-status));
        return status;
    }
    status = founding ? raft_driver_found(path, &n->dir.identity, n->why)
                      : raft_driver_make_log(path, n->dir.identity.id, n->why);
    return status < 0 ? status : open_store(n, true);
}

/* ---- Any directory ---- */

/* Log and store, made where the directory is new. */
int node_open_directory(struct node *n)
{
    const struct node_options *o = n->options;
    bool unmade = n->dir.state == DATADIR_FOUNDING ||
                  (n->dir.state == DATADIR_JOINING && n->dir.identity.cluster == 0);
    int status = unmade ? make_directory(n) : open_store(n, false);
    if (!unmade && (status == -EUCLEAN || status == -ENOENT))
        n->damaged = true;
    if (status < 0)
        return status;
    bool moved = strcmp(n->dir.identity.address, o->address) != 0;
    if (n->dir.state == DATADIR_FOUNDING || moved) {
        memcpy(n->dir.identity.address, o->address, sizeof(o->address));
        if (n->dir.state == DATADIR_FOUNDING)
            n->dir.state = DATADIR_MEMBER;
        status = datadir_save(&n->dir);
        if (status < 0)
            snprintf(n->why, NODE_WHY_BYTES, "%s/identity cannot be written: %s", n->dir.path,
                     strerror(-status));
    }
    return status;
}

int node_start_driver(struct node *n)
{
    struct standing standing;
    standing_init(&standing, n->store, n->dir.path);
    standing.start.lease = !n->options->no_lease;
    barriers_applied(n->barriers, standing.start.applied_index);
    int status = raft_driver_start(n->driver, &standing.start, n->why);
    if (status == -EUCLEAN)
        n->damaged = true;
    barriers_applied(n->barriers, standing.start.applied_index); /* it may have been moved on */
    standing_close(&standing);
    return status;
}
