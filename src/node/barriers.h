/* SPDX-License-Identifier: MIT */
/*
 * barriers.h - linearizable looks: one read index for all who ask while one is on its way.
 *
 *     asked -> (in a batch with a token: ReadIndex) -> (the index is applied here) -> looking
 *
 * `done` runs on one of a few query threads, because it goes on with queries of the store, which
 * neither the loop nor the apply thread may wait for.
 *
 * Threads: barriers_submit() and barriers_cancel() any; barriers_applied() whoever applies
 * (applier.h); the rest within turns of the loop. No lock is held while `done` or the driver is
 * called.
 */
#ifndef RAFTFS_NODE_BARRIERS_H
#define RAFTFS_NODE_BARRIERS_H

#include "fuse/backend.h"
#include "node/contact.h"
#include "node/queue.h"
#include "raft/driver.h"

struct barriers;

/* With `local`, a barrier asks nobody: what this replica has now is what is promised. */
struct barriers *barriers_init(struct contact *contact, bool local);
void barriers_close(struct barriers *barriers);

/* Unless SUBMITTED_DONE, barriers_pump() is to be called. */
enum submitted barriers_submit(struct barriers *barriers, struct backend_barrier *barrier);
void barriers_cancel(struct barriers *barriers, struct backend_barrier *barrier);

/*
 * Asks for a read index if somebody waits for one, or if the cluster should be probed; returns the
 * time at which to call again, or UINT64_MAX.
 */
uint64_t barriers_pump(struct barriers *barriers, struct raft_driver *driver, uint64_t now_us);

/* Another leader or term, or the leader's connection came or went: questions may be lost. */
void barriers_resend(struct barriers *barriers);
void barriers_read_done(struct barriers *barriers, uint64_t token, uint64_t index, bool ok);

/* Lets those go whose index is applied; the session number, once there is one, likewise. */
void barriers_applied(struct barriers *barriers, uint64_t index);
void barriers_session_open(struct barriers *barriers);

void barriers_expire(struct barriers *barriers, uint64_t now_us);
bool barriers_pending(struct barriers *barriers);

#endif
