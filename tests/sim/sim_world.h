/* SPDX-License-Identifier: MIT */
/*
 * sim_world.h - a whole cluster in virtual time, on one thread, from one seed.
 *
 *     seed -> swarm (what kind of world this is: sim_swarm.c)
 *          -> events in a heap, by time: packets, timers, disks, faults, clients
 *          -> one raft_step() at a time; after each, all invariants (sim_check.c)
 *          -> at last everything heals and the cluster must come to rest (sim_settle.c)
 *
 * Whatever is random is drawn from the world's one generator, in the order of events, and nothing
 * else enters: the same seed gives the same run to the last bit, which its trace hash proves. The
 * first broken invariant stops the world and says what broke.
 *
 * A slot is a machine; the node on it changes when its disk is wiped. Node ids tell both: the node
 * 21 is the third (20 / 10) life of slot 0.
 */
#ifndef RAFTFS_SIM_WORLD_H
#define RAFTFS_SIM_WORLD_H

#include "sim_map.h"
#include "sim_node.h"
#include "sim_rng.h"
#include "sim_trace.h"

enum {
    SIM_MAX_SLOTS = 7,
    SIM_MAX_LIVES = 8, /* of one slot */
    SIM_FAILURE_BYTES = 512,
};

/* ---- What kind of world ---- */

enum sim_fault {
    SIM_FAULT_CRASH,
    SIM_FAULT_BLACKOUT, /* everybody at once */
    SIM_FAULT_WIPE,
    SIM_FAULT_PARTITION,
    SIM_FAULT_FLAP,
    SIM_FAULT_PAUSE,
    SIM_FAULT_CLOCK,
    SIM_FAULT_STALL,
    SIM_FAULT_LOST, /* a connection breaks, nobody died */
    SIM_FAULT_CHANGE,
    SIM_FAULT_TRANSFER,
    SIM_FAULT_SNAPSHOT,
    SIM_FAULT_DEAF,  /* one follower does not hear the leader; then one of the next two */
    SIM_FAULT_RESET, /* everybody's connection to the leader breaks, which lives on, alone */
    SIM_FAULT_FULL,
    SIM_FAULT_REBOOT, /* everybody but the leader and one follower starts anew, in no time */
    SIM_FAULTS,
};

struct sim_swarm {
    uint32_t steps; /* of the core, before everything heals */
    uint32_t founders;
    uint32_t slots;
    uint32_t heartbeat_us;
    uint32_t election_us;
    uint32_t lease_us;  /* 0: none */
    uint32_t grant_us;  /* 0: none */
    uint32_t drift_ppm; /* a clock is at most so much faster or slower than the world's */
    uint64_t net_us;    /* a typical one-way delay */
    uint32_t loss_per_mille;
    uint32_t duplicate_per_mille;
    uint32_t straggler_per_mille; /* arrive when the world has moved on */
    uint64_t disk_us;             /* a typical sync */
    uint64_t client_us;           /* between operations */
    uint32_t batch;               /* most entries in a proposal */
    uint32_t entry_bytes;         /* most */
    uint32_t read_per_mille;
    uint64_t fault_us[SIM_FAULTS]; /* typical time between two of a kind; 0: never */
};

void sim_swarm_draw(struct sim_swarm *swarm, struct sim_rng *rng);

/* ---- Events ---- */

enum sim_event_kind {
    SIM_PACKET = 1,
    SIM_TIMER,
    SIM_DISK,
    SIM_LOST,
    SIM_BOOT,
    SIM_FETCHED,
    SIM_INSTALLED,
    SIM_CLIENT,
    SIM_NEMESIS,
};

struct sim_event {
    uint64_t at_us;
    uint64_t order; /* of equal times: first come, first served */
    enum sim_event_kind kind;
    uint32_t slot;
    uint32_t life; /* the event is for this life of the slot, */
    uint32_t boot; /* and, but for packets and boots, for this start of its process */
    union {
        struct sim_packet *packet;
        uint64_t index; /* of the snapshot */
        raft_id peer;
        enum sim_fault fault;
    };
};

struct sim_heap {
    struct sim_event *events;
    uint32_t count;
    uint32_t capacity;
    uint64_t orders;
};

/* ---- Machines ---- */

struct sim_slot {
    struct sim_node node;
    uint32_t index;
    uint32_t life;
    uint32_t boots;
    uint64_t clock_us; /* ahead of the world's; only ever grows */
    int32_t drift_ppm; /* and so much faster */
    uint64_t paused_until_us;
    uint64_t stalled_until_us;
    uint64_t disk_us;
    uint64_t wake_at_us;  /* by the node's own clock */
    uint64_t timer_at_us; /* of the one timer event that counts; UINT64_MAX: none */

