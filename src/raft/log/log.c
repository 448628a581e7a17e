/* SPDX-License-Identifier: MIT */
/* log.c - opening, recovering, submitting, closing. log.h is the contract, format.h the layout. */
#include "raft/log/log.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/thread.h"
#include "raft/log/internal.h"

/* ---- Opening and closing ---- */

/* The newest one but `older`; nothing if there are fewer. */
static struct raft_entry config_found(const struct raft_log *log, uint32_t older)
{
    if (log->config_count <= older)
        return (struct raft_entry){0};
    return log->configs[log->config_count - 1 - older];
}

static int open_segments(struct raft_log *log, bool *torn, char why[RAFT_LOG_WHY_BYTES])
{
    uint64_t *numbers;
    uint32_t count;
    if (log->options.create && mkdir(log->dir, 0700) < 0 && errno != EEXIST) {
        snprintf(why, RAFT_LOG_WHY_BYTES, "%s cannot be made: %s", log->dir, strerror(errno));
        return -errno;
    }
    int status = segment_list(log->dir, &numbers, &count);
    segment_sweep(log->dir);
    log->has_spare = segment_is_made(log->dir, SEGMENT_SPARE, log->options.segment_bytes);
    log->has_reserve = segment_is_made(log->dir, SEGMENT_RESERVE, log->options.segment_bytes);
    if (status == 0 && log->options.create) {
        status = count ? -EEXIST : log_begin_segment(log, LOG_ROOM_MADE);
        log->oldest_file = 1;
        if (status < 0)
            snprintf(why, RAFT_LOG_WHY_BYTES, "no log can be made in %s: %s", log->dir,
                     strerror(-status));
    } else if (status < 0 || count == 0) {
        snprintf(
            why, RAFT_LOG_WHY_BYTES,
            "%s holds no log: put it back, or set the data directory aside and start this node "
            "again with -join",
            log->dir);
        status = -EUCLEAN;
    } else {
        status = log_replay(log, numbers, count, torn, why);
        log_want_spare(log);
    }
    memory_free(numbers);
    return status;
}

static void free_log(struct raft_log *log)
{
    log_direct_close(log);
    log_forget_configs(log, 0);
    log_index_close(&log->index);
    if (log->fd >= 0)
        close(log->fd);
    pthread_mutex_destroy(&log->lock);
    pthread_cond_destroy(&log->writer_wanted);
    pthread_cond_destroy(&log->read_asked);
    pthread_cond_destroy(&log->keeper_wanted);
    memory_free(log->segments);
    memory_free(log->records);
    memory_free(log->configs);
    memory_free(log->batch);
    memory_free(log->dir);
    memory_free(log);
}

/* The stream of a batch, but for its frame, in an empty segment; and no more than one sync should.
 */
static uint64_t largest_job(uint32_t segment_bytes)
{
    uint64_t sectors = segment_bytes / FORMAT_SECTOR_BYTES - 1;
    uint64_t bytes = sectors * FORMAT_STREAM_BYTES - LOG_BATCH_OVERHEAD_BYTES;
    return bytes < LOG_BATCH_STREAM_BYTES ? bytes : LOG_BATCH_STREAM_BYTES;
}

int raft_log_open(const struct raft_log_options *options, struct raft_log **out,
                  struct raft_log_recovered *recovered, char why[RAFT_LOG_WHY_BYTES])
{
    struct raft_log *log = memory_zalloc(sizeof(*log));
    bool torn = false;
    log->options = *options;
    if (log->options.segment_bytes == 0)
        log->options.segment_bytes = RAFT_LOG_SEGMENT_BYTES;
    log->job_bytes = largest_job(log->options.segment_bytes);
    log->dir = memory_strdup(options->dir);
    log->fd = log->direct.fd = log->direct.event_fd = -1;
    log->next_batch = 1;
    log->batch = memory_alloc_pages(log->options.segment_bytes);
    log->jobs_end = &log->jobs;
    log->reads_end = &log->reads;
    log_index_init(&log->index, 0, 0);
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->writer_wanted, NULL);
    pthread_cond_init(&log->read_asked, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&log->keeper_wanted, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int status = open_segments(log, &torn, why);
    if (status < 0) {
        free_log(log);
        return status;
    }
    *recovered =
        (struct raft_log_recovered){.hard = log->hard,
                                    .base_index = log->index.base_index,
                                    .base_term = log->index.base_term,
                                    .last_index = log->index.last_index,
                                    .run_count = log->index.run_count,
                                    .runs = log->index.runs,
                                    .configs = {config_found(log, 0), config_found(log, 1)},
                                    .torn = torn};
    log_direct_init(log);
    thread_start(&log->writer, "log-writer", log_writer_run, log);
    thread_start(&log->reader, "log-reader", log_reader_run, log);
    thread_start(&log->keeper, "log-keeper", log_keeper_run, log);
    *out = log;
    return 0;
}

