/* SPDX-License-Identifier: MIT */
/*
 * roll.c - the log moves on to its next segment, at its end or behind some other entry, and knows
 * which entries its first segments are kept for.
 *
 * A segment is begun with a header from which the log can be recovered without the older ones, and
 * becomes part of the log in one moment, by the rename that gives it its name. So starting the log
 * over is beginning a segment whose header names another end than the log's: before that moment a
 * crash leaves the old log, after it the empty one, whatever becomes of the old files.
 */
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "raft/log/internal.h"

/* ---- What the segments hold ---- */

void log_add_segment(struct raft_log *log, uint64_t number, uint64_t before)
{
    if (log->segment_count == log->segment_capacity) {
        log->segment_capacity = log->segment_capacity ? 2 * log->segment_capacity : 16;
        log->segments =
            memory_realloc(log->segments, log->segment_capacity * sizeof(*log->segments));
    }
    log->segments[log->segment_count++] = (struct log_segment){.number = number, .before = before};
}

void log_truncate_index(struct raft_log *log, uint64_t from)
{
    log_index_truncate(&log->index, from);
    for (uint32_t i = log->segment_count; i > 0 && log->segments[i - 1].before >= from; i--)
        log->segments[i - 1].before = from - 1;
}

void log_restart_index(struct raft_log *log, uint64_t index, uint64_t term)
{
    log_index_restart(&log->index, index, term);
    log_forget_configs(log, 0);
    for (uint32_t i = 0; i < log->segment_count; i++)
        log->segments[i].before = index;
}

void log_drop_segments(struct raft_log *log, uint64_t index)
{
    uint32_t gone = 0;
    while (gone + 1 < log->segment_count && log->segments[gone + 1].before <= index)
        gone++;
    if (gone == 0)
        return;
    log_index_compact(&log->index, log->segments[gone].before);
    log->segment_count -= gone;
    memmove(log->segments, log->segments + gone, log->segment_count * sizeof(*log->segments));
}

/* ---- The next segment ---- */

/* Begins one behind (last_index, last_term); the log does not know of it yet. */
static int begin(struct raft_log *log, uint64_t last_index, uint64_t last_term)
{
    struct format_header h = {.incarnation = log->options.incarnation,
                              .number = log->number + 1,
                              .first_batch = log->next_batch,
                              .last_index = last_index,
                              .last_term = last_term,
                              .hard = log->hard,
                              .chain = log->chain};
    int fd = segment_create(log->dir, &h, log->options.segment_bytes);
    if (fd < 0)
        return fd;
    if (log->fd >= 0)
        close(log->fd);
    log->fd = fd;
    log->number = h.number;
    log->offset = FORMAT_SECTOR_BYTES;
    return 0;
}

int log_begin_segment(struct raft_log *log)
{
    pthread_mutex_lock(&log->lock);
    uint64_t last = log->index.last_index, term = log_index_term(&log->index, last);
    pthread_mutex_unlock(&log->lock);
    int status = begin(log, last, term);
    if (status < 0)
        return status;
    pthread_mutex_lock(&log->lock);
    log_add_segment(log, log->number, last);
    pthread_mutex_unlock(&log->lock);
    return 0;
}

int log_start_over(struct raft_log *log, uint64_t index, uint64_t term)
{
    int status = begin(log, index, term);
    if (status < 0)
        return status;
    pthread_mutex_lock(&log->lock);
    log_restart_index(log, index, term);
    log->segment_count = 0;
    log_add_segment(log, log->number, index);
    pthread_cond_signal(&log->keeper_wanted);
    pthread_mutex_unlock(&log->lock);
    return 0;
}
