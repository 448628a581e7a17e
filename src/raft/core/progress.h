/* SPDX-License-Identifier: MIT */
/*
 * progress.h - what the leader knows of one member's log.
 *
 *     PROBE      one append in flight, `next` is a guess; an answer moves it
 *     REPLICATE  appends are sent ahead of their answers, within a window of messages and bytes
 *     SNAPSHOT   what it needs next is no longer in the log (snapshot.c); nothing is sent
 *
 * A refusal, silence or a lost connection leads from REPLICATE back to PROBE. Any append may get
 * lost on the way to the wire, without a word, so both have a way out that needs nothing but the
 * answers to heartbeats: REPLICATE goes back to PROBE when it has seen no progress for a while, and
 * PROBE sends again. How long a while is depends on how long answers have taken: on a busy machine
 * they are often only late, and the same megabyte over and over makes them later still (dqlite
 * #276). For the same reason an answer that brings no news makes nothing leave.
 *
 * The window is in bytes as well as in messages because a limit by count alone runs out of memory
 * on large entries (etcd #7162).
 */
#ifndef RAFTFS_RAFT_PROGRESS_H
#define RAFTFS_RAFT_PROGRESS_H

#include "raft/raft.h"

struct progress_flight {
    uint64_t last_index;
    uint64_t sent_us;
    uint32_t bytes;
};

enum progress_state { PROGRESS_PROBE, PROGRESS_REPLICATE, PROGRESS_SNAPSHOT };

struct progress {
    raft_id id;
    enum progress_state state;
    uint64_t match;
    uint64_t commit_told;    /* the highest commit index it was sent */
    uint64_t next;           /* the next index to send */
    bool probe_sent;         /* PROBE: wait for the answer, or until it is time to try again */
    uint32_t probe_tries;    /* unanswered ones in a row */
    uint64_t probe_us;       /* when the last one was sent, */
    uint64_t probe_pause_us; /* and how long it is given */
    uint64_t latency_us;     /* how long appends have taken to be answered, lately at the longest */
    uint64_t contact_us;     /* of its last answer in this term; 0: none */
    struct raft_disk_state disk; /* as it said then */
    uint64_t round;              /* the newest heartbeat round it echoed */
    uint64_t granted_until_us;   /* until then nothing commits without it (grant.c) */
    uint64_t asked_us;           /* when it asked last, and took grants; 0: not */
    uint64_t progress_us;    /* when match last moved, or later, if there was nothing to wait for */
    uint64_t catch_up_index; /* learner: the end of this round of catching up (thesis 4.2.1) */
    uint64_t catch_up_since_us;
    uint32_t catch_up_rounds;
    bool caught_up;
    uint32_t head;
    uint32_t count;
    uint64_t bytes;
    struct progress_flight flights[RAFT_MAX_INFLIGHT];
};

void progress_reset(struct progress *p, raft_id id, uint64_t next, uint64_t now_us);
void progress_probe(struct progress *p, uint64_t next);
void progress_replicate(struct progress *p); /* from right behind match on */
void progress_snapshot(struct progress *p);
bool progress_has_room(const struct progress *p);
void progress_sent(struct progress *p, uint64_t last_index, uint32_t bytes, uint64_t now_us);

/*
 * The member has answered a heartbeat, so messages get through: what has been unanswered for too
 * long was lost. `pause_us` is the least time that an append is given.
 */
void progress_retry(struct progress *p, uint64_t pause_us, uint64_t now_us);

/* Forgets how well it kept pace. */
void progress_restart_catching_up(struct progress *p);

/* All up to match is durable there; true if that is news. */
bool progress_matched(struct progress *p, uint64_t match, uint64_t now_us);

#endif
