/* SPDX-License-Identifier: MIT */
/*
 * raft.h - consensus as a function of events: the whole public surface of src/raft/core/.
 *
 *     raft_step(raft, event, effects)
 *
 * The core is a deterministic state machine. It has no clock, no I/O, no threads, no heap and no
 * errno: everything it knows arrives in an event, everything it wants done leaves as an effect, and
 * the same events give the same effects. driver.c runs it on a libuv loop; the simulator runs many
 * of it in virtual time.
 *
 * The core sees an entry as (index, term, kind, bytes). Payloads belong to whoever runs the core,
 * save those of configuration entries, which the core reads itself.
 *
 * Order of carrying out the effects of one step: first attach payloads to the appended range, then
 * hand over the write, then the sends, then the rest. Writes are carried out in the order in which
 * they were given, and answered (RAFT_PERSISTED) in that order too. A send whose `after_write` is
 * not yet durable is held back until that write's RAFT_PERSISTED has been stepped; one that was
 * held back when the process died is lost, which is safe.
 *
 * Ownership: the caller owns the memory of struct raft and of effects; pointers in an event are
 * read during the step only. Thread: one at a time.
 */
#ifndef RAFTFS_RAFT_H
#define RAFTFS_RAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RAFT_MAX_VOTERS = 9,
    RAFT_MAX_MEMBERS = 64,
    RAFT_MAX_INFLIGHT = 64,                       /* unanswered appends a peer */
    RAFT_NAME_BYTES = 64,                         /* with the NUL */
    RAFT_ADDRESS_BYTES = 128,                     /* HOST:PORT, with the NUL */
    RAFT_MAX_ENTRY_BYTES = 1100 * 1024,           /* one payload: 1,044,480 of data and its frame */
    RAFT_MAX_APPEND_ENTRIES = 512,                /* one append message */
    RAFT_MAX_APPEND_BYTES = RAFT_MAX_ENTRY_BYTES, /* one append message, payloads only */
    RAFT_MAX_INFLIGHT_BYTES = 4 * 1024 * 1024,    /* a peer */
    RAFT_MAX_UNCOMMITTED_BYTES = 16 * 1024 * 1024,
    RAFT_MAX_PROPOSE = 512,            /* entries in one RAFT_PROPOSE */
    RAFT_MAX_SENDS = 256,              /* messages in one step's effects */
    RAFT_MAX_READS = 256,              /* read tokens outstanding on one node */
    RAFT_MAX_CONFIG_BYTES = 16 * 1024, /* an encoded configuration */
    RAFT_CLOCK_DRIFT = 4,              /* no clock is faster than another by more than a fourth */
    RAFT_MAX_LEASE_US = 250 * 1000,
};

/* ---- Members and configurations ---- */

/*
 * A member's id is the random incarnation of its data directory, never 0. A wiped node comes back
 * with another one, so neither an old vote nor an old acknowledgement counts for its successor.
 */
typedef uint64_t raft_id;

struct raft_member {
    raft_id id;
    bool voter;     /* of the incoming (new) configuration */
    bool voter_out; /* of the outgoing (old) one; only in a joint configuration */
    bool promote;   /* a learner that becomes a voter as soon as it has caught up */
    /*
     * A learner that takes this member's place, name and vote as soon as it has caught up: a wiped
     * node comes back under its old name. 0: none.
     */
    raft_id replaces;
    char name[RAFT_NAME_BYTES];
    char address[RAFT_ADDRESS_BYTES];
};

/* A configuration is joint exactly while some member has voter_out. A learner has neither flag. */
struct raft_config {
    uint32_t count;
    struct raft_member members[RAFT_MAX_MEMBERS];
};

/* Bytes written to `out`, or 0 if they do not fit in `out_bytes`. */
size_t raft_config_encode(const struct raft_config *config, uint8_t *out, size_t out_bytes);

/* False, leaving `config` unspecified, unless the bytes are exactly one valid configuration. */
bool raft_config_decode(struct raft_config *config, const uint8_t *data, size_t bytes);

/* The member with this id (or name), or NULL. */
const struct raft_member *raft_config_find(const struct raft_config *config, raft_id id);
const struct raft_member *raft_config_find_name(const struct raft_config *config, const char *name);

/* ---- Entries and hard state ---- */

enum raft_entry_kind {
    RAFT_ENTRY_NOOP = 1,
    RAFT_ENTRY_COMMAND = 2,
    RAFT_ENTRY_CONFIG = 3,
};

struct raft_entry_meta {
    uint64_t term;
    uint32_t bytes;
    enum raft_entry_kind kind;
    const uint8_t *config; /* the payload if kind is RAFT_ENTRY_CONFIG, else NULL */
};

