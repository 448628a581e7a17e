/* SPDX-License-Identifier: MIT */
/*
 * driver.h - runs the core on a libuv loop: events in, effects out.
 *
 * The driver owns the core, the log, the net and the payloads in memory. It turns messages, timers
 * and finished writes into raft_step(), and carries the effects out in the order that raft.h asks
 * for. It knows nothing of what the commands mean.
 *
 * Thread: the loop's, or another while the loop's waits and nobody else calls; callbacks likewise,
 * save what says otherwise.
 */
#ifndef RAFTFS_RAFT_DRIVER_H
#define RAFTFS_RAFT_DRIVER_H

#include <uv.h>

#include "base/buf.h"
#include "raft/log/log.h"
#include "raft/net/net.h"
#include "raft/raft.h"

struct raft_driver;

enum {
    RAFT_DRIVER_WHY_BYTES = 512,
    RAFT_DRIVER_HEARTBEAT_US = 100 * 1000,
    RAFT_DRIVER_ELECTION_US = 700 * 1000,
    /*
     * Of all nodes. A heartbeat and a little, so that it does not lapse; no more, because a dead
     * leader is replaced only when it has ended.
     */
    RAFT_DRIVER_LEASE_US = 130 * 1000,
    /* From one commit to the end of the next open(2), and no more: a write may have to wait. */
    RAFT_DRIVER_GRANT_US = 1000,
    RAFT_DRIVER_APPLY_BYTES = 16 * 1024 * 1024, /* handed over, not applied yet */
};

struct raft_driver_callbacks {
    void *ctx;

    /* Committed entries in log order, without a gap; their references pass over. */
    void (*apply)(void *ctx, const struct raft_entry *entries, uint32_t count);

    /* This node leads and is about to append the proposal; false if it is no command at all. */
    bool (*stamp)(void *ctx, struct buf *payload);

    /* A read asked for by raft_driver_read() was answered. */
    void (*read_done)(void *ctx, uint64_t token, uint64_t index, bool ok);

    /* This command frees space: it may be appended when disks are full. */
    bool (*frees_space)(void *ctx, const struct buf *payload);

    /* `count` of this node's forwarded proposals from `seq` on were appended, or refused. */
    void (*forward_done)(void *ctx, uint64_t seq, uint32_t count,
                         enum raft_net_forward_status status);

    /* What became of raft_driver_change(): accepted is appended, not committed yet. */
    void (*change_done)(void *ctx, uint64_t seq, enum raft_refusal refusal);

    /* A member says that this node was removed from the cluster. */
    void (*removed)(void *ctx, const char *by_name);

    /* The log cannot be read any more: its disk has changed it. */
    void (*damaged)(void *ctx);

    /*
     * This node's log ends before the leader's begins: only a snapshot at or above index helps.
     * Said again and again for as long as that is so.
     */
    void (*need_snapshot)(void *ctx, uint64_t index);

    /* As raft_net_callbacks.on_snapshot_ask and on_snapshot_piece. */
    void (*snapshot_ask)(void *ctx, raft_id from, const struct raft_net_snapshot_ask *ask);
    void (*snapshot_piece)(void *ctx, raft_id from, const struct raft_net_snapshot_piece *piece,
                           struct buf *data);

    /* A connection to a peer came up or broke: what was on its way there may be lost. */
    void (*peer_changed)(void *ctx, raft_id peer);

    /* Role, term, leader, quorum or members changed. */
    void (*changed)(void *ctx);

    /* Something moved; now is the moment to propose and to read again. Never nested. */
    void (*settled)(void *ctx);

    /* As raft_net_callbacks.on_invite. */
    bool (*invite)(void *ctx, const struct raft_net_invitation *invitation,
                   struct raft_net_join *self, char why[RAFT_NET_WHY_BYTES]);

    /* As raft_net_callbacks.on_claim. */
    enum raft_net_claim (*claim)(void *ctx, uint64_t cluster, raft_id from, const char *from_name,
                                 const char *from_address, raft_id expected_id);
};

