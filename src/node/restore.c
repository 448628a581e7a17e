/* SPDX-License-Identifier: MIT */
#include "node/restore.h"

#include <errno.h>

#include "base/report.h"
#include "node/datadir.h"
#include "node/offline.h"
#include "store/install.h"

static int restore(struct datadir *dir, const char *snapshot_path, char why[NODE_WHY_BYTES])
{
    int status = store_restore(snapshot_path, dir->path, dir->identity.id, why);
    if (status == 0)
        status = offline_stand_alone(dir, true, why);
    if (status == 0)
        status = offline_save(dir, why);
    if (status < 0)
        (void)datadir_clear(dir);
    return status;
}

int node_restore(const char *snapshot_path, const struct node_options *o, char why[NODE_WHY_BYTES])
{
    struct datadir dir;
    int status = datadir_open_empty(&dir, o->data_dir, o->name, o->address, why);
    if (status < 0)
        return status;
    status = restore(&dir, snapshot_path, why);
    if (status == 0)
        report_warn("%s is the directory of node %s now, a cluster of its own with what %s holds. "
                    "Start it with -id %s -addr %s -data %s, and others with empty -data "
                    "directories and -join %s",
                    o->data_dir, o->name, snapshot_path, o->name, o->address, o->data_dir,
                    o->address);
    datadir_close(&dir);
    return status;
}
