/* SPDX-License-Identifier: MIT */
#include "raft/log/segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/memory.h"

enum { PIECE_BYTES = 1024 * 1024 };

void segment_path(const char *dir, uint64_t number, char path[SEGMENT_PATH_BYTES])
{
    snprintf(path, SEGMENT_PATH_BYTES, "%s/%08" PRIu64 ".seg", dir, number);
}

int segment_read(int fd, void *out, uint32_t bytes, uint32_t offset)
{
    for (uint32_t done = 0; done < bytes;) {
        ssize_t n = pread(fd, (uint8_t *)out + done, bytes - done, offset + done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EUCLEAN;
        done += (uint32_t)n;
    }
    return 0;
}

int segment_write(int fd, const void *data, uint32_t bytes, uint32_t offset)
{
    for (uint32_t done = 0; done < bytes;) {
        ssize_t n = pwrite(fd, (const uint8_t *)data + done, bytes - done, offset + done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        done += (uint32_t)n;
    }
    return 0;
}

static void name_path(const char *dir, const char *name, const char *suffix,
                      char path[SEGMENT_PATH_BYTES])
{
    snprintf(path, SEGMENT_PATH_BYTES, "%s/%s%s", dir, name, suffix);
}

/* A look at the free space, so that a full disk is not written to in vain again and again. */
static bool has_room(const char *dir, uint32_t bytes)
{
    struct statvfs v;
    if (statvfs(dir, &v) < 0)
        return true;
    uint64_t blocks = geteuid() == 0 ? v.f_bfree : v.f_bavail;
    return blocks >= bytes / v.f_frsize + 1;
}

static int allocate(int fd, uint32_t bytes)
{
    int status;
    do
        status = fallocate(fd, 0, 0, bytes) < 0 ? -errno : 0;
    while (status == -EINTR);
    return status;
}

/*
 * Zeroes that were really written: allocated ones alone would leave each sync metadata to change.
 * With somebody to ask, in pieces that are synced one by one, so that no heap of dirty pages stands
 * before another file's sync.
 */
static int fill(int fd, uint32_t bytes, bool (*stop)(void *ctx), void *ctx)
{
    uint8_t *zeroes = memory_zalloc(PIECE_BYTES);
    int status = 0;
    for (uint32_t at = 0; status == 0 && at < bytes; at += PIECE_BYTES) {
        status = segment_write(fd, zeroes, bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES, at);
        if (status == 0 && stop && fdatasync(fd) < 0)
            status = -errno;
        if (status == 0 && stop && stop(ctx))
            status = -ECANCELED;
    }
    memory_free(zeroes);
    return status;
}

int segment_make(const char *dir, const char *name, uint32_t bytes, bool (*stop)(void *ctx),
                 void *ctx)
{
    char aside[SEGMENT_PATH_BYTES], path[SEGMENT_PATH_BYTES];
    name_path(dir, name, ".new", aside);
    name_path(dir, name, "", path);
    if (!has_room(dir, bytes))
        return -ENOSPC;
    int fd = open(aside, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int status = allocate(fd, bytes);
    if (status == -EOPNOTSUPP || (status == 0 && strcmp(name, SEGMENT_RESERVE) != 0))
        status = fill(fd, bytes, stop, ctx);
    if (status == 0 && fdatasync(fd) < 0)
        status = -errno;
    close(fd);
    if (status == 0 && rename(aside, path) < 0)
        status = -errno;
    if (status < 0)
        unlink(aside);
    return status;
}

bool segment_is_made(const char *dir, const char *name, uint32_t bytes)
{
    char path[SEGMENT_PATH_BYTES];
    struct stat st;
    name_path(dir, name, "", path);
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == bytes;
}

void segment_sweep(const char *dir)
{
    static const char *const names[] = {SEGMENT_SPARE, SEGMENT_RESERVE, SEGMENT_FIRST};
    char path[SEGMENT_PATH_BYTES];
    for (uint32_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        name_path(dir, names[i], ".new", path);
        unlink(path);
    }
    name_path(dir, SEGMENT_FIRST, "", path);
    unlink(path);
}

int segment_begin(const char *dir, const char *name, const struct format_header *header)
{
    char from[SEGMENT_PATH_BYTES], to[SEGMENT_PATH_BYTES];
    uint8_t sector[FORMAT_SECTOR_BYTES];
    name_path(dir, name, "", from);
    segment_path(dir, header->number, to);
    format_header_encode(header, sector);
    int fd = open(from, O_RDWR | O_CLOEXEC);
    int status = fd < 0 ? -errno : segment_write(fd, sector, sizeof(sector), 0);
    if (status == 0 && (fdatasync(fd) < 0 || rename(from, to) < 0))
        status = -errno;
    if (status == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    unlink(from); /* after a failed sync nobody knows what it holds */
    return status;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

int segment_list(const char *dir, uint64_t **numbers, uint32_t *count)
{
    DIR *d = opendir(dir);
    *numbers = NULL;
    *count = 0;
    if (!d)
        return -errno;
    for (struct dirent *e; (e = readdir(d));) {
        uint64_t number;
        int end = 0;
        if (sscanf(e->d_name, "%" SCNu64 ".seg%n", &number, &end) != 1 || end == 0 ||
            e->d_name[end] != '\0')
            continue;
        *numbers = memory_realloc(*numbers, (*count + 1) * sizeof(**numbers));
        (*numbers)[(*count)++] = number;
    }
    closedir(d);
    if (*count)
        qsort(*numbers, *count, sizeof(**numbers), compare);
    return 0;
}

int segment_remove(const char *dir, uint64_t number)
{
    char path[SEGMENT_PATH_BYTES];
    segment_path(dir, number, path);
    return unlink(path) < 0 ? -errno : 0;
}