/* Listens on the identity's address; the core does not run yet. 0 or -errno with `why`. */
int raft_driver_init(struct raft_driver **out, uv_loop_t *loop,
                     const struct raft_net_identity *identity,
                     const struct raft_driver_callbacks *callbacks,
                     char why[RAFT_DRIVER_WHY_BYTES]);

/* Where the state machine stands when the core starts. */
struct raft_driver_start {
    const char *log_dir;
    uint64_t applied_index;
    uint64_t applied_term;
    uint64_t config_index; /* of the configuration applied last; 0: none */
    struct buf *config;    /* its encoding, or NULL; the caller's reference */
    bool lease;            /* when leading, answer reads under a lease (core/lease.c) */
    void *ctx;
    /*
     * The log begins behind entry base_index, the state machine stands before it: brings it there,
     * or beyond, from a snapshot, and fills in the fields above anew. 0 or a negative errno.
     */
    int (*catch_up)(void *ctx, uint64_t base_index, struct raft_driver_start *start);
    /* The log is about to begin behind what is applied: makes that durable. As above. */
    int (*sync)(void *ctx);
};

/* Recovers the log and starts the core. Waits for the disk: call it before the loop's thread runs.
 */
int raft_driver_start(struct raft_driver *driver, struct raft_driver_start *start,
                      char why[RAFT_DRIVER_WHY_BYTES]);

/*
 * Makes the log of a new cluster: one configuration entry, of term 1, with this one voter.
 * Synchronous; any thread; the log must not exist.
 */
int raft_driver_found(const char *log_dir, const struct raft_net_identity *founder,
                      char why[RAFT_DRIVER_WHY_BYTES]);

/*
 * Makes the one voter of a cluster out of a member whose majority is lost for ever: all that its
 * log holds, acknowledged or not, counts from now on. Synchronous; the core does not run.
 */
int raft_driver_recover(struct raft_driver_start *start, const struct raft_net_identity *survivor,
                        char why[RAFT_DRIVER_WHY_BYTES]);

/* An empty log, for a node that joins. */
int raft_driver_make_log(const char *log_dir, raft_id id, char why[RAFT_DRIVER_WHY_BYTES]);

/* Closes log and net; on_closed runs once the loop holds no handle of the driver; then it is freed.
 */
void raft_driver_close(struct raft_driver *driver, void (*on_closed)(void *ctx), void *ctx);

enum raft_driver_sent {
    RAFT_SENT_NOWHERE = 0, /* no leader, or too much at once: nothing left this node; try again */
    RAFT_SENT_FULL,        /* disks are full: nothing was appended, only removals would be */
    RAFT_SENT_APPENDED,    /* this node leads and has appended them */
    RAFT_SENT_FORWARDED,   /* on their way to the leader; forward_done() may follow */
};

/*
 * Proposes `count` (at most RAFT_MAX_PROPOSE) payloads, or forwards them to the leader. `seq`
 * numbers the first one in forward_done(). Takes its own references.
 */
enum raft_driver_sent raft_driver_propose(struct raft_driver *driver, uint64_t seq,
                                          struct buf *const *payloads, uint32_t count);

/* Asks for a read index; false: no leader, or too many asked already. Else read_done() follows. */
bool raft_driver_read(struct raft_driver *driver, uint64_t token);

/*
 * Whether this node leads under a lease, or has a leader's grant: then a state machine that has
 * applied *index shows everything that was acknowledged, anywhere, before the call. Any thread;
 * asks nobody.
 */
bool raft_driver_read_now(const struct raft_driver *driver, uint64_t *index);

/*
 * Changes the configuration, or asks the leader to: change_done() follows, unless it gets lost.
 * False: there is nobody to ask.
 */
bool raft_driver_change(struct raft_driver *driver, const struct raft_net_change *change);

/* Hands leadership to this voter, or asks the leader to; call it again until that one leads. */
void raft_driver_transfer(struct raft_driver *driver, raft_id to);

