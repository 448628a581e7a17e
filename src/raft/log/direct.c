/* SPDX-License-Identifier: MIT */
/*
 * direct.c - little batches, written from the loop's thread, which does not wait for them.
 *
 * To wake the writer thread and to be woken by it costs about as much as the sync of a short write.
 * Under load many share it; a single client's write would pay it twice, on its way through two
 * nodes. So the loop hands a little batch to the kernel itself (Linux AIO), through a descriptor
 * that is O_DIRECT and O_DSYNC, and an eventfd says when it is on the disk. Nothing else waits for
 * the disk there: the blocks are allocated and written already (segment.c), and the page cache is
 * emptied of the segment when that is begun.
 *
 * It is only ever the short way of what the writer thread does. What the kernel does not take, or
 * what comes back with an error, is left to the writer, which does the whole batch over in the
 * ordinary way: there errors are told apart, reported and tried again, and a sync that fails once
 * more ends the process. That is safe because no page cache stands between: nothing has been called
 * clean that was not on the disk, and what was acknowledged before had a sync of its own.
 *
 * Where a file system knows no O_DIRECT, or not in sectors of 512 bytes, all of it is the writer's.
 * It must say so (statx, from Linux 6.1 on): some take any descriptor as O_DIRECT, and then write
 * through the page cache and sync before io_submit() returns (btrfs), which the loop cannot wait
 * for.
 *
 * io_submit() itself waits while the file system is frozen (fsfreeze(8)), and a moment where the
 * journal has the inode at hand, whose mtime changes. The others then take this node for dead,
 * as long as that lasts.
 *
 * One batch at a time: log->writing says that one is on its way, here or there.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "raft/log/internal.h"

enum {
    MAX_ENTRIES = 8, /* more make a batch worth a thread, and the loop has others to serve */
    MAX_BYTES = 64 * 1024,
};

void log_direct_init(struct raft_log *log)
{
    struct log_direct *d = &log->direct;
    if (!log->options.direct || io_setup(1, &d->aio) < 0)
        return;
    d->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    log_direct_begin_segment(log);
}

void log_direct_close(struct raft_log *log)
{
    struct log_direct *d = &log->direct;
    if (d->fd >= 0)
        close(d->fd);
    if (d->event_fd >= 0)
        close(d->event_fd);
    if (d->aio)
        io_destroy(d->aio);
}

/* The file system writes single sectors of it without the page cache. */
static bool takes_sectors(int fd)
{
#ifdef STATX_DIOALIGN
    struct statx st;
    return statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) == 0 &&
           (st.stx_mask & STATX_DIOALIGN) && st.stx_dio_offset_align > 0 &&
           st.stx_dio_offset_align <= FORMAT_SECTOR_BYTES;
#else
    (void)fd;
    return false;
#endif
}

void log_direct_begin_segment(struct raft_log *log)
{
    struct log_direct *d = &log->direct;
    char path[SEGMENT_PATH_BYTES];
    if (d->fd >= 0)
        close(d->fd);
    d->fd = -1;
    segment_path(log->dir, log->number, path);
    if (d->event_fd >= 0)
        d->fd = open(path, O_WRONLY | O_DIRECT | O_DSYNC | O_CLOEXEC);
    if (d->fd >= 0 && !takes_sectors(d->fd)) {
        close(d->fd);
        d->fd = -1;
    }
    if (d->fd >= 0) /* the zeroes that it was filled with */
        posix_fadvise(d->fd, 0, 0, POSIX_FADV_DONTNEED);
}

int raft_log_event_fd(const struct raft_log *log)
{
    return log->direct.event_fd;
}

/* Under the lock: all that waits goes into one little batch, which has a place. */
static bool fits(const struct raft_log *log)
{
    uint64_t stream_bytes = LOG_BATCH_OVERHEAD_BYTES;
    uint32_t entries = 0;
    if (log->direct.fd < 0)
        return false;
    for (const struct log_job *job = log->jobs; job; job = job->next) {
        stream_bytes += job->stream_bytes;
        entries += job->write.count;
        if (entries > MAX_ENTRIES || stream_bytes > MAX_BYTES)
            return false;
    }
    return log_find_room(log, format_sectors(stream_bytes)) == LOG_ROOM_HERE;
}

static bool submit(struct raft_log *log)
{
    struct log_direct *d = &log->direct;
    struct iocb *iocb = &d->iocb;
    io_prep_pwrite(iocb, d->fd, log->batch, d->batch.sectors * FORMAT_SECTOR_BYTES, log->offset);
    io_set_eventfd(iocb, d->event_fd);
    return io_submit(d->aio, 1, &iocb) == 1;
}

/* Gives the batch to the writer thread. */
static void leave(struct raft_log *log)
{
    struct log_job *first = log->direct.jobs, *last = first;
    log->direct.jobs = NULL;
    while (last->next)
        last = last->next;
    pthread_mutex_lock(&log->lock);
    last->next = log->jobs;
    if (!log->jobs)
        log->jobs_end = &last->next;
    log->jobs = first;
    log->writing = false;
    log->left = true;
    pthread_cond_signal(&log->writer_wanted);
    pthread_mutex_unlock(&log->lock);
}

void raft_log_push(struct raft_log *log)
{
    struct log_direct *d = &log->direct;
    uint64_t stream_bytes;
    pthread_mutex_lock(&log->lock);
    bool waits = log->jobs && !log->writing;
    bool here = waits && !log->left && fits(log);
    if (here) {
        d->jobs = log_take_jobs(log, &stream_bytes);
        log->writing = true;
    }
    pthread_mutex_unlock(&log->lock);
    if (waits && !here)
        pthread_cond_signal(&log->writer_wanted);
    if (!here)
        return;
    log_build_batch(log, d->jobs, format_sectors(stream_bytes), &d->batch);
    if (!submit(log))
        leave(log);
}

/* The kernel has ended a write, well or not; the writes that are durable by it, or 0. */
static uint64_t finish(struct raft_log *log, const struct io_event *event)
{
    struct log_direct *d = &log->direct;
    if ((int64_t)event->res != (int64_t)d->batch.sectors * FORMAT_SECTOR_BYTES) {
        leave(log);
        return 0;
    }
    log_finish_batch(log, &d->batch);
    log_free_jobs(log, d->jobs);
    d->jobs = NULL;
    pthread_mutex_lock(&log->lock);
    log->writing = false;
    pthread_mutex_unlock(&log->lock);
    return d->batch.last_id;
}

uint64_t raft_log_reap(struct raft_log *log)
{
    struct log_direct *d = &log->direct;
    struct io_event event;
    eventfd_t count;
    eventfd_read(d->event_fd, &count);
    if (!d->jobs || io_getevents(d->aio, 0, 1, &event, NULL) != 1)
        return 0;
    return finish(log, &event);
}

void log_direct_drain(struct raft_log *log)
{
    struct io_event event;
    while (log->direct.jobs)
        if (io_getevents(log->direct.aio, 1, 1, &event, NULL) == 1)
            finish(log, &event);
}
