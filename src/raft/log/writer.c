/* SPDX-License-Identifier: MIT */
/*
 * writer.c - the writer thread: one batch at a time, one fdatasync each.
 *
 * Whatever was submitted while a batch was on its way goes into the next one. A write that fails
 * changes nothing: it is tried again at the same place, because rolling back in memory what may be
 * half on disk goes wrong in ever new ways (canonical/raft #450). A sync that fails ends the
 * process: the page cache may call clean what never reached the disk.
 */
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/report.h"
#include "raft/log/internal.h"

enum {
    RETRY_MS = 100,
    REPORT_EVERY_US = 60 * 1000 * 1000,
};

void log_report_failure(const struct raft_log *log, uint64_t *reported_us, const char *what,
                        int status)
{
    uint64_t now_us = clock_mono_us();
    if (*reported_us && now_us < *reported_us + REPORT_EVERY_US)
        return;
    *reported_us = now_us;
    report_error("log: %s in %s: %s. Make room or mend the disk; this node goes on by itself", what,
                 log->dir, strerror(-status));
}

void log_pause_before_retry(void)
{
    nanosleep(&(struct timespec){.tv_nsec = RETRY_MS * 1000000L}, NULL);
}

static bool closing(struct raft_log *log)
{
    pthread_mutex_lock(&log->lock);
    bool yes = log->closing;
    pthread_mutex_unlock(&log->lock);
    return yes;
}

/* False if the log is being closed and the write still fails. */
static bool write_batch(struct raft_log *log, uint32_t sectors)
{
    int status;
    while ((status = segment_write(log->fd, log->batch, sectors * FORMAT_SECTOR_BYTES,
                                   log->offset)) < 0) {
        log_report_failure(log, &log->reported_us, "a write fails", status);
        if (closing(log))
            return false;
        log_pause_before_retry();
    }
    if (fdatasync(log->fd) < 0)
        log_sync_failed(log, -errno);
    return true;
}

/* Waits until the batch has a place; false: the log is being closed, and there is none. */
static bool make_room(struct raft_log *log, uint32_t sectors)
{
    for (;;) {
        enum log_room room;
        pthread_mutex_lock(&log->lock);
        while ((room = log_find_room(log, sectors)) == LOG_ROOM_NONE &&
               !(log->closing && log->full)) {
            log->spare_wanted = true;
            pthread_cond_signal(&log->keeper_wanted);
            pthread_cond_wait(&log->writer_wanted, &log->lock);
        }
        pthread_mutex_unlock(&log->lock);
        if (room == LOG_ROOM_NONE || room == LOG_ROOM_HERE)
            return room == LOG_ROOM_HERE;
        int status = log_begin_segment(log, room);
        if (status < 0)
            log_report_failure(log, &log->reported_us, "a segment cannot be begun", status);
    }
}

struct log_job *log_take_jobs(struct raft_log *log, uint64_t *stream_bytes)
{
    struct log_job *first = log->jobs, *last = first;
    *stream_bytes = LOG_BATCH_OVERHEAD_BYTES + first->stream_bytes;
    while (last->next &&
           *stream_bytes + last->next->stream_bytes <= LOG_BATCH_OVERHEAD_BYTES + log->job_bytes) {
        last = last->next;
        *stream_bytes += last->stream_bytes;
    }
    log->jobs = last->next;
    if (!log->jobs)
        log->jobs_end = &log->jobs;
    last->next = NULL;
    return first;
}

static struct format_record *next_record(struct raft_log *log, uint32_t *count)
{
    if (*count == log->record_capacity) {
        log->record_capacity = log->record_capacity ? 2 * log->record_capacity : 1024;
        log->records = memory_realloc(log->records, log->record_capacity * sizeof(*log->records));
    }
    return &log->records[(*count)++];
}

static void add_job(struct raft_log *log, struct format_batch *batch, const struct log_job *job,
                    uint32_t *count)
{
    const struct raft_log_write *w = &job->write;
    struct format_record *r;
    if (w->restart_index) {
        r = next_record(log, count);
        *r = (struct format_record){
            .kind = FORMAT_RESTART, .term = w->restart_term, .index = w->restart_index};
        format_batch_add(batch, r, NULL);
    }
    if (w->truncate_from) {
        r = next_record(log, count);
        *r = (struct format_record){.kind = FORMAT_TRUNCATE, .index = w->truncate_from};
        format_batch_add(batch, r, NULL);
    }
    for (uint32_t i = 0; i < w->count; i++) {
        const struct raft_entry *e = &w->entries[i];
        r = next_record(log, count);
        *r = (struct format_record){.kind = (uint8_t)e->kind,
                                    .term = e->term,
                                    .index = e->index,
                                    .bytes = e->payload ? e->payload->bytes : 0};
        format_batch_add(batch, r, e->payload ? e->payload->data : NULL);
    }
    if (w->has_hard) {
        r = next_record(log, count);
        *r = (struct format_record){
            .kind = FORMAT_HARD, .term = w->hard.term, .index = w->hard.vote};
        format_batch_add(batch, r, NULL);
    }
}

