/* SPDX-License-Identifier: MIT */
/* offline.h - what recover.c and restore.c do to the directory of a node that does not run. */
#ifndef RAFTFS_NODE_OFFLINE_H
#define RAFTFS_NODE_OFFLINE_H

#include "node/datadir.h"
#include "node/node.h"

/*
 * Makes this node the one voter of a cluster whose state is what its log and store hold. With
 * `create` the log is made, behind the store. 0 or a negative errno with a line in `why`.
 */
int offline_stand_alone(const struct datadir *dir, bool create, char why[NODE_WHY_BYTES]);

/* datadir_save(), with a line in `why` when it fails. */
int offline_save(const struct datadir *dir, char why[NODE_WHY_BYTES]);

#endif
