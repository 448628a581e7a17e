/* SPDX-License-Identifier: MIT */
#include "node/recover.h"

#include <errno.h>
#include <stdio.h>

#include "base/report.h"
#include "node/datadir.h"
#include "node/offline.h"

static int recover(struct datadir *dir, char why[NODE_WHY_BYTES])
{
    if (dir->state != DATADIR_MEMBER) {
        snprintf(why, NODE_WHY_BYTES,
                 "node %s has never become a member: there is nothing to recover in %s",
                 dir->identity.name, dir->path);
        return -EINVAL;
    }
    int status = offline_stand_alone(dir, false, why);
    if (status < 0)
        return status;
    dir->identity.cluster = datadir_draw();
    dir->peers[0] = '\0';
    return dir->identity.cluster ? offline_save(dir, why) : -EIO;
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
