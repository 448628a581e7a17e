/* SPDX-License-Identifier: MIT */
#include "node/offline.h"

#include <stdio.h>
#include <string.h>

#include "node/standing.h"

/* Nothing can be open on a node that does not run. */
static bool is_open(void *ctx, uint64_t ino)
{
    (void)ctx;
    (void)ino;
    return false;
}

int offline_stand_alone(const struct datadir *dir, bool create, char why[NODE_WHY_BYTES])
{
    struct standing standing;
    struct store *store = NULL;
    struct store_options options = {
        .dir = dir->path, .incarnation = dir->identity.id, .is_open = is_open};
    int status = store_open(&options, &store, why);
    if (status < 0)
        return status;
    standing_init(&standing, store, dir->path);
    if (create)
        status = raft_driver_make_log(standing.log_dir, dir->identity.id, why);
    if (status == 0)
        status = raft_driver_recover(&standing.start, &dir->identity, why);
    standing_close(&standing);
    store_close(store);
    return status;
}

int offline_save(const struct datadir *dir, char why[NODE_WHY_BYTES])
{
    int status = datadir_save(dir);
    if (status < 0)
        snprintf(why, NODE_WHY_BYTES, "%s/identity cannot be written: %s", dir->path,
                 strerror(-status));
    return status;
}
