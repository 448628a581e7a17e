/* SPDX-License-Identifier: MIT */
/*
 * node.h - one running node: consensus, store and mount, put together.
 */
#ifndef RAFTFS_NODE_H
#define RAFTFS_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "raft/raft.h"

enum { NODE_WHY_BYTES = 512 };

struct node_options {
    char name[RAFT_NAME_BYTES];
    char address[RAFT_ADDRESS_BYTES];
    const char *join;         /* HOST:PORT[,HOST:PORT...], or NULL */
    const char *data_dir;     /* absolute */
    const char *mountpoint;   /* absolute */
    const char *fuse_options; /* what -o holds for FUSE itself */
    bool nonvoter;
    bool local_reads; /* consistency=local */
    bool special_hidden;
    bool no_lease; /* the leader asks the others before each read */
    bool no_spin;  /* its threads sleep whenever they wait (base/spin.h) */
    uint32_t timeout_ms;
    uint64_t snapshot_entries; /* applied until the next snapshot; 0: none by itself */
};

/*
 * Runs a node on the calling thread and those it makes, until SIGTERM, SIGINT or an unmount.
 * on_serving is called once the mount answers. Returns 0 after a clean end, or a negative errno
 * with a line in `why`. Call it once a process, with no other thread running.
 */
int node_run(const struct node_options *options, void (*on_serving)(void *ctx), void *ctx,
             char why[NODE_WHY_BYTES]);

#endif