    /* As of its last step; what the next one is compared with. */
    enum raft_role role;
    uint64_t term;
    uint64_t commit;
    uint64_t config_index; /* of the newest configuration in its log */
    /* Kept across crashes: what a node said once it may not take back. */
    uint64_t durable_term;
    uint64_t applied;
    uint64_t stored;   /* of what is applied, this much is synced */
    uint64_t snapshot; /* the newest taken or fetched; 0: none */
    bool fetching;     /* one, or installing it */
    bool full;         /* the disk has only the log's reserve left */
};

/* ---- What has been seen ---- */

struct sim_committed {
    struct sim_entry entry;
    uint64_t leader_term; /* of the leader that committed it */
};

struct sim_configured {
    uint64_t index;
    const struct raft_config *config;
};

struct sim_history {
    struct sim_map entries; /* (index, term) -> payload and kind, term of the entry before */
    struct sim_map votes;   /* (node, term) -> candidate, as written to disk */
    struct sim_map leaders; /* (term, 0) -> node */
    struct sim_map places;  /* (payload, 0) -> index at which it was committed */
    struct sim_committed *committed; /* index 1 first */
    uint64_t commit;                 /* the highest that any node knew */
    uint64_t commit_capacity;
    struct sim_configured *configs; /* every configuration ever made, oldest first */
    uint32_t config_count;
    uint32_t config_capacity;
    uint32_t elections;
    uint32_t installed; /* snapshots that made a log start over */
};

/* ---- Clients ---- */

enum sim_op_state { SIM_OP_WAITING = 1, SIM_OP_ACKED, SIM_OP_OVERWRITTEN, SIM_OP_UNKNOWN };

/* One proposed entry; its number is its payload. */
struct sim_op {
    enum sim_op_state state;
    uint32_t slot, life, boot; /* where it was proposed */
    uint64_t index;
    uint64_t term;
};

struct sim_read {
    uint64_t token;
    uint32_t slot, life, boot;
    uint64_t floor; /* all that was acknowledged when it was asked */
    uint64_t asked_at_us;
};

struct sim_client {
    struct sim_op *ops; /* payload 1 first */
    uint64_t op_count;
    uint64_t op_capacity;
    struct sim_read reads[SIM_MAX_SLOTS * RAFT_MAX_READS]; /* open ones */
    uint32_t read_count;
    uint64_t tokens;
    uint64_t acked;
    uint64_t reads_done;
};

/* ---- The world ---- */

struct sim_world {
    uint64_t seed;
    struct sim_rng rng;
    struct sim_swarm swarm;
    uint64_t now_us;
    uint64_t steps;
    uint64_t hash;         /* of everything that happened */
    uint64_t hot_until_us; /* clients are in a hurry */
    uint32_t deaf;         /* the slot that was made so last */
    bool settling;         /* no more faults */
    bool busy;             /* settling: clients go on, and bulk takes its time */
    bool failed;
    char failure[SIM_FAILURE_BYTES];

    struct sim_heap heap;
    struct sim_slot slots[SIM_MAX_SLOTS];
    uint64_t blocked_until_us[SIM_MAX_SLOTS][SIM_MAX_SLOTS]; /* from, to */
    uint64_t flap_us[SIM_MAX_SLOTS][SIM_MAX_SLOTS];          /* half a period; 0: steady */
    uint64_t bulk_at_us[SIM_MAX_SLOTS][SIM_MAX_SLOTS];       /* busy: when the newest arrives */
    uint64_t stuck_until_us[SIM_MAX_SLOTS];                  /* all that a slot sends meanwhile */
    struct sim_history history;
    struct sim_client client;

    struct sim_configs configs;
    struct sim_hooks hooks;
    struct raft_effects effects;
    struct sim_trace trace;
};

struct sim_world *sim_world_new(void);
void sim_world_free(struct sim_world *w);

/* A new world from this seed, its nodes running. */
void sim_world_found(struct sim_world *w, uint64_t seed,
                     void (*draw)(struct sim_swarm *swarm, struct sim_rng *rng));

/* Plays one seed from the start; false if an invariant broke (then see failure). */
bool sim_world_play(struct sim_world *w, uint64_t seed);

/* Takes the next event; false if the world has stopped. */
bool sim_world_turn(struct sim_world *w);

