/* SPDX-License-Identifier: MIT */
/*
 * progress.h - what the leader knows of one member's log.
 *
 *     PROBE      one append in flight, `next` is a guess; an answer moves it
 *     REPLICATE  appends are sent ahead of their answers, within a window of messages and bytes
 *
 * A refusal, silence or a lost connection leads back to PROBE. The window is in bytes as well as in
 * messages because a limit by count alone runs out of memory on large entries (etcd #7162).
 */
#ifndef RAFTFS_RAFT_PROGRESS_H
#define RAFTFS_RAFT_PROGRESS_H

#include "raft/raft.h"

struct progress_flight {
    uint64_t last_index;
    uint32_t bytes;
};

struct progress {
    raft_id id;
    uint64_t match;
    uint64_t commit_told; /* the highest commit index it was sent */
    uint64_t next;        /* the next index to send */
    bool replicating;
    bool probe_sent;         /* PROBE: wait for the answer, or for the next heartbeat's */
    uint64_t contact_us;     /* of its last answer in this term; 0: none */
    uint64_t round;          /* the newest heartbeat round it echoed */
    uint64_t progress_us;    /* when match last moved, or there was nothing to wait for */
    uint64_t catch_up_index; /* learner: the end of this round of catching up (thesis 4.2.1) */
    uint64_t catch_up_since_us;
    bool caught_up;
    uint32_t head;
    uint32_t count;
    uint64_t bytes;
    struct progress_flight flights[RAFT_MAX_INFLIGHT];
};

void progress_reset(struct progress *p, raft_id id, uint64_t next, uint64_t now_us);
void progress_probe(struct progress *p, uint64_t next);
bool progress_has_room(const struct progress *p);
void progress_sent(struct progress *p, uint64_t last_index, uint32_t bytes);

/* All up to match is durable there; true if that is news. */
bool progress_matched(struct progress *p, uint64_t match, uint64_t now_us);

#endif
