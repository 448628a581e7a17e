/* SPDX-License-Identifier: MIT */
/*
 * damage.h - a node whose log or store is damaged takes its own place anew.
 *
 * What such a node had promised may be lost with what is damaged, so it must not vote or
 * acknowledge as the member that it was. It becomes another one: the other members are asked to let
 * a new incarnation replace the old one; once a leader has committed that, log and store are set
 * aside and the directory is a joining one's, which gets everything from the others. Without such
 * an answer nothing is touched: the damaged files may be all that is left.
 */
#ifndef RAFTFS_NODE_DAMAGE_H
#define RAFTFS_NODE_DAMAGE_H

#include "node/datadir.h"
#include "node/node.h"

/*
 * Waits some seconds for the others; no loop or thread of the node may be running. 0: `dir` can be
 * started again. -EUCLEAN: it cannot, and is as it was; `why` says what to do.
 */
int damage_start_over(struct datadir *dir, const struct node_options *options,
                      char why[NODE_WHY_BYTES]);

#endif