void sim_world_fail(struct sim_world *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void sim_world_schedule(struct sim_world *w, uint64_t delay_us, struct sim_event event);

/* Writes an event that is about to be stepped to the trace. */
void sim_world_trace_event(struct sim_world *w, const struct sim_slot *s,
                           const struct raft_event *event);

/* The slot's current node, or NULL if the id is of no life or a past one. */
struct sim_slot *sim_world_find(struct sim_world *w, raft_id id);

bool sim_id_is_wiped(const struct sim_world *w, raft_id id);
struct raft_member sim_world_member(const struct sim_slot *s);

/* The node's own clock. */
uint64_t sim_slot_now(const struct sim_world *w, const struct sim_slot *s);

void sim_slot_arm_timer(struct sim_world *w, struct sim_slot *s);
void sim_slot_boot(struct sim_world *w, struct sim_slot *s);
void sim_slot_crash(struct sim_world *w, struct sim_slot *s);
void sim_slot_wipe(struct sim_world *w, struct sim_slot *s); /* crashes it, boots an empty one */

/* ---- Its parts ---- */

/* sim_net.c */
void sim_net_send(struct sim_world *w, struct sim_slot *from, struct sim_packet *packet);
void sim_net_died(struct sim_world *w, const struct sim_slot *s); /* its peers may notice */
void sim_net_block(struct sim_world *w, uint32_t from, uint32_t to, uint64_t duration_us);
void sim_net_heal(struct sim_world *w);
bool sim_net_is_down(const struct sim_world *w, uint32_t from, uint32_t to);

/* sim_faults.c */
void sim_faults_start(struct sim_world *w);
void sim_fault_strike(struct sim_world *w, enum sim_fault fault);
void sim_change(struct sim_world *w, struct sim_slot *leader, enum raft_change_kind kind,
                const struct raft_member *member);
void sim_fault_crash(struct sim_world *w, struct sim_slot *s); /* and boots it again later */
void sim_fault_fill(struct sim_world *w, struct sim_slot *s, bool full);
struct sim_slot *sim_some_leader(struct sim_world *w); /* one that believes to be it, or NULL */

/* sim_snapshot.c */
void sim_snapshot_take(struct sim_world *w, struct sim_slot *s);
void sim_snapshot_needed(struct sim_world *w, struct sim_slot *s, uint64_t index);
void sim_snapshot_fetched(struct sim_world *w, struct sim_slot *s, uint64_t index);
void sim_snapshot_installed(struct sim_world *w, struct sim_slot *s, uint64_t index);
/* The entries 1 to index as they were committed; the caller frees them. */
struct sim_entry *sim_committed_prefix(const struct sim_world *w, uint64_t index);

/* sim_client.c */
void sim_client_act(struct sim_world *w);
bool sim_client_propose(struct sim_world *w, struct sim_slot *s, uint32_t count);
void sim_client_read(struct sim_world *w, struct sim_slot *s);
void sim_client_applied(struct sim_world *w, struct sim_slot *s, uint64_t index);
void sim_client_reads_done(struct sim_world *w, struct sim_slot *s, const struct raft_effects *out);
void sim_client_would_read(struct sim_world *w);
void sim_client_lost(struct sim_world *w, struct sim_slot *s); /* the process has died */

/* sim_check.c, sim_check_config.c */
void sim_check_founded(struct sim_world *w, const struct sim_entry *first);
void sim_check_write(struct sim_world *w, struct sim_slot *s, const struct sim_write *write);
void sim_check_send(struct sim_world *w, struct sim_slot *s, const struct raft_msg *msg);
void sim_check_disk(struct sim_world *w, struct sim_slot *s);
void sim_check_step(struct sim_world *w, struct sim_slot *s, const struct raft_effects *out);
/* `s` is about to append the configuration `next` at `index`. */
void sim_check_new_config(struct sim_world *w, struct sim_slot *s, uint64_t index,
                          const struct raft_config *next);

/* Whether the members for which `has` says so are a quorum of the configuration (of both halves).
 */
typedef bool (*sim_has)(const void *ctx, raft_id id);
bool sim_is_quorum(const struct raft_config *config, sim_has has, const void *ctx);

/* sim_slow.c: plays a seed in which nothing fails, but everything is slow now and then. */
void sim_slow(struct sim_world *w, uint64_t seed);

/* sim_settle.c: heals everything and runs until the cluster is at rest, or says why it is not. */
void sim_settle(struct sim_world *w);

#endif