struct raft_hard_state {
    uint64_t term;
    raft_id vote; /* 0: none in this term */
};

/* From `first` on (until the next run) the log's entries are of this term. */
struct raft_term_run {
    uint64_t first;
    uint64_t term;
};

/* ---- Messages ---- */

enum raft_msg_kind {
    RAFT_MSG_PREVOTE = 1,
    RAFT_MSG_PREVOTE_REPLY,
    RAFT_MSG_VOTE,
    RAFT_MSG_VOTE_REPLY,
    RAFT_MSG_APPEND,
    RAFT_MSG_APPEND_REPLY,
    RAFT_MSG_HEARTBEAT,
    RAFT_MSG_HEARTBEAT_REPLY,
    RAFT_MSG_READ,
    RAFT_MSG_READ_REPLY,
    RAFT_MSG_TIMEOUT_NOW,
    RAFT_MSG_TRANSFER,
    RAFT_MSG_SNAPSHOT,
};

/* What a member says of its disk with each answer to the leader. */
struct raft_disk_state {
    bool full;    /* the log has only its reserve left */
    bool stalled; /* a write has made no progress for an election timeout */
};

struct raft_msg {
    enum raft_msg_kind kind;
    raft_id from;
    raft_id to;
    uint64_t term; /* of the sender; of the election asked about in PREVOTE */
    union {
        struct { /* PREVOTE, VOTE: the sender's last durable entry */
            uint64_t last_index;
            uint64_t last_term;
            bool transfer; /* sent on the leader's own word: stickiness does not apply */
        } vote;
        struct {                    /* PREVOTE_REPLY, VOTE_REPLY */
            uint64_t election_term; /* the term that was asked about */
            bool granted;
        } vote_reply;
        struct {
            uint64_t prev_index;
            uint64_t prev_term;
            uint64_t commit;
            uint32_t count; /* entries, from prev_index + 1 */
            bool reserve;   /* disks are full, and what follows makes room: use the log's reserve */
            const struct raft_entry_meta *entries; /* NULL in effects: the range says it all */
        } append;
        struct {
            bool ok;
            uint64_t match; /* ok: all up to here is durable. Else: the refused prev_index */
            /* Not ok: the last index that may match, and its term (thesis 5.3's fast back-up). */
            uint64_t hint_index;
            uint64_t hint_term;
            struct raft_disk_state disk;
        } append_reply;
        struct {
            uint64_t commit;   /* never above what the receiver is known to hold */
            uint64_t round;    /* echoed: proves contact at or after its start; 0: no answer */
            uint32_t lease_us; /* an echo promises to elect nobody else for so long; 0: none */
            uint32_t grant_us; /* who has asked lately may read again by itself (grant.c); 0: not */
        } heartbeat;
        struct {
            uint64_t round;
            struct raft_disk_state disk;
        } heartbeat_reply;
        struct {
            uint64_t token;   /* READ: the asker's */
            bool takes_grant; /* false: it shall not trust clocks (grant.c) */
        } read;
        struct {
            uint64_t token;
            uint64_t index;
            bool ok;           /* false: not leader, or it stopped being it */
            uint32_t grant_us; /* since it asked, the member may read by itself (grant.c); 0: not */
        } read_reply;
        struct { /* TRANSFER: a member asks the leader to hand over */
            raft_id to;
        } transfer;
        struct { /* SNAPSHOT: the leader's log begins behind this entry, the receiver needs it */
            uint64_t index;
            uint64_t term;
        } snapshot;
    };
};

/* ---- Events ---- */

enum raft_event_kind {
    RAFT_START = 1, /* first, once */
    RAFT_TICK,      /* wake_at_us has come (early or late is harmless) */
    RAFT_MESSAGE,
    RAFT_PERSISTED,
    RAFT_PROPOSE,
    RAFT_CHANGE,
    RAFT_READ,
    RAFT_TRANSFER,
    RAFT_PEER_LOST, /* nobody listens at the peer's address any more: its process has died */
    RAFT_INSTALLED, /* the state machine was replaced by a snapshot, and is synced */
    RAFT_DISK,      /* this node's log has no room left but its reserve, or has room again */
};

enum raft_change_kind {
    RAFT_CHANGE_ADD = 1, /* `member`, as a learner; promoted by itself if member.promote */
    RAFT_CHANGE_REMOVE,  /* member.id */
    RAFT_CHANGE_PROMOTE, /* member.id: from now on wanted as a voter */
    RAFT_CHANGE_DEMOTE,  /* member.id: a learner from now on */
    RAFT_CHANGE_ADDRESS, /* member.id lives at member.address */
    RAFT_CHANGE_REPLACE, /* `member`, as a learner, to take the place of the member `replaces` */
};