void raft_log_close(struct raft_log *log)
{
    log_direct_drain(log);
    pthread_mutex_lock(&log->lock);
    log->closing = true;
    pthread_cond_signal(&log->writer_wanted);
    pthread_cond_signal(&log->read_asked);
    pthread_mutex_unlock(&log->lock);
    pthread_join(log->writer, NULL);
    pthread_join(log->reader, NULL);
    pthread_mutex_lock(&log->lock);
    log->keeper_closing = true;
    pthread_cond_signal(&log->keeper_wanted);
    pthread_mutex_unlock(&log->lock);
    pthread_join(log->keeper, NULL);
    free_log(log);
}

/* ---- Requests ---- */

static uint64_t entry_bytes(const struct raft_entry *e)
{
    return format_record_bytes(e->payload ? e->payload->bytes : 0);
}

/*
 * A job of the write's entries from `from` on, as many as one batch holds, but at least one. The
 * first one has all else that is to be written, too.
 */
static struct log_job *new_job(const struct raft_log *log, const struct raft_log_write *write,
                               uint32_t from)
{
    struct raft_log_write w = {.reserve = write->reserve};
    if (from == 0)
        w = *write;
    uint64_t stream_bytes =
        format_record_bytes(0) * ((w.restart_index != 0) + (w.truncate_from != 0) + w.has_hard);
    w.count = 0;
    while (from + w.count < write->count &&
           (w.count == 0 ||
            stream_bytes + entry_bytes(&write->entries[from + w.count]) <= log->job_bytes))
        stream_bytes += entry_bytes(&write->entries[from + w.count++]);

    struct log_job *job = memory_alloc(sizeof(*job) + w.count * sizeof(job->entries[0]));
    for (uint32_t i = 0; i < w.count; i++) {
        job->entries[i] = write->entries[from + i];
        buf_ref(job->entries[i].payload);
    }
    w.id = 0;
    w.entries = job->entries;
    job->next = NULL;
    job->write = w;
    job->stream_bytes = stream_bytes;
    return job;
}

/*
 * A write that is too much for one batch becomes several jobs. The first has the restart, the
 * truncation and the hard state (a term without its entries is harmless, entries of a term that the
 * disk has not heard of are not), the last the id: only then is the write durable.
 */
void raft_log_submit(struct raft_log *log, const struct raft_log_write *write)
{
    struct log_job *first = new_job(log, write, 0), *last = first;
    uint32_t jobs = 1;
    for (uint32_t from = first->write.count; from < write->count; from += last->write.count, jobs++)
        last = last->next = new_job(log, write, from);
    last->write.id = write->id;
    pthread_mutex_lock(&log->lock);
    *log->jobs_end = first;
    log->jobs_end = &last->next;
    log->reserve_jobs += write->reserve ? jobs : 0;
    if (!log->options.direct)
        pthread_cond_signal(&log->writer_wanted);
    pthread_mutex_unlock(&log->lock);
}

void raft_log_restart(struct raft_log *log, uint64_t index, uint64_t term)
{
    const struct raft_log_write write = {
        .restart_index = index, .restart_term = term, .reserve = true};
    struct log_job *job = new_job(log, &write, 0);
    pthread_mutex_lock(&log->lock);
    log->reserve_jobs++;
    pthread_mutex_unlock(&log->lock);
    log_write(log, job, LOG_BATCH_OVERHEAD_BYTES + job->stream_bytes);
}

void raft_log_read(struct raft_log *log, const struct raft_log_read *read)
{
    struct log_read_job *job = memory_alloc(sizeof(*job));
    *job = (struct log_read_job){.read = *read};
    pthread_mutex_lock(&log->lock);
    *log->reads_end = job;
    log->reads_end = &job->next;
    pthread_cond_signal(&log->read_asked);
    pthread_mutex_unlock(&log->lock);
}

void raft_log_compact(struct raft_log *log, uint64_t index)
{
    pthread_mutex_lock(&log->lock);
    if (index > log->compact_index) {
        log->compact_index = index;
        pthread_cond_signal(&log->keeper_wanted);
    }
    pthread_mutex_unlock(&log->lock);
}

uint64_t raft_log_bytes(struct raft_log *log)
{
    pthread_mutex_lock(&log->lock);
    uint64_t newest = log->segments[log->segment_count - 1].number;
    uint64_t bytes = (newest - log->oldest_file + 1) * log->options.segment_bytes;
    pthread_mutex_unlock(&log->lock);
    return bytes;
}

const char *raft_log_dir(const struct raft_log *log)
{
    return log->dir;
}
