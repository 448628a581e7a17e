/* SPDX-License-Identifier: MIT */
/*
 * logview.h - what the core knows of the log: terms as runs, sizes of the newest entries, and how
 * far it is durable. No payloads.
 *
 * durable is a claim about the disk, so it obeys the order of writes: a completion raises it to
 * what that write ended at, but a truncation given later caps every earlier write still on its way.
 * Otherwise (the ABA race of asynchronous appends) the completion of an overwritten entry would
 * pass for that of its successor at the same index.
 */
#ifndef RAFTFS_RAFT_LOGVIEW_H
#define RAFTFS_RAFT_LOGVIEW_H

#include "raft/raft.h"

enum { LOGVIEW_MAX_WRITES = 4096, LOGVIEW_WRITE_RESERVE = 64 };

struct logview_write {
    uint64_t id;
    uint64_t end_index; /* durable up to here once it completes */
};

struct logview {
    uint64_t base_index;
    uint64_t base_term;
    uint64_t last_index;
    uint64_t durable_index;
    uint64_t durable_us; /* when a write has raised it last; 0: none has since the start */
    struct raft_term_run *runs;
    uint32_t run_capacity;
    uint32_t run_count;
    uint32_t *sizes; /* a ring by index */
    uint32_t size_capacity;
    uint64_t sizes_from; /* sizes of entries from here on are known */
    uint64_t next_write_id;
    uint64_t durable_write_id;
    uint64_t write_since_us; /* when the oldest unfinished write became the oldest */
    uint32_t write_head;
    uint32_t write_count;
    struct logview_write writes[LOGVIEW_MAX_WRITES];
};

/* `runs` and `sizes` are arrays of the given capacities that outlive the view. */
void logview_init(struct logview *v, struct raft_term_run *runs, uint32_t run_capacity,
                  uint32_t *sizes, uint32_t size_capacity);

/* The term at index; 0 if it is outside [base, last] or forgotten. */
uint64_t logview_term(const struct logview *v, uint64_t index);
uint64_t logview_last_term(const struct logview *v);
uint64_t logview_durable_term(const struct logview *v);

/* The lowest index whose term is known: the base, unless terms had to be forgotten. */
uint64_t logview_floor(const struct logview *v);

/* The first index of the run that index is in. */
uint64_t logview_run_start(const struct logview *v, uint64_t index);

/* The last index, at most `index`, whose term is at most `term`. */
uint64_t logview_last_at_most(const struct logview *v, uint64_t index, uint64_t term);

void logview_append(struct logview *v, uint64_t term, uint32_t bytes);
void logview_truncate(struct logview *v, uint64_t from);
void logview_compact(struct logview *v, uint64_t index);

/* Every entry goes; the log begins anew behind this one, which is durable elsewhere. */
void logview_restart(struct logview *v, uint64_t index, uint64_t term);

/* False if the entry's size is no longer known. */
bool logview_size(const struct logview *v, uint64_t index, uint32_t *bytes);

/* A write of all that is in the view now: its id. */
uint64_t logview_write_begin(struct logview *v, uint64_t now_us);
bool logview_write_done(struct logview *v, uint64_t id, uint64_t now_us);

#endif
