/* SPDX-License-Identifier: MIT */
/*
 * joining.h - makes this node, or its new address, known to the cluster.
 *
 * The request is repeated until the node is a member under its address. A first refusal reaches
 * whoever started the node; a later one ends it.
 *
 * Threads: the one that starts the node; the answers arrive on the loop's.
 */
#ifndef RAFTFS_NODE_JOINING_H
#define RAFTFS_NODE_JOINING_H

#include <pthread.h>

#include "raft/driver.h"

struct joining {
    pthread_mutex_t lock; /* guards the two below */
    pthread_cond_t answered;
    int status; /* -1: no answer yet; else enum raft_net_join_status */
    char why[RAFT_NET_WHY_BYTES];
    uint64_t reported_us;
};

void joining_init(struct joining *joining);
void joining_close(struct joining *joining);

/*
 * Asks at `join` and at `peers` (addresses with commas between them, or NULL) and at the members in
 * the log; false: there is nothing to ask, or nobody. Call it before the loop's thread runs.
 */
bool joining_start(struct joining *joining, struct raft_driver *driver,
                   const struct raft_net_identity *self, const char *join, const char *peers,
                   bool voter);

/* Waits a few seconds for the first answer. -EEXIST with `why`: it is a refusal. */
int joining_await_answer(struct joining *joining, char why[RAFT_DRIVER_WHY_BYTES]);

#endif
