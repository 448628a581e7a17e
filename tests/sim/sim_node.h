/* SPDX-License-Identifier: MIT */
/*
 * sim_node.h - one node without a network: a core, its modelled log, and the driver's order of
 * carrying out effects.
 *
 * What raft/driver.c does on a libuv loop happens here at once: payloads are attached, the write is
 * handed to the disk, sends leave or wait for their write. When the disk finishes and where sends
 * go is up to the world that owns the node: the simulator deals both from a seed, a script by
 * command.
 */
#ifndef RAFTFS_SIM_NODE_H
#define RAFTFS_SIM_NODE_H

#include "sim_log.h"

/* A message on the wire, with the entries of an append. */
struct sim_packet {
    struct raft_msg msg;
    struct sim_entry entries[];
};

struct sim_packet *sim_packet_copy(const struct sim_packet *packet);

struct sim_node;

/* What the world is told of a node, in the order in which it happens within one step. */
struct sim_hooks {
    void *ctx;
    void (*wrote)(void *ctx, struct sim_node *n, const struct sim_write *write);
    /* `packet` now belongs to the world. `durable`: it had waited for a write. */
    void (*sent)(void *ctx, struct sim_node *n, struct sim_packet *packet);
    void (*stepped)(void *ctx, struct sim_node *n, const struct raft_event *event,
                    const struct raft_effects *out);
};

struct sim_node {
    raft_id id;
    bool up;
    const struct sim_hooks *hooks;
    struct sim_configs *configs;
    struct raft_options options;

    struct raft *core; /* in memory of its own, kept from boot to boot */
    size_t core_bytes;
    struct raft_effects *out; /* shared by all nodes of a world */
    struct sim_log log;       /* what the process has written, durable or not */
    struct sim_disk disk;
    struct raft_send *held; /* sends that wait for their write, oldest first */
    uint32_t held_count;
    uint32_t held_capacity;
    uint64_t durable_write; /* stepped as RAFT_PERSISTED */
};

void sim_node_init(struct sim_node *n, const struct raft_options *options,
                   const struct sim_hooks *hooks, struct sim_configs *configs,
                   struct raft_effects *out);
void sim_node_close(struct sim_node *n);

/*
 * The state machine stands at `index`, `prefix` are the entries up to there: a log that lacks them
 * or contradicts them starts over behind them, as at the start of the real driver; true then.
 */
bool sim_node_align(struct sim_node *n, uint64_t index, const struct sim_entry *prefix);

/* Starts the process from its disk; it remembers having applied up to `applied_index`. */
void sim_node_boot(struct sim_node *n, uint64_t now_us, uint64_t applied_index);

/* Ends the process; see sim_disk_crash(). */
void sim_node_crash(struct sim_node *n, bool batch_survives);

/*
 * `entries` belong to a RAFT_MESSAGE with an append, or to a RAFT_PROPOSE, or are the prefix that a
 * RAFT_INSTALLED stands for; otherwise NULL.
 */
void sim_node_step(struct sim_node *n, const struct raft_event *event,
                   const struct sim_entry *entries);

/* Delivers a packet that is addressed to this node; the caller keeps it. */
void sim_node_deliver(struct sim_node *n, uint64_t now_us, const struct sim_packet *packet);

/* The log is cut up to `index`, on disk perhaps not as far. */
void sim_node_compact(struct sim_node *n, uint64_t index, uint64_t disk_index);

/* The state machine was replaced by a snapshot, which stands for the entries `prefix`. */
void sim_node_install(struct sim_node *n, uint64_t now_us, uint64_t index,
                      const struct sim_entry *prefix);

/* The disk finished its batch. */
void sim_node_persisted(struct sim_node *n, uint64_t now_us, uint64_t write_id);

#endif
