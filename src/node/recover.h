/* SPDX-License-Identifier: MIT */
/*
 * recover.h - a cluster of one out of the survivor of a lost majority.
 *
 * The last resort: what the lost members had acknowledged without this one is gone. The cluster
 * gets a new id, so that none of them, should it turn up after all, can be mixed with what goes on
 * here; they join anew, with empty directories. Nothing is done to a directory in use, and doing it
 * twice is harmless.
 */
#ifndef RAFTFS_NODE_RECOVER_H
#define RAFTFS_NODE_RECOVER_H

#include "node/node.h"

/* `name` may be empty: whosever directory it is. 0, or a negative errno with a line in `why`. */
int node_recover(const char *data_dir, const char *name, char why[NODE_WHY_BYTES]);

#endif
