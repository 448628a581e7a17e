/* SPDX-License-Identifier: MIT */
/*
 * reader.c - the reader thread: entries that are no longer in memory, each checked against the
 * chain.
 *
 * The places are copied under the lock, the files read without it; a segment that was removed
 * meanwhile gives -ESTALE.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/report.h"
#include "raft/log/internal.h"

struct reading {
    struct raft_log *log;
    int fd; /* of the segment read last, or -1 */
    uint32_t segment;
    uint8_t *image;
    uint8_t *payload;
};

enum { IMAGE_BYTES = RAFT_MAX_ENTRY_BYTES + RAFT_MAX_ENTRY_BYTES / 64 + 8192 };

static int open_segment(struct reading *r, uint32_t segment)
{
    char path[SEGMENT_PATH_BYTES];
    if (r->fd >= 0 && r->segment == segment)
        return 0;
    if (r->fd >= 0)
        close(r->fd);
    segment_path(r->log->dir, segment, path);
    r->fd = open(path, O_RDONLY | O_CLOEXEC);
    r->segment = segment;
    if (r->fd < 0)
        return errno == ENOENT ? -ESTALE : -errno;
    return 0;
}

/* The sectors from the record's first on, as many as its length asks for. */
static int read_sectors(struct reading *r, const struct log_place *place, uint32_t *stream_bytes)
{
    uint32_t sector = place->offset / FORMAT_STREAM_BYTES;
    uint32_t at = place->batch_offset + sector * FORMAT_SECTOR_BYTES;
    uint32_t within = place->offset % FORMAT_STREAM_BYTES, bytes;
    uint8_t length[4];
    uint32_t sectors = format_sectors(within + FORMAT_RECORD_HEADER_BYTES);
    int status = segment_read(r->fd, r->image, sectors * FORMAT_SECTOR_BYTES, at);
    if (status < 0)
        return status;
    format_stream_copy(r->image, within, length, sizeof(length));
    bytes = (uint32_t)length[0] | (uint32_t)length[1] << 8 | (uint32_t)length[2] << 16 |
            (uint32_t)length[3] << 24;
    if (bytes > RAFT_MAX_ENTRY_BYTES)
        return -EUCLEAN;
    sectors = format_sectors((uint64_t)within + FORMAT_RECORD_HEADER_BYTES + bytes);
    *stream_bytes = sectors * FORMAT_STREAM_BYTES;
    return segment_read(r->fd, r->image, sectors * FORMAT_SECTOR_BYTES, at);
}

static int read_entry(struct reading *r, uint64_t index, const struct log_place *place,
                      struct raft_entry *out)
{
    struct format_record record;
    uint32_t stream_bytes = 0, chain = place->chain;
    int status = open_segment(r, place->segment);
    if (status == 0)
        status = read_sectors(r, place, &stream_bytes);
    if (status < 0)
        return status;
    if (!format_record_read(r->image, stream_bytes, place->offset % FORMAT_STREAM_BYTES, &chain,
                            &record, r->payload) ||
        record.index != index)
        return -EUCLEAN;
    *out = (struct raft_entry){
        .index = index,
        .term = record.term,
        .kind = (enum raft_entry_kind)record.kind,
        .payload = record.kind == RAFT_ENTRY_NOOP ? NULL : buf_copy(r->payload, record.bytes)};
    return 0;
}

/* Copies the places of the range, as far as one message goes; 0 of them if it is not all held. */
static uint32_t find_places(struct raft_log *log, const struct raft_log_read *read,
                            struct log_place places[RAFT_MAX_APPEND_ENTRIES])
{
    uint32_t count = 0;
    pthread_mutex_lock(&log->lock);
    for (uint64_t i = read->first; i <= read->last && count < RAFT_MAX_APPEND_ENTRIES; i++) {
        const struct log_place *place = log_index_find(&log->index, i);
        if (!place)
            break;
        places[count++] = *place;
    }
    pthread_mutex_unlock(&log->lock);
    return count;
}

static void serve(struct reading *r, const struct raft_log_read *read)
{
    struct log_place places[RAFT_MAX_APPEND_ENTRIES];
    struct raft_entry entries[RAFT_MAX_APPEND_ENTRIES];
    uint32_t found = find_places(r->log, read, places), count = 0;
    uint64_t bytes = 0;
    int status = found ? 0 : -ESTALE;
    while (status == 0 && count < found) {
        status = read_entry(r, read->first + count, &places[count], &entries[count]);
        if (status < 0)
            break;
        bytes += entries[count].payload ? entries[count].payload->bytes : 0;
        if (count > 0 && bytes > RAFT_MAX_APPEND_BYTES) {
            buf_unref(entries[count].payload);
            break;
        }
        count++;
    }
    if (count > 0)
        status = 0; /* what follows is asked for again, and fails then */
    if (status == -EUCLEAN)
        report_error("log: entry %ju in %s fails its checksum: set the data directory aside and "
                     "start this node again with -join",
                     (uintmax_t)read->first, r->log->dir);
    read->on_read(read->ctx, status, entries, count);
}

void *log_reader_run(void *arg)
{
    struct raft_log *log = arg;
    struct reading r = {.log = log, .fd = -1};
    r.image = memory_alloc(IMAGE_BYTES);
    r.payload = memory_alloc(RAFT_MAX_ENTRY_BYTES);
    pthread_mutex_lock(&log->lock);
    while (log->reads || !log->closing) {
        struct log_read_job *job = log->reads;
        if (!job) {
            pthread_cond_wait(&log->read_asked, &log->lock);
            continue;
        }
        log->reads = job->next;
        if (!log->reads)
            log->reads_end = &log->reads;
        pthread_mutex_unlock(&log->lock);
        serve(&r, &job->read);
        memory_free(job);
        pthread_mutex_lock(&log->lock);
    }
    pthread_mutex_unlock(&log->lock);
    if (r.fd >= 0)
        close(r.fd);
    memory_free(r.image);
    memory_free(r.payload);
    return NULL;
}