struct raft_event {
    enum raft_event_kind kind;
    uint64_t now_us; /* monotonic; never goes back */
    union {
        struct {
            struct raft_hard_state hard;
            uint64_t base_index; /* the entry before the log's first, and its term */
            uint64_t base_term;
            uint64_t last_index;    /* all of the log is durable */
            uint64_t applied_index; /* committed for certain: base_index <= it <= last_index */
            uint32_t run_count;     /* covering (base_index, last_index] */
            const struct raft_term_run *runs;
            /*
             * The newest configuration entry at or below last_index, and the one before it: all
             * but the newest are committed (a leader has at most one uncommitted), so a truncation
             * never needs a third. count 0: none, the node is not a member yet.
             */
            uint64_t config_index;
            const struct raft_config *config;
            uint64_t previous_config_index;
            const struct raft_config *previous_config;
        } start;
        const struct raft_msg *message;
        struct {
            uint64_t write_id; /* this one and all before it are durable */
        } persisted;
        struct {
            uint32_t count; /* at most RAFT_MAX_PROPOSE; all are appended, or none */
            const uint32_t *bytes;
            bool reserve; /* frees space (a removal): accepted when disks are full, too */
        } propose;
        struct {
            enum raft_change_kind kind;
            struct raft_member member;
            raft_id replaces; /* REPLACE */
        } change;
        struct {
            uint64_t token; /* the caller's, new each time */
        } read;
        struct { /* the leader hands over; others ask it to, which may get lost */
            raft_id to;
        } transfer;
        struct {
            raft_id peer;
        } lost;
        struct { /* the state machine now stands at `index`, as the cluster committed it */
            uint64_t index;
            uint64_t term;
            uint64_t config_index;
            const struct raft_config *config;
        } installed;
        struct {
            bool full;
        } disk;
    };
};

/* ---- Effects ---- */

enum raft_role {
    RAFT_FOLLOWER, /* of a learner too */
    RAFT_PRE_CANDIDATE,
    RAFT_CANDIDATE,
    RAFT_LEADER,
};

/* Why a proposal, change, read or transfer was refused: nothing was appended or sent. */
enum raft_refusal {
    RAFT_ACCEPTED = 0,
    RAFT_NOT_LEADER, /* ask the leader (raft_leader()) */
    RAFT_NO_LEADER,  /* a read on a node that knows no leader */
    RAFT_BUSY,       /* a limit is reached, or a change is in flight: ask again later */
    RAFT_MOVING,     /* leadership is being handed over: ask again later */
    RAFT_INVALID,    /* such a member does not exist, or exists already */
    RAFT_UNSAFE,     /* the voters that answer would be no majority afterwards */
    RAFT_NO_SPACE,   /* the leader's disk or a majority's is full: only removals pass */
};

/*
 * One write to the log, in this order: begin anew behind restart_index, drop all from truncate_from
 * on, append [first, first + count), set the hard state; durable together. Entries that the core
 * itself makes (no-op, configuration) are in `own`.
 */
struct raft_write {
    uint64_t id; /* 0: nothing to write in this step. Else grows by one each time */
    /* 0: none. Else every entry goes, and the log begins behind this one; hard state stays. */
    uint64_t restart_index;
    uint64_t restart_term;
    uint64_t truncate_from; /* 0: nothing to drop */
    uint64_t first;
    uint32_t count; /* entries; from the proposal or the append message's tail, or own */
    uint32_t skip;  /* the message's (or proposal's) entry number `skip` is entry `first` */
    uint64_t term;  /* of proposed and own entries; those of a message have their own */
    bool reserve;   /* may use the room that the log keeps for when the disk is full */
    bool has_hard;
    struct raft_hard_state hard;
    /* The one entry that the core made itself (then count is 1), or kind 0. */
    enum raft_entry_kind own_kind;
    uint32_t own_bytes;
    uint8_t own[RAFT_MAX_CONFIG_BYTES];
};

struct raft_send {
    struct raft_msg msg;
    uint64_t after_write; /* leaves when this write is durable; 0: at once */
};

struct raft_read_done {
    uint64_t token;
    uint64_t index; /* once applied up to here, a local read is linearizable */
    bool ok;        /* false: ask again */
};

