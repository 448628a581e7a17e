/* SPDX-License-Identifier: MIT */
/*
 * restore.h - the first node of a new cluster, out of a snapshot file.
 *
 * The tree is the snapshot's; everything else is new: the cluster, this node's incarnation, and the
 * log, which begins behind the snapshot with a configuration of one voter. Members of the cluster
 * that the snapshot comes from are strangers here, and can go on beside it.
 *
 * The identity is written last: a directory where this was cut short is nobody's, and says so.
 */
#ifndef RAFTFS_NODE_RESTORE_H
#define RAFTFS_NODE_RESTORE_H

#include "node/node.h"

/*
 * Makes options->data_dir, which must be empty, the directory of options->name at options->address.
 * 0, or a negative errno with a line in `why`, and the directory as empty as it was.
 */
int node_restore(const char *snapshot_path, const struct node_options *options,
                 char why[NODE_WHY_BYTES]);

#endif
