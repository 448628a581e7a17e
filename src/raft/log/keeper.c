/* SPDX-License-Identifier: MIT */
/*
 * keeper.c - the keeper thread: takes away the files that the log no longer needs, and makes the
 * next ones before they are needed.
 *
 * Segments go oldest first, and each name is gone from the disk before the next one is touched: a
 * crash leaves a log without a gap, which begins a little earlier.
 *
 * Two files are made ahead, so that the writer never waits for zeroes: first the reserve, which
 * only a full disk needs (roll.c), then, once the segment at hand is filling up, a spare, which is
 * the next one. A node with nothing to write makes neither again. When the spare cannot be made, or
 * the reserve had to be begun, the log is full: on_space() says so while there is still room for
 * what is on its way, and says so again once both are there. Until then it is tried every second,
 * and at once when a segment was removed.
 */
#include <errno.h>
#include <time.h>

#include "base/file.h"
#include "raft/log/internal.h"

enum { RETRY_S = 1 };

/* Under the lock, given up meanwhile. */
static void remove_oldest(struct raft_log *log)
{
    uint64_t number = log->oldest_file;
    pthread_mutex_unlock(&log->lock);
    int status = segment_remove(log->dir, number);
    if (status == 0 || status == -ENOENT) {
        status = file_sync_dir(log->dir);
        if (status < 0)
            log_sync_failed(log, status);
    } else {
        log_report_failure(log, &log->keeper_reported_us, "a segment cannot be removed", status);
        log_pause_before_retry();
    }
    pthread_mutex_lock(&log->lock);
    if (status == 0)
        log->oldest_file++;
}

/* Under the lock, given up meanwhile. */
static void tell_space(struct raft_log *log, bool full)
{
    log->full = full;
    pthread_cond_signal(&log->writer_wanted);
    pthread_mutex_unlock(&log->lock);
    if (log->options.on_space)
        log->options.on_space(log->options.ctx, full);
    pthread_mutex_lock(&log->lock);
}

static bool is_closing(void *ctx)
{
    struct raft_log *log = ctx;
    pthread_mutex_lock(&log->lock);
    bool closing = log->keeper_closing;
    pthread_mutex_unlock(&log->lock);
    return closing;
}

static void wait_for_room(struct raft_log *log)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += RETRY_S;
    pthread_cond_timedwait(&log->keeper_wanted, &log->lock, &until);
}

/* Under the lock, given up meanwhile. */
static void make(struct raft_log *log, bool reserve)
{
    pthread_mutex_unlock(&log->lock);
    int status = segment_make(log->dir, reserve ? SEGMENT_RESERVE : SEGMENT_SPARE,
                              log->options.segment_bytes, is_closing, log);
    if (status < 0 && status != -ECANCELED)
        log_report_failure(log, &log->keeper_reported_us, "a segment cannot be made", status);
    pthread_mutex_lock(&log->lock);
    if (status < 0) {
        if (!log->full && (log->in_reserve || log->spare_wanted))
            tell_space(log, true);
        if (!log->keeper_closing)
            wait_for_room(log);
        return;
    }
    if (reserve) {
        log->has_reserve = true;
        log->in_reserve = false;
    } else {
        log->has_spare = true;
    }
    pthread_cond_signal(&log->writer_wanted);
}

void *log_keeper_run(void *arg)
{
    struct raft_log *log = arg;
    pthread_mutex_lock(&log->lock);
    while (!log->keeper_closing) {
        log_drop_segments(log, log->compact_index);
        if (log->oldest_file < log->segments[0].number) {
            remove_oldest(log);
        } else if (!log->has_reserve || (log->spare_wanted && !log->has_spare)) {
            make(log, !log->has_reserve);
        } else if (log->full) {
            tell_space(log, false);
        } else {
            pthread_cond_wait(&log->keeper_wanted, &log->lock);
        }
    }
    pthread_mutex_unlock(&log->lock);
    return NULL;
}
