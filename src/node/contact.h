/* SPDX-License-Identifier: MIT */
/*
 * contact.h - since when this node has been cut off, and what that means for a request.
 *
 * A deadline runs from when contact was lost, not from when a request was made: otherwise requests
 * that queue behind each other's directory locks would each wait the full time in turn. Contact is
 * lost while no leader is known, and while there is work but no progress. Pure; the loop's thread,
 * save contact_refuses() and contact_progress(), which any thread may call.
 */
#ifndef RAFTFS_NODE_CONTACT_H
#define RAFTFS_NODE_CONTACT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct contact {
    uint64_t timeout_us;
    atomic_uint_fast64_t no_leader_since_us; /* 0: a leader is known */
    atomic_uint_fast64_t
        progress_us;     /* the last time that the cluster answered, or a leader was found */
    atomic_bool stalled; /* a leader is known, but requests have timed out since it answered last */
};

void contact_init(struct contact *contact, uint64_t timeout_us, uint64_t now_us);
void contact_progress(struct contact *contact, uint64_t now_us);

/* Another leader, or none. One that was found, or took over, deserves a full timeout. */
void contact_leader(struct contact *contact, bool known, uint64_t now_us);

/*
 * The oldest request that still waits was made at asked_us: if the cluster has answered nothing for
 * the timeout since, all that wait fail, and new ones at once, until there is progress again.
 */
void contact_watch(struct contact *contact, uint64_t asked_us, uint64_t now_us);

/* Whether a request must fail now: contact is lost, or it has starved while others were served. */
bool contact_expired(const struct contact *contact, uint64_t asked_us, uint64_t now_us);

/* Whether a new request must fail at once. */
bool contact_refuses(const struct contact *contact, uint64_t now_us);

#endif