/* Asks the healthiest voter to lead; false: this node does not lead, or no other voter is there. */
bool raft_driver_hand_over(struct raft_driver *driver);

/* Becomes known to the cluster through any of `addresses`; as raft_net_join_start(). */
void raft_driver_join(struct raft_driver *driver, const char *addresses,
                      const struct raft_net_join *join,
                      void (*on_reply)(void *ctx, const struct raft_net_join_reply *reply),
                      void *ctx);

/* It is known: nobody need be asked any more. */
void raft_driver_join_stop(struct raft_driver *driver);

/* Asks who listens at `address`, to be added as `name`; as raft_net_invite_start(). */
void raft_driver_invite(struct raft_driver *driver, const char *name, const char *address,
                        void (*on_reply)(void *ctx,
                                         const struct raft_net_introduction *introduction),
                        void *ctx);
void raft_driver_invite_stop(struct raft_driver *driver);

/* Whoever asks to join is sent to this address from now on. */
void raft_driver_admit_nobody(struct raft_driver *driver, const char *instead);

void raft_driver_set_cluster(struct raft_driver *driver, uint64_t cluster);

/*
 * Sends what waits to be sent, begins to write the log, then hands over what is committed. Whoever
 * has called the driver outside of the loop's callbacks ends so; the loop's turns do by themselves.
 */
void raft_driver_flush(struct raft_driver *driver);

/* The state machine has applied up to here. */
void raft_driver_applied(struct raft_driver *driver, uint64_t index);

/* While paused no entries are handed over: a snapshot takes the state machine's place. */
void raft_driver_pause_apply(struct raft_driver *driver, bool paused);

/*
 * A snapshot took the state machine's place: it stands at entry index, of this term, on disk, and
 * its newest configuration is that of entry config_index (NULL: none). Ends the pause; index + 1 is
 * handed over next.
 */
void raft_driver_installed(struct raft_driver *driver, uint64_t index, uint64_t term,
                           uint64_t config_index, const struct buf *config);

/* Entries up to index are on disk elsewhere: those that are applied and durable leave the log. */
void raft_driver_compact(struct raft_driver *driver, uint64_t index);

/* What the log takes on disk. */
uint64_t raft_driver_log_bytes(const struct raft_driver *driver);

/*
 * The leader: the least that any member holds of those heard within contact_us, and of those not
 * heard yet if `unheard` is set. Others: UINT64_MAX.
 */
uint64_t raft_driver_least_match(struct raft_driver *driver, uint64_t contact_us, bool unheard);

/* As raft_net_snapshot_ask() and raft_net_snapshot_piece(). */
bool raft_driver_snapshot_ask(struct raft_driver *driver, raft_id to,
                              const struct raft_net_snapshot_ask *ask);
bool raft_driver_snapshot_piece(struct raft_driver *driver, raft_id to,
                                const struct raft_net_snapshot_piece *piece, struct buf *data);

raft_id raft_driver_leader(const struct raft_driver *driver);
bool raft_driver_leads(const struct raft_driver *driver);
bool raft_driver_votes(const struct raft_driver *driver);
uint64_t raft_driver_commit_index(const struct raft_driver *driver);

/* A copy of what .status shows; any thread, waits at most for one raft_step(). */
struct raft_driver_member_status {
    struct raft_member member;
    uint64_t match;     /* on the leader, and of this node itself */
    int64_t contact_ms; /* since something was heard of it; 0: this node; -1: never */
    bool up;            /* connected */
};

struct raft_driver_status {
    enum raft_role role;
    bool voter;
    bool quorum;
    uint64_t term;
    raft_id leader;
    uint64_t elections;
    uint64_t commit_index;
    uint64_t last_index;
    uint64_t base_index;
    bool config_committed; /* the members below; until then they may change back */
    uint32_t member_count;
    struct raft_driver_member_status members[RAFT_MAX_MEMBERS];
};

void raft_driver_status(struct raft_driver *driver, struct raft_driver_status *out);

#endif
