/* SPDX-License-Identifier: MIT */
#include "node/recover.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/report.h"
#include "node/datadir.h"
#include "node/standing.h"
#include "store/store.h"

/* Nothing can be open on a node that does not run. */
static bool is_open(void *ctx, uint64_t ino)
{
    (void)ctx;
    (void)ino;
    return false;
}

static int recover_log(const struct datadir *dir, char why[NODE_WHY_BYTES])
{
    struct standing standing;
    struct store *store = NULL;
    struct store_options options = {
        .dir = dir->path, .incarnation = dir->identity.id, .is_open = is_open};
    int status = store_open(&options, &store, why);
    if (status < 0)
        return status;
    standing_init(&standing, store, dir->path);
    status = raft_driver_recover(&standing.start, &dir->identity, why);
    standing_close(&standing);
    store_close(store);
    return status;
}

static int recover(struct datadir *dir, char why[NODE_WHY_BYTES])
{
    uint64_t cluster;
    if (dir->state != DATADIR_MEMBER) {
        snprintf(why, NODE_WHY_BYTES,
                 "node %s has never become a member: there is nothing to recover in %s",
                 dir->identity.name, dir->path);
        return -EINVAL;
    }
    int status = recover_log(dir, why);
    if (status < 0)
        return status;
    if (getrandom(&cluster, sizeof(cluster), 0) != sizeof(cluster))
        return -EIO;
    dir->identity.cluster = cluster | 1; /* never 0 */
    status = datadir_save(dir);
    if (status < 0)
        snprintf(why, NODE_WHY_BYTES, "%s/identity cannot be written: %s", dir->path,
                 strerror(-status));
    return status;
}

int node_recover(const char *data_dir, const char *name, char why[NODE_WHY_BYTES])
{
    struct datadir dir;
    int status = datadir_open_existing(&dir, data_dir, name, why);
    if (status < 0)
        return status;
    status = recover(&dir, why);
    if (status == 0)
        report_warn("node %s is a cluster of its own now. What the lost members had acknowledged "
                    "without it is gone. Start it with -id %s -addr %s -data %s, and the others "
                    "with empty -data directories and -join %s",
                    dir.identity.name, dir.identity.name, dir.identity.address, data_dir,
                    dir.identity.address);
    datadir_close(&dir);
    return status;
}
