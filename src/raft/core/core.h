/* SPDX-License-Identifier: MIT */
/*
 * core.h - the core's own state, and what its files offer each other.
 *
 * One struct raft, in one block of memory sized by raft_bytes(). step.c dispatches; each other file
 * holds the rules of one topic. Nothing here is public.
 */
#ifndef RAFTFS_RAFT_CORE_H
#define RAFTFS_RAFT_CORE_H

#include <assert.h>

#include "raft/core/logview.h"
#include "raft/core/patience.h"
#include "raft/core/progress.h"
#include "raft/raft.h"

enum { MAX_READ_TOKENS = RAFT_MAX_READS, LEASE_ROUNDS = 64 };

/* A read index asked for, on its way. */
struct pending_read {
    uint64_t token;
    raft_id from;      /* who asked: this node, or a follower that forwarded it */
    uint64_t index;    /* leader: the commit index when it was registered */
    uint64_t round;    /* leader: confirmed by a quorum's echo of this round or a later one */
    uint64_t asked_us; /* follower: when it was forwarded */
    bool takes_grant;  /* who asked does (grant.c) */
};

struct raft {
    struct raft_options options;
    uint64_t now_us;
    uint64_t rng;
    bool started;
    struct raft_effects *out; /* of the step that is running */

    struct raft_hard_state hard;
    enum raft_role role;
    raft_id leader;
    uint64_t leader_contact_us;   /* when one was heard last; ends stickiness when too long ago, */
    uint64_t leader_contact_term; /* and the term that it led; */
    uint64_t leader_since_us;     /* when it was heard first in that term */
    uint64_t quorum_contact_us;   /* leader: when a majority had answered, as of the last look */
    uint64_t led_term;            /* the last one that this node led; 0: and has learnt from */
    struct patience patience;     /* for the leader, or, leading, for a majority */
    struct patience disk_patience;
    uint64_t promise_until_us; /* before that nobody gets our vote, save by the leader's word */
    uint64_t granted_until_us; /* before that its own log tells what is committed (grant.c) */
    bool leader_lost;          /* its connection broke, and no leader was heard since */
    uint64_t election_at_us;   /* the next pre-vote starts then */
    uint64_t role_since_us;
    uint64_t wake_at_us; /* as the last step wanted it */
    uint64_t back_us;    /* when this node came back from its last excused absence */
    uint64_t elections;
    uint64_t dropped;
    bool had_quorum;
    bool disk_full; /* own; only the log's reserve is left */

    struct logview log;
    uint64_t commit_index;
    uint64_t term_start_index; /* leader: its no-op; reads and changes wait until it is committed */
    uint64_t uncommitted_bytes;
    uint64_t hard_write; /* the write that promises wait for: of the hard state, of a restart */

    struct raft_config config; /* the newest, committed or not */
    uint64_t config_index;
    struct raft_config previous_config; /* in force again should the newest be truncated */
    uint64_t previous_config_index;
    struct raft_config scratch; /* one being decoded or made */

    /* Candidates: who has answered for the election at hand, by member of `config`. */
    bool granted[RAFT_MAX_MEMBERS];
    bool transferred; /* this election was asked for by the leader */

    /* Leader. */
    struct progress peers[RAFT_MAX_MEMBERS]; /* by member of `config`; own slot unused */
    uint64_t heartbeat_at_us;
    uint64_t round;                  /* the newest heartbeat round */
    uint64_t round_us[LEASE_ROUNDS]; /* when the newest ones began */
    bool word_given;                 /* a TIMEOUT_NOW has left in this term */
    uint64_t grant_config_until_us;  /* of the grants from before the newest configuration */
    bool round_wanted;
    raft_id transfer_to;
    uint64_t transfer_until_us;
    bool transfer_sent;

    struct pending_read reads[MAX_READ_TOKENS];
    uint32_t read_count;
};

/* ---- role.c: the only writer of r->role ---- */
void become_follower(struct raft *r, uint64_t term, raft_id leader);
void become_pre_candidate(struct raft *r);
void become_candidate(struct raft *r, bool transferred);
void become_leader(struct raft *r);
void set_leader(struct raft *r, raft_id leader);

/* ---- election.c ---- */
void election_tick(struct raft *r);
void election_reset_timer(struct raft *r);
void election_leader_heard(struct raft *r);
void election_excuse_absence(struct raft *r);
void election_answered_late(struct raft *r);
void election_on_vote(struct raft *r, const struct raft_msg *m);
void election_on_vote_reply(struct raft *r, const struct raft_msg *m);
void election_on_timeout_now(struct raft *r, const struct raft_msg *m);
void election_on_lost(struct raft *r, raft_id peer);
void election_on_durable(struct raft *r);
void election_check(struct raft *r);

