/* SPDX-License-Identifier: MIT */
/*
 * keeper.c - the keeper thread: takes away the files that the log no longer needs.
 *
 * Segments go oldest first, and each name is gone from the disk before the next one is touched: a
 * crash leaves a log without a gap, which begins a little earlier.
 */
#include <errno.h>

#include "base/file.h"
#include "raft/log/internal.h"

/* Under the lock, given up meanwhile. */
static void remove_oldest(struct raft_log *log)
{
    uint64_t number = log->oldest_file;
    pthread_mutex_unlock(&log->lock);
    int status = segment_remove(log->dir, number);
    if (status == 0 || status == -ENOENT)
        status = file_sync_dir(log->dir);
    if (status < 0) {
        log_report_failure(log, &log->keeper_reported_us, "a segment cannot be removed", status);
        log_pause_before_retry();
    }
    pthread_mutex_lock(&log->lock);
    if (status == 0)
        log->oldest_file++;
}

void *log_keeper_run(void *arg)
{
    struct raft_log *log = arg;
    pthread_mutex_lock(&log->lock);
    while (!log->closing) {
        log_drop_segments(log, log->compact_index);
        if (log->oldest_file < log->segments[0].number)
            remove_oldest(log);
        else
            pthread_cond_wait(&log->keeper_wanted, &log->lock);
    }
    pthread_mutex_unlock(&log->lock);
    return NULL;
}
