/* SPDX-License-Identifier: MIT */
/* log.c - opening, recovering, submitting, closing. log.h is the contract, format.h the layout. */
#include "raft/log/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "raft/log/internal.h"
#include "raft/log/recover.h"

/* ---- Recovery ---- */

struct recovery {
    struct raft_log *log;
    uint32_t segment;
    const char *bad; /* a record that no writer would write */
};

static void forget_configs(struct raft_log *log, uint64_t from)
{
    while (log->config_count && log->configs[log->config_count - 1].index >= from)
        buf_unref(log->configs[--log->config_count].payload);
}

static void note_config(struct raft_log *log, const struct format_record *r, const uint8_t *payload)
{
    if (log->config_count == log->config_capacity) {
        log->config_capacity = log->config_capacity ? 2 * log->config_capacity : 8;
        log->configs = memory_realloc(log->configs, log->config_capacity * sizeof(*log->configs));
    }
    log->configs[log->config_count++] = (struct raft_entry){.index = r->index,
                                                            .term = r->term,
                                                            .kind = RAFT_ENTRY_CONFIG,
                                                            .payload = buf_copy(payload, r->bytes)};
}

/* The newest one but `older`; nothing if there are fewer. */
static struct raft_entry config_found(const struct raft_log *log, uint32_t older)
{
    if (log->config_count <= older)
        return (struct raft_entry){0};
    return log->configs[log->config_count - 1 - older];
}

static void on_record(void *ctx, uint32_t batch_offset, const struct format_record *r,
                      const uint8_t *payload)
{
    struct recovery *rec = ctx;
    struct raft_log *log = rec->log;
    struct log_place place = {.segment = rec->segment,
                              .batch_offset = batch_offset,
                              .offset = r->offset,
                              .chain = r->chain};
    switch (r->kind) {
    case RAFT_ENTRY_NOOP:
    case RAFT_ENTRY_COMMAND:
    case RAFT_ENTRY_CONFIG:
        if (r->index != log->index.last_index + 1) {
            rec->bad = "an entry is out of order";
            return;
        }
        log_index_append(&log->index, r->term, &place);
        if (r->kind == RAFT_ENTRY_CONFIG)
            note_config(log, r, payload);
        break;
    case FORMAT_TRUNCATE:
        if (r->index <= log->index.base_index) {
            rec->bad = "a truncation reaches below the log's first entry";
            return;
        }
        log_index_truncate(&log->index, r->index);
        forget_configs(log, r->index);
        break;
    case FORMAT_HARD:
        log->hard = (struct raft_hard_state){.term = r->term, .vote = r->index};
        break;
    default:
        rec->bad = "a record is of an unknown kind";
    }
}

static int corrupt(struct raft_log *log, uint64_t number, uint32_t offset, const char *what,
                   char why[RAFT_LOG_WHY_BYTES])
{
    snprintf(why, RAFT_LOG_WHY_BYTES,
             "%s/%08" PRIu64
             ".seg is corrupt at byte %u: %s. Set the data directory aside and start "
             "this node again with -join",
             log->dir, number, offset, what);
    return -EUCLEAN;
}

/* The header must be this log's, and continue the segment before it. */
static int check_header(struct raft_log *log, const uint8_t *image, uint64_t number, bool first,
                        struct format_header *h, char why[RAFT_LOG_WHY_BYTES])
{
    int status = format_header_decode(h, image);
    if (status == -EPROTO)
        snprintf(why, RAFT_LOG_WHY_BYTES,
                 "%s/%08" PRIu64 ".seg is of a newer format: use a newer raftfs", log->dir, number);
    else if (status < 0 || h->number != number)
        return corrupt(log, number, 0, "its header is damaged", why);
    else if (h->incarnation != log->options.incarnation) {
        snprintf(why, RAFT_LOG_WHY_BYTES,
                 "%s/%08" PRIu64 ".seg belongs to another data directory: put the right one back",
                 log->dir, number);
        status = -ESTALE;
    } else if (!first && (h->first_batch != log->next_batch || h->chain != log->chain))
        return corrupt(log, number, 0, "it does not continue the segment before it", why);
    return status;
}

