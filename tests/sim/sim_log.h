/* SPDX-License-Identifier: MIT */
/*
 * sim_log.h - a modelled log: entries without their bytes, and the disk they lie on.
 *
 * The disk keeps the promises of the real log and none more (log/log.h). Writes queue; one batch of
 * the oldest is in flight at a time; a batch becomes durable as a whole, in order. A crash loses
 * the queue, and the batch in flight survives whole or not at all, because recovery cuts a torn
 * batch.
 *
 * A log that was cut keeps, for whoever looks at the whole, the entries before its base: they are
 * what its state machine stands for, but the log has them no more and nobody may send them.
 *
 * A payload is a number: the proposal it came from. Configurations are kept as the bytes that the
 * core made and as what the core decodes them to; blobs live as long as their registry.
 */
#ifndef RAFTFS_SIM_LOG_H
#define RAFTFS_SIM_LOG_H

#include "raft/raft.h"

struct sim_config {
    struct sim_config *next;
    struct raft_config decoded;
    uint32_t bytes;
    uint8_t data[];
};

struct sim_configs {
    struct sim_config *newest;
};

/* Registers an encoded configuration; NULL if the core cannot decode its own bytes. */
const struct sim_config *sim_configs_add(struct sim_configs *configs, const uint8_t *data,
                                         uint32_t bytes);
void sim_configs_clear(struct sim_configs *configs);

struct sim_entry {
    uint64_t term;
    uint64_t payload; /* the client's operation; 0 for entries of the core's own */
    const struct sim_config *config;
    uint32_t bytes;
    enum raft_entry_kind kind;
};

/* Entries 1 to last; those up to base are of the state machine. */
struct sim_log {
    struct sim_entry *entries;
    uint64_t base;
    uint64_t last;
    uint64_t capacity;
};

void sim_log_append(struct sim_log *log, const struct sim_entry *entry);
void sim_log_truncate(struct sim_log *log, uint64_t from);
void sim_log_compact(struct sim_log *log, uint64_t index);

/* The log begins anew behind `index`; `prefix` are the entries 1 to index. */
void sim_log_restart(struct sim_log *log, const struct sim_entry *prefix, uint64_t index);
void sim_log_close(struct sim_log *log);

/* The entry at an index from 1 to last. */
const struct sim_entry *sim_log_at(const struct sim_log *log, uint64_t index);

/* The term at an index; 0 at index 0 and outside. */
uint64_t sim_log_term(const struct sim_log *log, uint64_t index);

/* The newest configuration entry at or below `index`, or 0. */
uint64_t sim_log_config_index(const struct sim_log *log, uint64_t index);

struct sim_write {
    struct sim_write *next;
    uint64_t id;
    uint64_t restart_index;   /* 0: no */
    struct sim_entry *prefix; /* of a restart: the entries 1 to restart_index. Its own */
    uint64_t truncate_from;   /* 0: nothing */
    uint64_t first;
    bool reserve;
    bool has_hard;
    struct raft_hard_state hard;
    uint32_t count;
    struct sim_entry entries[];
};

struct sim_disk {
    struct sim_log log; /* durable */
    struct raft_hard_state hard;
    struct sim_write *queue; /* oldest first; the first `in_flight` of them are the batch */
    struct sim_write **queue_end;
    uint32_t queued;
    uint32_t in_flight;
};

void sim_disk_init(struct sim_disk *disk);
void sim_disk_close(struct sim_disk *disk);

/* Takes over `write`. */
void sim_disk_submit(struct sim_disk *disk, struct sim_write *write);

/* Starts a batch of at most `most` writes, unless one is in flight or nothing waits: false then. */
bool sim_disk_begin(struct sim_disk *disk, uint32_t most);

/* The next write of the batch in flight is durable, its id in *id; false when none is left. */
bool sim_disk_finish(struct sim_disk *disk, uint64_t *id);

/* The process died: what was not durable is lost, save perhaps the batch in flight. */
void sim_disk_crash(struct sim_disk *disk, bool batch_survives);

#endif
