/* SPDX-License-Identifier: MIT */
/*
 * changes.h - this node's proposals, from the mount's request until they are applied here.
 *
 *     asked -> (a session, room in the window) -> sealed with a sequence number -> sent to the
 * leader
 *           -> applied, which answers it
 *
 * A change is sent again whenever its last copy may have been lost (another leader or term, a
 * broken connection); the store applies it once all the same, by session and sequence number.
 * Copies that left this node are counted: with none, a failure is -EROFS (nothing happened), else
 * -ETIMEDOUT. One that is refused for want of room on disks fails at once with -ENOSPC, unless a
 * copy of it may be in some log; removals are sent apart, so that they pass.
 *
 * A change that was given up is no longer awaited, so the next one's lowest_awaited mark is above
 * it and the store will ignore it should it still arrive: it never lands after a later one.
 *
 * Threads: changes_submit(), changes_cancel() and changes_session() any; changes_applied() whoever
 * applies (applier.h); the rest within turns of the loop. No lock is held while `done` or the
 * driver is called.
 */
#ifndef RAFTFS_NODE_CHANGES_H
#define RAFTFS_NODE_CHANGES_H

#include "fuse/backend.h"
#include "node/contact.h"
#include "node/queue.h"
#include "raft/driver.h"

struct changes;

struct changes *changes_init(struct contact *contact, uint64_t incarnation, uint64_t boot);
void changes_close(struct changes *changes);

/* Unless SUBMITTED_DONE, changes_pump() is to be called. */
enum submitted changes_submit(struct changes *changes, struct backend_change *change);
void changes_cancel(struct changes *changes, struct backend_change *change);
uint64_t changes_session(struct changes *changes);

/* Takes no more changes: they fail with -EROFS. */
void changes_refuse(struct changes *changes);

/* Sends what can be sent; returns the time at which to call again, or UINT64_MAX. */
uint64_t changes_pump(struct changes *changes, struct raft_driver *driver, uint64_t now_us);

/* Another leader or term, or the leader's connection came or went: copies may be lost. */
void changes_resend(struct changes *changes);

/* The leader has appended, or refused, `count` changes from `seq` on. */
void changes_forwarded(struct changes *changes, uint64_t seq, uint32_t count,
                       enum raft_net_forward_status status, uint64_t now_us);

/* Fails what is overdue. */
void changes_expire(struct changes *changes, uint64_t now_us);

/* A command was applied. True if the session was opened by it, or room came free that is needed. */
bool changes_applied(struct changes *changes, const struct store_result *result);

bool changes_pending(struct changes *changes);

#endif
