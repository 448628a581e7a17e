/* SPDX-License-Identifier: MIT */
/* internal.h - the open log, for the log's own files. `lock` guards what says so. */
#ifndef RAFTFS_RAFT_LOG_INTERNAL_H
#define RAFTFS_RAFT_LOG_INTERNAL_H

#include <libaio.h>
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

/* What a batch comes to once it is on the disk. */
struct log_batch {
    uint32_t records;
    uint32_t sectors;
    uint32_t chain;
    uint64_t last_id; /* of a write that ends in it; 0: none does */
};

/* direct.c: a batch that the kernel writes. The loop's thread, but for fd. */
struct log_direct {
    io_context_t aio;
    int fd;       /* of the segment at hand; -1: none can be written so */
    int event_fd; /* -1: nothing can */
    struct iocb iocb;
    struct log_job *jobs; /* on their way; NULL: none */
    struct log_batch batch;
};

struct log_segment {
    uint64_t number;
    uint64_t before; /* the last entry that lies in the segments before it, of those still held */
    bool headless;   /* its header names a later one, which a truncation has dropped since */
};

struct raft_log {
    char *dir;
    struct raft_log_options options;
    uint64_t job_bytes; /* at most, of a job's stream, unless it is one entry */
    pthread_t writer;
    pthread_t reader;
    pthread_t keeper;

    pthread_mutex_t lock;
    pthread_cond_t writer_wanted; /* lock; something was submitted, or there is room */
    pthread_cond_t read_asked;    /* lock */
    pthread_cond_t keeper_wanted; /* lock */
    bool closing;                 /* lock */
    bool writing;                 /* lock; a batch is on its way, by the writer or direct.c */
    bool left;                    /* lock; the next one is the writer's, direct.c could not */
    struct log_job *jobs;         /* lock; oldest first */
    struct log_job **jobs_end;    /* lock */
    struct log_read_job *reads;   /* lock */
    struct log_read_job **reads_end;
    struct log_index index;       /* lock; what is durable */
    struct log_segment *segments; /* lock; of the log as it is, at least one */
    uint32_t segment_count;       /* lock */
    uint32_t segment_capacity;    /* lock */
    uint64_t oldest_file;         /* lock; number of a segment; those before the first one go */
    uint64_t compact_index;       /* lock; entries up to here are no longer needed */
    uint32_t reserve_jobs;        /* lock; submitted and not written, that may use the reserve */
    bool has_spare;               /* lock; SEGMENT_SPARE is there */
    bool has_reserve;             /* lock; SEGMENT_RESERVE is there */
    bool in_reserve;              /* lock; the segment at hand was it, and there is no other yet */
    bool spare_wanted;            /* lock; the segment at hand is filling up */
    bool full;                    /* lock; as on_space() has told it */
    bool keeper_closing;          /* lock; the writer has ended */

    /* Of whoever has set `writing`, once the writer runs. */
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
    bool given_up; /* a batch, at closing: nothing may follow it */

    struct log_direct direct;

    uint64_t keeper_reported_us; /* the keeper thread's own */

    /* Configurations found by recovery, oldest first. */
    struct raft_entry *configs;
    uint32_t config_count;
    uint32_t config_capacity;
};

void *log_writer_run(void *log);
void *log_reader_run(void *log);
void *log_keeper_run(void *log);

/* Writes and syncs these jobs at once; nothing was submitted yet, or it is the writer's thread. */
void log_write(struct raft_log *log, struct log_job *jobs, uint64_t stream_bytes);

/* Under the lock: the jobs for the next batch, at least one. */
struct log_job *log_take_jobs(struct raft_log *log, uint64_t *stream_bytes);

/* Lays out a batch in log->batch, of at most `sectors`; it has its place already. */
void log_build_batch(struct raft_log *log, const struct log_job *jobs, uint32_t sectors,
                     struct log_batch *batch);

/* It is on the disk: what it holds can be read back. */
void log_finish_batch(struct raft_log *log, const struct log_batch *batch);

void log_free_jobs(struct raft_log *log, struct log_job *jobs);

/* Says so, if it was not said within the last minute: *reported_us is when. */
void log_report_failure(const struct raft_log *log, uint64_t *reported_us, const char *what,
                        int status);
void log_pause_before_retry(void);

/* ---- direct.c ---- */

void log_direct_init(struct raft_log *log);
void log_direct_close(struct raft_log *log);

/* The segment at hand is another one. */
void log_direct_begin_segment(struct raft_log *log);

/* Waits for what is on its way. */
void log_direct_drain(struct raft_log *log);

/* ---- replay.c ---- */

/* Recovers the log from its `count` segments; nothing else runs yet. As raft_log_open(). */
int log_replay(struct raft_log *log, const uint64_t *numbers, uint32_t count, bool *torn,
               char why[RAFT_LOG_WHY_BYTES]);

/* Of the configurations found, drops those at `from` and behind it. */
void log_forget_configs(struct raft_log *log, uint64_t from);

/* ---- roll.c ---- */

/* Where the next batch can go. */
enum log_room {
    LOG_ROOM_NONE = 0,
    LOG_ROOM_HERE,
    LOG_ROOM_SPARE,
    LOG_ROOM_RESERVE,
    LOG_ROOM_MADE, /* a segment made at once: the log's first */
};

/* Under the lock, the writer's thread. */
enum log_room log_find_room(const struct raft_log *log, uint32_t sectors);

/* Under the lock: the keeper sees to it that the next segment is there in time. */
void log_want_spare(struct raft_log *log);

/* Begins the next segment at the log's present end. The writer's thread; 0 or a negative errno. */
int log_begin_segment(struct raft_log *log, enum log_room room);

/* A failed sync ends the process: the page cache may call clean what never reached the disk. */
void log_sync_failed(const struct raft_log *log, int status) __attribute__((noreturn));

/* Under the lock: changes of the index that the segments must know of. */
void log_add_segment(struct raft_log *log, uint64_t number, uint64_t before);
void log_truncate_index(struct raft_log *log, uint64_t from);
void log_restart_index(struct raft_log *log, uint64_t index, uint64_t term);

/* Under the lock: forgets the segments that hold nothing behind `index`; the files stay. */
void log_drop_segments(struct raft_log *log, uint64_t index);

#endif
