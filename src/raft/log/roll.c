/* SPDX-License-Identifier: MIT */
/*
 * roll.c - the log moves on to its next segment, and knows which entries its segments hold.
 *
 * A segment is begun with a header from which the log can be recovered without the older ones, and
 * becomes part of the log in one moment, by the rename that gives it its name.
 *
 * The files are made ahead (keeper.c). When the disk is full there is one more, the reserve, for
 * writes that free space or keep the cluster alive, and for those only: what was submitted before
 * such a write goes with it, since a log has an order. Where not even a reserve could be made, the
 * last part of each segment is kept for them.
 */
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/report.h"
#include "raft/log/internal.h"

enum {
    KEPT_DIVISOR = 8,  /* of a segment, without a reserve */
    SPARE_DIVISOR = 4, /* the part of a segment after which the next one is made */
};

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
    for (uint32_t i = log->segment_count; i > 0 && log->segments[i - 1].before >= from; i--) {
        log->segments[i - 1].before = from - 1;
        log->segments[i - 1].headless = true;
    }
}

void log_restart_index(struct raft_log *log, uint64_t index, uint64_t term)
{
    log_index_restart(&log->index, index, term);
    log_forget_configs(log, 0);
    log->segments[0] = log->segments[log->segment_count - 1];
    log->segments[0].before = index;
    log->segments[0].headless = false;
    log->segment_count = 1;
    pthread_cond_signal(&log->keeper_wanted);
}

void log_drop_segments(struct raft_log *log, uint64_t index)
{
    uint32_t gone = 0;
    for (uint32_t i = 1; i < log->segment_count; i++) {
        const struct log_segment *s = &log->segments[i];
        if (s->before + s->headless <= index) /* headless, it begins with its first entry as base */
            gone = i;
    }
    if (gone == 0)
        return;
    log_index_compact(&log->index, log->segments[gone].before);
    log->segment_count -= gone;
    memmove(log->segments, log->segments + gone, log->segment_count * sizeof(*log->segments));
}

/* ---- Room ---- */

enum log_room log_find_room(const struct raft_log *log, uint32_t sectors)
{
    uint32_t left = (log->options.segment_bytes - log->offset) / FORMAT_SECTOR_BYTES;
    uint32_t kept = log->options.segment_bytes / FORMAT_SECTOR_BYTES / KEPT_DIVISOR;
    bool reserve = log->reserve_jobs > 0;
    bool here = sectors <= left;
    if (here && !reserve && log->in_reserve)
        return LOG_ROOM_NONE;
    if (here && !reserve && !log->has_reserve && log->offset > FORMAT_SECTOR_BYTES)
        here = left - sectors >= kept;
    if (here)
        return LOG_ROOM_HERE;
    if (log->has_spare)
        return LOG_ROOM_SPARE;
    return reserve && log->has_reserve ? LOG_ROOM_RESERVE : LOG_ROOM_NONE;
}

void log_want_spare(struct raft_log *log)
{
    if (log->spare_wanted || log->offset <= log->options.segment_bytes / SPARE_DIVISOR)
        return;
    log->spare_wanted = true;
    pthread_cond_signal(&log->keeper_wanted);
}

/* ---- The next segment ---- */

void log_sync_failed(const struct raft_log *log, int status)
{
    report_fatal("log: a sync fails in %s: %s. What the disk holds is unknown: mend it and start "
                 "this node again",
                 log->dir, strerror(-status));
}

/* Takes a file that was made ahead, or makes one. */
static int take(struct raft_log *log, enum log_room room, const struct format_header *h)
{
    const char *name = room == LOG_ROOM_SPARE     ? SEGMENT_SPARE
                       : room == LOG_ROOM_RESERVE ? SEGMENT_RESERVE
                                                  : SEGMENT_FIRST;
    int status = 0;
    if (room == LOG_ROOM_MADE)
        status = segment_make(log->dir, name, log->options.segment_bytes, NULL, NULL);
    return status < 0 ? status : segment_begin(log->dir, name, h);
}

/* Begins the next file; the index does not know of it yet. */
static int begin(struct raft_log *log, enum log_room room, uint64_t last_index, uint64_t last_term)
{
    struct format_header h = {.incarnation = log->options.incarnation,
                              .number = log->number + 1,
                              .first_batch = log->next_batch,
                              .last_index = last_index,
                              .last_term = last_term,
                              .hard = log->hard,
                              .chain = log->chain};
    int fd = take(log, room, &h);
    int status = fd < 0 ? fd : file_sync_dir(log->dir);
    if (fd >= 0 && status < 0)
        log_sync_failed(log, status);
    pthread_mutex_lock(&log->lock);
    if (room == LOG_ROOM_SPARE)
        log->has_spare = false;
    if (room == LOG_ROOM_RESERVE)
        log->has_reserve = false;
    if (status == 0)
        log->in_reserve = room == LOG_ROOM_RESERVE;
    log->spare_wanted = status < 0;
    pthread_cond_signal(&log->keeper_wanted);
    pthread_mutex_unlock(&log->lock);
    if (status < 0)
        return status;
    if (log->fd >= 0)
        close(log->fd);
    log->fd = fd;
    log->number = h.number;
    log->offset = FORMAT_SECTOR_BYTES;
    log_direct_begin_segment(log);
    return 0;
}

int log_begin_segment(struct raft_log *log, enum log_room room)
{
    pthread_mutex_lock(&log->lock);
    uint64_t last = log->index.last_index, term = log_index_term(&log->index, last);
    pthread_mutex_unlock(&log->lock);
    int status = begin(log, room, last, term);
    if (status < 0)
        return status;
    pthread_mutex_lock(&log->lock);
    log_add_segment(log, log->number, last);
    pthread_mutex_unlock(&log->lock);
    return 0;
}
