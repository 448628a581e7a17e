/* SPDX-License-Identifier: MIT */
/* internal.h - the open log: what log.c, writer.c and reader.c share. `lock` guards what says so.
 */
#ifndef RAFTFS_RAFT_LOG_INTERNAL_H
#define RAFTFS_RAFT_LOG_INTERNAL_H

#include <pthread.h>

#include "raft/log/index.h"
#include "raft/log/log.h"
#include "raft/log/segment.h"

/* A submitted write with references of its own. */
enum {
    LOG_BATCH_STREAM_BYTES = 4 * 1024 * 1024, /* more waits for the next sync */
    LOG_BATCH_OVERHEAD_BYTES = FORMAT_BATCH_HEADER_BYTES + FORMAT_RECORD_HEADER_BYTES, /* and END */
};

struct log_job {
    struct log_job *next;
    struct raft_log_write write; /* entries points to the array below */
    uint64_t stream_bytes;
    struct raft_entry entries[];
};

struct log_read_job {
    struct log_read_job *next;
    struct raft_log_read read;
};

struct log_segment {
    uint64_t number;
    uint64_t last_index; /* of the log when the segment was begun */
};

struct raft_log {
    char *dir;
    struct raft_log_options options;
    uint64_t job_bytes; /* at most, of a job's stream, unless it is one entry */
    pthread_t writer;
    pthread_t reader;

    pthread_mutex_t lock;
    pthread_cond_t submitted;   /* lock */
    pthread_cond_t read_asked;  /* lock */
    bool closing;               /* lock */
    struct log_job *jobs;       /* lock; oldest first */
    struct log_job **jobs_end;  /* lock */
    struct log_read_job *reads; /* lock */
    struct log_read_job **reads_end;
    struct log_index index;       /* lock; what is durable */
    struct log_segment *segments; /* lock */
    uint32_t segment_count;       /* lock */

    /* The writer thread's own, once it runs. */
    int fd;
    uint64_t number;
    uint32_t offset; /* where the next batch goes */
    uint64_t next_batch;
    uint32_t chain;
    struct raft_hard_state hard;
    uint8_t *batch;
    struct format_record *records; /* of the batch at hand */
    uint32_t record_capacity;
    uint64_t reported_us;

    /* Configurations found by recovery, oldest first. */
    struct raft_entry *configs;
    uint32_t config_count;
    uint32_t config_capacity;
};

void *log_writer_run(void *log);
void *log_reader_run(void *log);

/* Begins the next segment: the log's present end is its header. 0 or a negative errno. */
int log_begin_segment(struct raft_log *log);

#endif
