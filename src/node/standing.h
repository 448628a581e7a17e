/* SPDX-License-Identifier: MIT */
/*
 * standing.h - where the store stands when the core starts, and how it is brought to where the log
 * begins if it stands before that.
 *
 * Thread: the one that starts the node.
 */
#ifndef RAFTFS_NODE_STANDING_H
#define RAFTFS_NODE_STANDING_H

#include "raft/driver.h"
#include "store/store.h"

struct standing {
    struct store *store;
    const char *dir; /* the data directory */
    char log_dir[4096];
    struct raft_driver_start start; /* for the driver; points here */
};

void standing_init(struct standing *standing, struct store *store, const char *dir);
void standing_close(struct standing *standing);

#endif
