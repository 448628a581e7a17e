/* SPDX-License-Identifier: MIT */
/*
 * handover.h - leadership to a member that somebody named.
 *
 * Whoever leads is asked, again and again, until this node hears the named member lead. Proposals
 * wait meanwhile and fail no one: the leader refuses them before they are appended, and they go to
 * its successor.
 *
 * Threads: the loop's. No lock is held while `done` or the driver is called.
 */
#ifndef RAFTFS_NODE_HANDOVER_H
#define RAFTFS_NODE_HANDOVER_H

#include "node/orders.h"
#include "raft/driver.h"

struct handover;

struct handover *handover_init(uint64_t timeout_us);
void handover_close(struct handover *handover);

/* Where orders are put, and taken back: any thread. order->name is the member's. */
struct orders *handover_orders(struct handover *handover);

/* Asks, and answers; returns the time at which to call again, or UINT64_MAX. */
uint64_t handover_pump(struct handover *handover, struct raft_driver *driver, uint64_t now_us);

#endif