/*
 * After kill -9 the page cache may hold what the disk does not, and a vote or an acknowledgement
 * must not build on that: what was read is written and synced again. What is torn becomes zeroes.
 */
static int settle_last(struct raft_log *log, uint8_t *image, uint32_t end, bool torn)
{
    if (torn)
        memset(image + end, 0, log->options.segment_bytes - end);
    int status = segment_write(log->fd, image, torn ? log->options.segment_bytes : end, 0);
    return status == 0 && fdatasync(log->fd) < 0 ? -errno : status;
}

static int recover_segment(struct raft_log *log, uint64_t number, bool first, bool last,
                           uint8_t *image, bool *torn, char why[RAFT_LOG_WHY_BYTES])
{
    char path[SEGMENT_PATH_BYTES];
    struct format_header h;
    segment_path(log->dir, number, path);
    int fd = open(path, (last ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    int status = fd < 0 ? -errno : segment_read(fd, image, log->options.segment_bytes, 0);
    if (status < 0) {
        if (fd >= 0)
            close(fd);
        if (status == -EUCLEAN)
            return corrupt(log, number, 0, "it is too short", why);
        snprintf(why, RAFT_LOG_WHY_BYTES, "%s cannot be read: %s", path, strerror(-status));
        return status;
    }
    if (last)
        log->fd = fd;
    else
        close(fd);
    status = check_header(log, image, number, first, &h, why);
    if (status < 0)
        return status;
    if (first || h.last_index != log->index.last_index) { /* the first, or begun by a restart */
        log_index_close(&log->index);
        log_index_init(&log->index, h.last_index, h.last_term);
        forget_configs(log, 0);
    }
    log->hard = h.hard;
    struct recovery rec = {.log = log, .segment = (uint32_t)number};
    struct recover_result r = recover_scan(image, log->options.segment_bytes, &h, on_record, &rec);
    if (r.end == RECOVER_CORRUPT || rec.bad || (r.end == RECOVER_TORN && !last))
        return corrupt(log, number, r.end_offset, rec.bad ? rec.bad : "a batch is damaged", why);
    log->next_batch = r.next_batch;
    log->chain = r.chain;
    log->offset = r.end_offset;
    log->number = number;
    log->segments[log->segment_count++] =
        (struct log_segment){.number = number, .last_index = h.last_index};
    *torn = r.end == RECOVER_TORN;
    return last ? settle_last(log, image, r.end_offset, *torn) : 0;
}

static int recover(struct raft_log *log, const uint64_t *numbers, uint32_t count, bool *torn,
                   char why[RAFT_LOG_WHY_BYTES])
{
    uint8_t *image = memory_alloc(log->options.segment_bytes);
    int status = 0;
    log->segments = memory_alloc(count * sizeof(*log->segments));
    for (uint32_t i = 0; status == 0 && i < count; i++) {
        if (i > 0 && numbers[i] != numbers[i - 1] + 1)
            status = corrupt(log, numbers[i - 1] + 1, 0, "it is missing", why);
        else
            status = recover_segment(log, numbers[i], i == 0, i + 1 == count, image, torn, why);
    }
    memory_free(image);
    return status;
}

/* ---- Segments ---- */

static int begin_segment_at(struct raft_log *log, uint64_t last_index, uint64_t last_term)
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
    pthread_mutex_lock(&log->lock);
    log->segments =
        memory_realloc(log->segments, (log->segment_count + 1) * sizeof(*log->segments));
    log->segments[log->segment_count++] =
        (struct log_segment){.number = h.number, .last_index = last_index};
    pthread_mutex_unlock(&log->lock);
    return 0;
}

int log_begin_segment(struct raft_log *log)
{
    return begin_segment_at(log, log->index.last_index,
                            log_index_term(&log->index, log->index.last_index));
}

/* ---- Opening and closing ---- */

static int open_segments(struct raft_log *log, bool *torn, char why[RAFT_LOG_WHY_BYTES])
{
    uint64_t *numbers;
    uint32_t count;
    if (log->options.create && mkdir(log->dir, 0700) < 0 && errno != EEXIST) {
        snprintf(why, RAFT_LOG_WHY_BYTES, "%s cannot be made: %s", log->dir, strerror(errno));
        return -errno;
    }
    int status = segment_list(log->dir, &numbers, &count);
    if (status == 0 && log->options.create) {
        status = count ? -EEXIST : log_begin_segment(log);
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
        status = recover(log, numbers, count, torn, why);
    }
    memory_free(numbers);
    return status;
}

static void free_log(struct raft_log *log)
{
    forget_configs(log, 0);
    log_index_close(&log->index);
    if (log->fd >= 0)
        close(log->fd);
    pthread_mutex_destroy(&log->lock);
    pthread_cond_destroy(&log->submitted);
    pthread_cond_destroy(&log->read_asked);
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
    log->fd = -1;
    log->next_batch = 1;
    log->batch = memory_alloc(log->options.segment_bytes);
    log->jobs_end = &log->jobs;
    log->reads_end = &log->reads;
    log_index_init(&log->index, 0, 0);
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->submitted, NULL);
    pthread_cond_init(&log->read_asked, NULL);
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
    pthread_create(&log->writer, NULL, log_writer_run, log);
    pthread_create(&log->reader, NULL, log_reader_run, log);
    *out = log;
    return 0;
}