/* ---- leader.c ---- */
void leader_tick(struct raft *r);
void leader_propose(struct raft *r, uint32_t count, const uint32_t *bytes, bool reserve);
void leader_append_own(struct raft *r, enum raft_entry_kind kind, const struct raft_config *config);
void leader_on_append_reply(struct raft *r, const struct raft_msg *m);
void leader_on_heartbeat_reply(struct raft *r, const struct raft_msg *m);
void leader_on_lost(struct progress *p);
void leader_advance_commit(struct raft *r);
void leader_replicate(struct raft *r);
void leader_flush(struct raft *r);
void leader_transfer(struct raft *r, raft_id to);
void leader_ask_transfer(struct raft *r, raft_id to);
void leader_push_transfer(struct raft *r);
void leader_begin_transfer(struct raft *r, raft_id to);
raft_id leader_best_successor(const struct raft *r, bool sound);
bool leader_settled(const struct raft *r);

/* ---- follower.c ---- */
void follower_on_append(struct raft *r, const struct raft_msg *m);
void follower_on_heartbeat(struct raft *r, const struct raft_msg *m);
void follower_acknowledge(struct raft *r, raft_id leader, uint64_t match);

/* ---- snapshot.c ---- */
void snapshot_offer(struct raft *r, struct progress *p);
void snapshot_offer_again(struct raft *r);
void snapshot_on_offer(struct raft *r, const struct raft_msg *m);
void snapshot_installed(struct raft *r, const struct raft_event *e);

/* ---- read.c ---- */
void read_ask(struct raft *r, uint64_t token);
void read_on_request(struct raft *r, const struct raft_msg *m);
void read_on_reply(struct raft *r, const struct raft_msg *m);
void read_confirm(struct raft *r);
void read_fail_all(struct raft *r);
void read_tick(struct raft *r);

/* ---- lease.c ---- */
void lease_round_begins(struct raft *r);
uint32_t lease_wanted_us(const struct raft *r);
bool lease_holds(const struct raft *r);
void lease_promise(struct raft *r, uint32_t lease_us);
bool lease_promised(const struct raft *r);

/* ---- grant.c ---- */
uint32_t grant_give(struct raft *r, raft_id to);             /* leader: for how long; 0: none */
uint32_t grant_again(struct raft *r, struct progress *p);    /* the same, with a new commit */
uint64_t grant_commit(const struct raft *r, uint64_t index); /* how much of it may be committed */
uint64_t grant_next_end_us(const struct raft *r);            /* of those that are out; 0: none is */
void grant_config_begins(struct raft *r); /* leader: another one is about to be in force */
void grant_take(struct raft *r, uint64_t since_us, uint32_t grant_us);
void grant_take_again(struct raft *r, uint64_t commit, uint32_t grant_us);
bool grant_holds(const struct raft *r);

/* ---- disk.c ---- */
struct raft_disk_state disk_state(const struct raft *r);
bool disk_refuses(const struct raft *r); /* leader: ordinary proposals */
void disk_watch(struct raft *r);
void disk_learn(struct raft *r, uint64_t write_id); /* this write is about to be done */

/* ---- membership.c ---- */
void membership_change(struct raft *r, enum raft_change_kind kind, const struct raft_member *m,
                       raft_id replaces);
void membership_adopt(struct raft *r, const struct raft_config *config, uint64_t index);
void membership_roll_back(struct raft *r, uint64_t truncate_from);
void membership_advance(struct raft *r);
bool membership_is_voter(const struct raft *r, raft_id id);
int membership_slot(const struct raft *r, raft_id id);

/* ---- quorum.c: pure ---- */
uint64_t quorum_commit(const struct raft_config *config, const uint64_t *match);
bool quorum_reached(const struct raft_config *config, const bool *yes);

/* ---- effects.c ---- */
void effects_begin(struct raft *r, struct raft_effects *out);
bool effects_send(struct raft *r, const struct raft_msg *m, uint64_t after_write);
uint64_t effects_write_hard(struct raft *r);
uint64_t effects_write_entries(struct raft *r, uint64_t truncate_from, uint32_t count,
                               uint32_t skip);
void effects_write_restart(struct raft *r);
void effects_read_done(struct raft *r, uint64_t token, uint64_t index, bool ok);
bool effects_write_room(const struct raft *r);

/* ---- invariant.c ---- */
void invariant_step(const struct raft *r);

static inline bool peer_is_self(const struct raft *r, raft_id id)
{
    return id == r->options.id;
}

#endif