void log_build_batch(struct raft_log *log, const struct log_job *jobs, uint32_t sectors,
                     struct log_batch *batch)
{
    struct format_batch format;
    *batch = (struct log_batch){0};
    memset(log->batch, 0, (size_t)sectors * FORMAT_SECTOR_BYTES);
    format_batch_begin(&format, log->batch, sectors, log->next_batch, log->chain);
    for (const struct log_job *job = jobs; job; job = job->next) {
        add_job(log, &format, job, &batch->records);
        batch->last_id = job->write.id ? job->write.id : batch->last_id;
    }
    batch->sectors = format_batch_end(&format);
    batch->chain = format.chain;
}

void log_finish_batch(struct raft_log *log, const struct log_batch *batch)
{
    pthread_mutex_lock(&log->lock);
    for (uint32_t i = 0; i < batch->records; i++) {
        const struct format_record *r = &log->records[i];
        struct log_place place = {.segment = (uint32_t)log->number,
                                  .batch_offset = log->offset,
                                  .offset = r->offset,
                                  .chain = r->chain};
        if (r->kind == FORMAT_RESTART)
            log_restart_index(log, r->index, r->term);
        else if (r->kind == FORMAT_TRUNCATE)
            log_truncate_index(log, r->index);
        else if (r->kind == FORMAT_HARD)
            log->hard = (struct raft_hard_state){.term = r->term, .vote = r->index};
        else
            log_index_append(&log->index, r->term, &place);
    }
    log->offset += batch->sectors * FORMAT_SECTOR_BYTES;
    log_want_spare(log);
    pthread_mutex_unlock(&log->lock);
    log->next_batch++;
    log->chain = batch->chain;
}

void log_free_jobs(struct raft_log *log, struct log_job *jobs)
{
    uint32_t reserve_jobs = 0;
    for (struct log_job *next; jobs; jobs = next) {
        next = jobs->next;
        reserve_jobs += jobs->write.reserve;
        for (uint32_t i = 0; i < jobs->write.count; i++)
            buf_unref(jobs->entries[i].payload);
        memory_free(jobs);
    }
    pthread_mutex_lock(&log->lock);
    log->reserve_jobs -= reserve_jobs;
    pthread_mutex_unlock(&log->lock);
}

/* False if the log is being closed and could not be written to. */
static bool write_jobs(struct raft_log *log, struct log_job *jobs, uint64_t stream_bytes)
{
    uint32_t sectors = format_sectors(stream_bytes);
    struct log_batch batch;
    if (!make_room(log, sectors))
        return false;
    log_build_batch(log, jobs, sectors, &batch);
    if (!write_batch(log, batch.sectors))
        return false;
    log_finish_batch(log, &batch);
    if (batch.last_id)
        log->options.on_durable(log->options.ctx, batch.last_id);
    return true;
}

void log_write(struct raft_log *log, struct log_job *jobs, uint64_t stream_bytes)
{
    /* A log has no gap: what follows a batch that was given up is given up, too. */
    log->given_up = log->given_up || !write_jobs(log, jobs, stream_bytes);
    log_free_jobs(log, jobs);
}

void *log_writer_run(void *arg)
{
    struct raft_log *log = arg;
    pthread_mutex_lock(&log->lock);
    for (;;) {
        if (log->jobs && !log->writing) {
            uint64_t stream_bytes;
            struct log_job *jobs = log_take_jobs(log, &stream_bytes);
            log->writing = true;
            log->left = false;
            pthread_mutex_unlock(&log->lock);
            log_write(log, jobs, stream_bytes);
            pthread_mutex_lock(&log->lock);
            log->writing = false;
        } else if (log->closing && !log->writing) {
            break;
        } else {
            pthread_cond_wait(&log->writer_wanted, &log->lock);
        }
    }
    pthread_mutex_unlock(&log->lock);
    return NULL;
}
