/* SPDX-License-Identifier: MIT */
/*
 * log.h - the Raft log on disk: records in segments; a writer, a reader and a keeper thread.
 *
 * DIR/log/NUMBER.seg holds records of entries, truncations and hard states, chained by CRC-32C.
 * What is submitted while a batch is being synced goes into the next batch (group commit). format.h
 * is the layout, recover.h the rules by which a torn tail is told from corruption.
 *
 * Threads: raft_log_submit(), raft_log_push(), raft_log_reap(), raft_log_read() and
 * raft_log_compact() are called by the loop thread and do not wait for the disk; on_durable runs on
 * the writer thread, on_read on the reader thread, on_space on the keeper thread.
 */
#ifndef RAFTFS_RAFT_LOG_H
#define RAFTFS_RAFT_LOG_H

#include "base/buf.h"
#include "raft/raft.h"

/* An entry with its payload, as the log, the net and the apply thread see it. */
struct raft_entry {
    uint64_t index;
    uint64_t term;
    enum raft_entry_kind kind;
    struct buf *payload; /* NULL for a no-op */
};

struct raft_log;

enum { RAFT_LOG_WHY_BYTES = 512, RAFT_LOG_SEGMENT_BYTES = 16 * 1024 * 1024 };

struct raft_log_options {
    const char *dir;        /* DIR/log; made if it does not exist */
    uint64_t incarnation;   /* must match every segment's header */
    bool create;            /* a new log; otherwise a missing or empty log is corruption */
    uint32_t segment_bytes; /* 0: RAFT_LOG_SEGMENT_BYTES */
    bool direct;            /* raft_log_push() begins to write, not raft_log_submit() */
    void *ctx;
    /*
     * All writes up to write_id are durable. Never called for a write that failed: a failed write
     * is retried at the same place (ENOSPC, EIO: reported once a minute), a failed sync ends the
     * process, since what the page cache holds afterwards is unknown.
     */
    void (*on_durable)(void *ctx, uint64_t write_id);
    /*
     * The disk has no room for the log's next segment, or has again; at first it has. While it has
     * not, writes without `reserve` may wait. The keeper's thread; NULL: nobody asks.
     */
    void (*on_space)(void *ctx, bool full);
};

/* What recovery found. The arrays belong to the log and stay until the first submit. */
struct raft_log_recovered {
    struct raft_hard_state hard;
    uint64_t base_index; /* the entry before the first one held */
    uint64_t base_term;
    uint64_t last_index;
    uint32_t run_count;
    const struct raft_term_run *runs;
    /* The two newest configuration entries held, newest first; payload NULL if there are fewer. */
    struct raft_entry configs[2];
    bool torn; /* an unfinished last batch was cut */
};

/*
 * Opens, recovers (the last segment is rewritten and synced: after kill -9 the page cache may hold
 * what the disk does not) and starts the threads. 0, or a negative errno with one line in `why`
 * that names the file and says what to do; -EUCLEAN is corruption, -EPROTO a newer format,
 * -ESTALE another incarnation.
 */
int raft_log_open(const struct raft_log_options *options, struct raft_log **out,
                  struct raft_log_recovered *recovered, char why[RAFT_LOG_WHY_BYTES]);

/*
 * One write in the order of struct raft_write. Entries' payloads are referenced until written.
 *
 * restart_index, if it is not 0, comes before all else: every entry goes, and the log begins behind
 * (restart_index, restart_term) with the hard state that it had. A crash leaves the old log whole,
 * or that beginning.
 *
 * A full disk takes writes only as far as the segments go that were made ahead; what finds no room
 * waits, and what comes behind waits with it. `reserve` is for writes that free space or that the
 * cluster cannot do without: they, and what waits before them, may use a segment kept for this.
 */
struct raft_log_write {
    uint64_t id;
    uint64_t restart_index;
    uint64_t restart_term;
    uint64_t truncate_from; /* 0: nothing to drop */
    uint32_t count;
    const struct raft_entry *entries;
    bool has_hard;
    struct raft_hard_state hard;
    bool reserve;
};
void raft_log_submit(struct raft_log *log, const struct raft_log_write *write);

/*
 * With options.direct, once the loop has submitted what it has: begins to write it, unless a batch
 * is on its way. A little goes to the kernel at once (direct.c), and raft_log_reap() tells when it
 * is durable; the rest to the writer thread.
 */
void raft_log_push(struct raft_log *log);

/* Readable when raft_log_reap() is to be called; -1: never. */
int raft_log_event_fd(const struct raft_log *log);

/* The last write that has become durable without a call of on_durable; 0: none. raft_log_push() is
 * to follow. */
uint64_t raft_log_reap(struct raft_log *log);

/*
 * Reads entries from `first` on: at least one, at most up to `last` and RAFT_MAX_APPEND_BYTES.
 * The range must be durable and not dropped meanwhile (else status -ESTALE). on_read gets
 * `count` entries, each with a reference that is then its own; status is 0 or a negative errno
 * (-EUCLEAN: a checksum did not match).
 */
struct raft_log_read {
    uint64_t first;
    uint64_t last;
    void *ctx;
    void (*on_read)(void *ctx, int status, struct raft_entry *entries, uint32_t count);
};
void raft_log_read(struct raft_log *log, const struct raft_log_read *read);

/*
 * Entries up to `index` are no longer needed. Whole segments go, by and by; what lies in the others
 * stays readable. An index that was given before, or a lower one, changes nothing.
 */
void raft_log_compact(struct raft_log *log, uint64_t index);

/* What the log's segments take on the disk, but for those made ahead. Any thread. */
uint64_t raft_log_bytes(struct raft_log *log);

/*
 * Starts over behind index: all entries go, the hard state stays. For a state machine that is ahead
 * of its log. Called before the first submit; synchronous, and tried until it
 * succeeds, as every write is.
 */
void raft_log_restart(struct raft_log *log, uint64_t index, uint64_t term);

/* options.dir, for messages. */
const char *raft_log_dir(const struct raft_log *log);

/* Writes what was submitted, syncs, stops the threads, frees. */
void raft_log_close(struct raft_log *log);

#endif
