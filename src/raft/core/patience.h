/* SPDX-License-Identifier: MIT */
/*
 * patience.h - how long silence lasts before it means that something is dead.
 *
 * A fixed timeout is wrong twice: on a busy or slow machine the living miss it, and an election
 * makes such a machine busier still; made long enough for that machine, it is too long for all
 * others. So a node remembers the worst silence that was ended by whom it waited for, and waits for
 * twice that:
 *
 *     timeout = base                     as long as no silence was longer than half of it
 *             = 2 * worst silence        of this minute and the one before
 *            <= 4 * base
 *
 * The worst, since a mean that is exceeded once an hour deposes a leader once an hour; twice, since
 * the next one may be worse (TCP's first timeout, and its doubling: RFC 6298); two minutes, so that
 * a start or a backup makes nobody slow for long. A longer silence than half the limit teaches
 * nothing: patience could not bridge it, and it is more likely a partition that has healed. Nor do
 * the first words of a new leader: after a pulled network they come when TCP sends again
 * (election.c).
 *
 * It only ever makes a node wait longer than `base`, and waiting is always safe: elections are safe
 * by terms, quorums and disks, leases by promises with times of their own (lease.c). What it may
 * cost is time, so what it bounds must be live with the limit in place of the base.
 *
 * Pure: the clock comes as an argument. One object for each thing that is waited for.
 */
#ifndef RAFTFS_RAFT_PATIENCE_H
#define RAFTFS_RAFT_PATIENCE_H

#include <stdint.h>

struct patience {
    uint64_t since_us;    /* when the present period began */
    uint64_t worst_us;    /* of the present period */
    uint64_t previous_us; /* the worst of the one before */
};

/* Somebody who was waited for was heard of after so long. */
void patience_learn(struct patience *p, uint64_t silence_us, uint64_t base_us, uint64_t now_us);

/* How long to wait from now on. */
uint64_t patience_timeout_us(const struct patience *p, uint64_t base_us, uint64_t now_us);

#endif