int raft_log_restart(struct raft_log *log, uint64_t index, uint64_t term)
{
    int status = begin_segment_at(log, index, term);
    if (status < 0)
        return status;
    /* From now on recovery starts at the new segment whatever becomes of the old ones. */
    pthread_mutex_lock(&log->lock);
    for (uint32_t i = 0; i + 1 < log->segment_count; i++)
        segment_remove(log->dir, log->segments[i].number);
    log->segments[0] = log->segments[log->segment_count - 1];
    log->segment_count = 1;
    log_index_close(&log->index);
    log_index_init(&log->index, index, term);
    forget_configs(log, 0);
    pthread_mutex_unlock(&log->lock);
    return file_sync_dir(log->dir);
}

void raft_log_close(struct raft_log *log)
{
    pthread_mutex_lock(&log->lock);
    log->closing = true;
    pthread_cond_signal(&log->submitted);
    pthread_cond_signal(&log->read_asked);
    pthread_mutex_unlock(&log->lock);
    pthread_join(log->writer, NULL);
    pthread_join(log->reader, NULL);
    free_log(log);
}

/* ---- Requests ---- */

static uint64_t entry_bytes(const struct raft_entry *e)
{
    return format_record_bytes(e->payload ? e->payload->bytes : 0);
}

/* A job of the write's entries from `from` on, as many as one batch holds, but at least one. */
static struct log_job *new_job(const struct raft_log *log, const struct raft_log_write *write,
                               uint32_t from)
{
    uint32_t count = 0;
    uint64_t stream_bytes = 2 * FORMAT_RECORD_HEADER_BYTES; /* truncation and hard state */
    while (
        from + count < write->count &&
        (count == 0 || stream_bytes + entry_bytes(&write->entries[from + count]) <= log->job_bytes))
        stream_bytes += entry_bytes(&write->entries[from + count++]);

    struct log_job *job = memory_alloc(sizeof(*job) + count * sizeof(job->entries[0]));
    job->next = NULL;
    job->write = (struct raft_log_write){.count = count, .entries = job->entries};
    job->stream_bytes = stream_bytes;
    for (uint32_t i = 0; i < count; i++) {
        job->entries[i] = write->entries[from + i];
        buf_ref(job->entries[i].payload);
    }
    return job;
}

/*
 * A write that is too much for one batch becomes several jobs. The first has the truncation and the
 * hard state (a term without its entries is harmless, entries of a term that the disk has not heard
 * of are not), the last the id: only then is the write durable.
 */
void raft_log_submit(struct raft_log *log, const struct raft_log_write *write)
{
    struct log_job *first = new_job(log, write, 0), *last = first;
    first->write.truncate_from = write->truncate_from;
    first->write.has_hard = write->has_hard;
    first->write.hard = write->hard;
    for (uint32_t from = first->write.count; from < write->count; from += last->write.count)
        last = last->next = new_job(log, write, from);
    last->write.id = write->id;
    pthread_mutex_lock(&log->lock);
    *log->jobs_end = first;
    log->jobs_end = &last->next;
    pthread_cond_signal(&log->submitted);
    pthread_mutex_unlock(&log->lock);
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
