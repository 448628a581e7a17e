/* SPDX-License-Identifier: MIT */
/*
 * tree.h - the three trees of a mount, told apart by the inode number.
 *
 *     below 2^62           the replicated tree: FUSE's nodeid is the store's inode number
 *     bit 62 set           .raft/local: the same tree as this replica has it, without asking anyone
 *     bit 63 set           special files and directories, which no node replicates
 *
 * Numbers are never reused, so a nodeid needs no table and no generation.
 */
#ifndef RAFTFS_FUSE_TREE_H
#define RAFTFS_FUSE_TREE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "store/store.h"

#define TREE_LOCAL   ((uint64_t)1 << 62)
#define TREE_SPECIAL ((uint64_t)1 << 63)

static inline bool tree_is_special(uint64_t nodeid)
{
    return nodeid & TREE_SPECIAL;
}

static inline bool tree_is_local(uint64_t nodeid)
{
    return !tree_is_special(nodeid) && (nodeid & TREE_LOCAL);
}

/* Whether `name` in the root is one of ours, which nobody creates, renames or removes. */
static inline bool tree_is_reserved(uint64_t parent, const char *name)
{
    return parent == STORE_ROOT_INO && (strcmp(name, ".status") == 0 ||
                                        strcmp(name, ".leader") == 0 || strcmp(name, ".raft") == 0);
}

/* Why `name` in `parent` cannot be created, changed or removed: a negative errno, or 0. */
static inline int tree_refusal(uint64_t parent, const char *name)
{
    if (tree_is_special(parent) || tree_is_reserved(parent, name))
        return -EPERM;
    return tree_is_local(parent) ? -EROFS : 0;
}

#endif
