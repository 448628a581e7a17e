/* SPDX-License-Identifier: MIT */
/*
 * members.h - changes of the cluster's members that somebody wrote to .raft/members.
 *
 * One order at a time is worked on, the oldest. Each turn compares what it wants with the
 * configuration as this node knows it, and asks the leader for the next change that is missing,
 * until nothing is missing and all of it is committed. Asking twice is harmless, so a lost question
 * or a new leader costs a moment only.
 *
 * A member is known by the incarnation of its data directory, which only its own process can tell.
 * So before one is added, whoever listens at its address is asked to introduce itself; a node that
 * waits to join, under the name that was given, does. What is not carried out is reported.
 *
 * Threads: the loop's. No lock is held while `done` or the driver is called.
 */
#ifndef RAFTFS_NODE_MEMBERS_H
#define RAFTFS_NODE_MEMBERS_H

#include "node/orders.h"
#include "raft/driver.h"

struct members;

struct members *members_init(uint64_t timeout_us);
void members_close(struct members *members);

/*
 * Where orders are put, and taken back: any thread. BACKEND_ORDER_REMOVE, or BACKEND_ORDER_MEMBER
 * or _ADD with a text of words: an address (it has a colon), `voter` or `nonvoter`.
 */
struct orders *members_orders(struct members *members);

/* This node, `self`, is no member any more: it can carry out nothing, and learn of nothing. */
void members_removed(struct members *members, const char *self);

/* Asks, and answers; returns the time at which to call again, or UINT64_MAX. */
uint64_t members_pump(struct members *members, struct raft_driver *driver, uint64_t now_us);

/* raft_driver_callbacks.change_done. */
void members_change_done(struct members *members, uint64_t seq, enum raft_refusal refusal,
                         uint64_t now_us);

#endif
