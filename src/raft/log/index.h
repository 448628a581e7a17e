/* SPDX-License-Identifier: MIT */
/*
 * index.h - where each entry of the log lies: 16 bytes an entry, and the terms as runs.
 *
 * Places stand in blocks of a fixed number of consecutive indexes, so that neither growing nor
 * dropping either end ever copies them: the loop thread waits for the lock that guards all this.
 *
 * Written by recovery, the writer and the keeper thread, read by the reader thread; the log's lock
 * guards it.
 */
#ifndef RAFTFS_RAFT_LOG_INDEX_H
#define RAFTFS_RAFT_LOG_INDEX_H

#include "raft/log/format.h"

struct log_place {
    uint32_t segment;      /* number, modulo 2^32 */
    uint32_t batch_offset; /* of the batch in the segment */
    uint32_t offset;       /* of the record in the batch's stream */
    uint32_t chain;        /* the crc before it */
};

struct log_index {
    uint64_t base_index;
    uint64_t base_term;
    uint64_t last_index;
    struct log_place **blocks; /* from the one that base_index + 1 lies in */
    uint64_t block_count;
    uint64_t block_capacity;
    struct raft_term_run *runs;
    uint32_t run_count;
    uint32_t run_capacity;
};

void log_index_init(struct log_index *index, uint64_t base_index, uint64_t base_term);
void log_index_close(struct log_index *index);

/* Drops everything: the index is as log_index_init() makes it. */
void log_index_restart(struct log_index *index, uint64_t base_index, uint64_t base_term);

void log_index_append(struct log_index *index, uint64_t term, const struct log_place *place);

/* Drops `from`, which lies behind the base, and what follows. */
void log_index_truncate(struct log_index *index, uint64_t from);

/* Drops all up to `to`, which becomes the base; it lies within [base_index, last_index]. */
void log_index_compact(struct log_index *index, uint64_t to);

const struct log_place *log_index_find(const struct log_index *index, uint64_t at);

/* The term of an entry within [base_index, last_index], else 0. */
uint64_t log_index_term(const struct log_index *index, uint64_t at);

#endif