struct raft_effects {
    struct raft_write write;
    uint32_t send_count;
    struct raft_send sends[RAFT_MAX_SENDS];
    uint32_t read_count;
    struct raft_read_done reads[RAFT_MAX_READS];
    uint64_t commit_index; /* everything up to here may be applied */
    /*
     * 0: none wanted. Else a snapshot at or above this index, from any member that has one: wanted
     * again and again until RAFT_INSTALLED.
     */
    uint64_t need_snapshot_index;
    enum raft_refusal refusal; /* of this step's RAFT_PROPOSE, CHANGE, READ or TRANSFER */
    uint64_t first_index;      /* of this step's accepted RAFT_PROPOSE or CHANGE */
    bool changed;              /* role, term, leader, quorum or configuration did */
    uint64_t wake_at_us;       /* step RAFT_TICK then; UINT64_MAX: never */
};

/* ---- The core ---- */

struct raft;

struct raft_options {
    raft_id id;
    uint64_t seed;                /* of the election jitter; different on every node */
    uint32_t heartbeat_us;        /* default 100,000 */
    uint32_t election_us;         /* a timeout lies in [it, 2 * it); longer if others are slow */
    uint32_t term_run_capacity;   /* runs kept; when more, the oldest are forgotten */
    uint32_t entry_size_capacity; /* sizes of that many newest entries are known */
    /*
     * How long a leader may answer reads by itself after a quorum's echo (lease.c); the same on
     * every node, at most RAFT_MAX_LEASE_US, and longer than a heartbeat interval or it would keep
     * lapsing. 0: no node of this cluster ever does.
     */
    uint32_t lease_us;
    bool lease; /* this node does; and it takes a grant from one that does (grant.c) */
    /* How long a member that has asked such a leader may read by itself (grant.c); 0: not at all.
     */
    uint32_t grant_us;
};

/* The bytes that a core with these options needs, aligned as max_align_t. */
size_t raft_bytes(const struct raft_options *options);

/* A core in `memory` of raft_bytes(). It does nothing until RAFT_START is stepped. */
struct raft *raft_init(void *memory, const struct raft_options *options);

/*
 * One step. `out` is overwritten whole. Ends the process on a broken invariant, never because of
 * what a peer sent: a message that no correct peer would send is dropped and counted.
 */
void raft_step(struct raft *r, const struct raft_event *event, struct raft_effects *out);

/* ---- Looking in (all cheap, all as of the last step) ---- */

enum raft_role raft_role(const struct raft *r);
uint64_t raft_term(const struct raft *r);
raft_id raft_vote(const struct raft *r);
raft_id raft_leader(const struct raft *r); /* 0: none known */
uint64_t raft_commit_index(const struct raft *r);
uint64_t raft_last_index(const struct raft *r);
uint64_t raft_durable_index(const struct raft *r);
uint64_t raft_base_index(const struct raft *r);

/*
 * Until when, by the clock of the events, this node surely is the only leader and knows what is
 * committed: until then a read at its commit index needs nobody's confirmation. 0: not now.
 */
uint64_t raft_lease_until_us(const struct raft *r);

/*
 * A member that does not lead: until when all that was acknowledged to anyone is within its commit
 * index (grant.c); 0: it does not know.
 */
uint64_t raft_grant_until_us(const struct raft *r);

uint64_t raft_elections(const struct raft *r); /* leaders this node has seen take office */
uint64_t raft_dropped_messages(const struct raft *r);

/* The term of an entry in [base_index, last_index]; 0 when it is outside or forgotten. */
uint64_t raft_term_at(const struct raft *r, uint64_t index);

/* The newest configuration, committed or not, and the index of its entry. */
const struct raft_config *raft_config(const struct raft *r, uint64_t *index);

/* The log up to here is needed by nothing in the core: entries at and below may be compacted. */
void raft_compacted(struct raft *r, uint64_t index);

struct raft_peer_status {
    uint64_t match;
    uint64_t contact_us; /* now - last answer; UINT64_MAX: none yet. On the leader only */
    bool pipelining;
    bool snapshot; /* it waits for one, since the log begins behind its next entry */
};

/* What the leader knows of a member; zeroes on other nodes. */
struct raft_peer_status raft_peer_status(const struct raft *r, raft_id id, uint64_t now_us);

/*
 * Members in contact and members needed for a quorum, as this node sees it: the leader counts
 * voters that answered within an election timeout, a follower counts itself and the leader's word.
 */
bool raft_has_quorum(const struct raft *r, uint64_t now_us);

/*
 * The core's own invariants, checked in full: NULL, or what is broken. raft_step() asserts the
 * cheap ones; the simulator calls this after each step.
 */
const char *raft_check(const struct raft *r);

#endif
