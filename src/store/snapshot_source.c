/* SPDX-License-Identifier: MIT */
#include "store/snapshot_source.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/report.h"
#include "store/snapshot_dir.h"
#include "store/vfs.h"

struct snapshot_source {
    struct snapshot info;
    int fd;
};

static int find(const char *dir, uint64_t id, uint64_t min_index, struct snapshot *out)
{
    struct snapshot all[SNAPSHOT_MOST_LISTED];
    int count = snapshot_list(dir, all);
    for (int i = 0; i < count; i++) {
        bool fits = id ? all[i].id == id : all[i].id != 0;
        if (fits && all[i].index >= min_index) {
            *out = all[i];
            return 0;
        }
    }
    return count < 0 ? count : -ENOENT;
}

int snapshot_source_open(struct snapshot_source **out, const char *dir, uint64_t id,
                         uint64_t min_index)
{
    char path[SNAPSHOT_PATH_BYTES];
    struct snapshot info, now;
    int status = find(dir, id, min_index, &info);
    if (status < 0)
        return status;
    snapshot_path(path, dir, info.name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    /* One of the same state may have taken its name between the two. */
    status = snapshot_look(path, &now);
    if (status < 0 || now.id != info.id) {
        close(fd);
        return status < 0 ? status : -ENOENT;
    }
    struct snapshot_source *source = memory_zalloc(sizeof(*source));
    source->info = info;
    source->fd = fd;
    *out = source;
    return 0;
}

const struct snapshot *snapshot_source_info(const struct snapshot_source *source)
{
    return &source->info;
}

int snapshot_source_read(struct snapshot_source *source, uint64_t offset, uint32_t bytes, void *out)
{
    uint64_t total = source->info.bytes;
    if (offset % VFS_PAGE_BYTES || bytes % VFS_PAGE_BYTES || offset > total ||
        bytes > total - offset)
        return -EINVAL;
    uint8_t *page = out;
    for (uint32_t got = 0; got < bytes;) {
        ssize_t n = pread(source->fd, page + got, bytes - got, (off_t)(offset + got));
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        got += (uint32_t)n;
    }
    for (uint32_t at = 0; at < bytes; at += VFS_PAGE_BYTES) {
        uint64_t number = (offset + at) / VFS_PAGE_BYTES + 1;
        if (vfs_page_is_good(page + at, number))
            continue;
        report_error(
            "snapshot %s: page %ju does not match its checksum, the disk has changed it: it "
            "is not sent. The next snapshot takes its place",
            source->info.name, (uintmax_t)number);
        return -EUCLEAN;
    }
    return 0;
}

void snapshot_source_close(struct snapshot_source *source)
{
    close(source->fd);
    memory_free(source);
}
