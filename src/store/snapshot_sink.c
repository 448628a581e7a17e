/* SPDX-License-Identifier: MIT */
/*
 * The file's name says of which snapshot it is, and its pages say themselves how far they are
 * right: there is nothing beside the file that could disagree with it. After a power cut its tail
 * may be zeroes or missing; what is kept ends before the first page that does not match.
 */
#include "store/snapshot_sink.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/report.h"
#include "store/pace.h"
#include "store/snapshot_dir.h"
#include "store/vfs.h"

#define NAME_FORMAT "incoming-%016" PRIx64 "-%" PRIu64 "-%" PRIu64 "-%" PRIu64

struct snapshot_sink {
    char dir[SNAPSHOT_PATH_BYTES];
    struct snapshot what; /* its name: the partial file's */
    int fd;
    uint64_t offset;
};

/* ---- Names ---- */

static bool parse(const char *name, struct snapshot *out)
{
    char again[SNAPSHOT_PATH_BYTES];
    *out = (struct snapshot){0};
    if (sscanf(name, "incoming-%" SCNx64 "-%" SCNu64 "-%" SCNu64 "-%" SCNu64, &out->id, &out->term,
               &out->index, &out->bytes) != 4)
        return false;
    snprintf(again, sizeof(again), NAME_FORMAT, out->id, out->term, out->index, out->bytes);
    if (strcmp(name, again) != 0 || out->id == 0)
        return false;
    memcpy(out->name, again, strlen(again) + 1);
    return true;
}

/* Removes what is left of all but `kept`, which may be NULL. */
static int remove_others(const char *dir, const char *kept)
{
    char path[SNAPSHOT_PATH_BYTES];
    DIR *d = opendir(dir);
    if (!d)
        return -errno;
    for (struct dirent *e; (e = readdir(d));) {
        if (strncmp(e->d_name, "incoming-", 9) != 0 || (kept && strcmp(e->d_name, kept) == 0))
            continue;
        snapshot_path(path, dir, e->d_name);
        unlink(path);
    }
    closedir(d);
    return 0;
}

int snapshot_sink_left(const char *dir, struct snapshot *out)
{
    DIR *d = opendir(dir);
    if (!d)
        return -errno;
    bool found = false;
    for (struct dirent *e; !found && (e = readdir(d));)
        found = parse(e->d_name, out);
    closedir(d);
    return found ? 0 : -ENOENT;
}

/* ---- Going on ---- */

/* How many of the pages are good. */
static uint32_t count_good(const uint8_t *pages, uint64_t offset, uint32_t bytes)
{
    uint32_t good = 0;
    while (good + VFS_PAGE_BYTES <= bytes &&
           vfs_page_is_good(pages + good, (offset + good) / VFS_PAGE_BYTES + 1))
        good += VFS_PAGE_BYTES;
    return good;
}

/* Sets the offset behind the last good page and cuts the rest off. */
static int keep_good(struct snapshot_sink *sink)
{
    uint8_t *piece = memory_alloc(PACE_PIECE_BYTES);
    ssize_t n;
    uint32_t good;
    do {
        n = pread(sink->fd, piece, PACE_PIECE_BYTES, (off_t)sink->offset);
        good = n > 0 ? count_good(piece, sink->offset, (uint32_t)n) : 0;
        sink->offset += good;
    } while (good > 0 && sink->offset < sink->what.bytes);
    int status = n < 0 ? -errno : 0;
    memory_free(piece);
    if (sink->offset > sink->what.bytes)
        sink->offset = sink->what.bytes;
    return status == 0 && ftruncate(sink->fd, (off_t)sink->offset) < 0 ? -errno : status;
}

int snapshot_sink_open(struct snapshot_sink **out, const char *dir, const struct snapshot *what)
{
    char path[SNAPSHOT_PATH_BYTES];
    if (what->id == 0 || what->index == 0 || what->bytes == 0 || what->bytes % VFS_PAGE_BYTES)
        return -EINVAL;
    struct snapshot_sink *sink = memory_zalloc(sizeof(*sink));
    sink->what = *what;
    snprintf(sink->dir, sizeof(sink->dir), "%s", dir);
    snprintf(sink->what.name, sizeof(sink->what.name), NAME_FORMAT, what->id, what->term,
             what->index, what->bytes);
    snapshot_path(path, dir, sink->what.name);
    int status = remove_others(dir, sink->what.name);
    sink->fd = status < 0 ? -1 : open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (status == 0 && sink->fd < 0)
        status = -errno;
    if (status == 0)
        status = keep_good(sink);
    if (status == 0)
        status = file_sync_dir(dir);
    if (status < 0) {
        snapshot_sink_close(sink);
        return status;
    }
    *out = sink;
    return 0;
}

uint64_t snapshot_sink_offset(const struct snapshot_sink *sink)
{
    return sink->offset;
}

/* ---- Pieces ---- */

int snapshot_sink_write(struct snapshot_sink *sink, uint64_t offset, const void *data,
                        uint32_t bytes)
{
    if (offset != sink->offset || bytes % VFS_PAGE_BYTES || bytes > sink->what.bytes - offset)
        return -EINVAL;
    if (count_good(data, offset, bytes) != bytes)
        return -EUCLEAN;
    for (uint32_t put = 0; put < bytes;) {
        ssize_t n =
            pwrite(sink->fd, (const uint8_t *)data + put, bytes - put, (off_t)(offset + put));
        if (n < 0)
            return -errno;
        put += (uint32_t)n;
    }
    if (fdatasync(sink->fd) < 0)
        return -errno;
    sink->offset += bytes;
    return 0;
}

static int check(const struct snapshot_sink *sink)
{
    char path[SNAPSHOT_PATH_BYTES];
    struct snapshot found;
    const struct snapshot *w = &sink->what;
    snapshot_path(path, sink->dir, w->name);
    int status = snapshot_look(path, &found);
    if (status == 0 && (found.id != w->id || found.index != w->index || found.term != w->term ||
                        found.bytes != w->bytes))
        status = -EUCLEAN;
    if (status == -EUCLEAN)
        report_error("%s is not the snapshot that was announced; it is fetched again", path);
    return status;
}

int snapshot_sink_finish(struct snapshot_sink *sink, struct snapshot *out)
{
    if (sink->offset != sink->what.bytes)
        return -EINVAL;
    int status = check(sink);
    if (status == 0 && fsync(sink->fd) < 0)
        status = -errno;
    if (status < 0)
        return status;
    *out = sink->what;
    return snapshot_publish(sink->dir, sink->what.name, out);
}

void snapshot_sink_close(struct snapshot_sink *sink)
{
    if (sink->fd >= 0)
        close(sink->fd);
    memory_free(sink);
}

void snapshot_sink_discard(struct snapshot_sink *sink)
{
    remove_others(sink->dir, NULL);
    snapshot_sink_close(sink);
}
