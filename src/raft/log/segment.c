/* SPDX-License-Identifier: MIT */
#include "raft/log/segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

enum { ZERO_BYTES = 1024 * 1024 };

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

/* Zeroes that were really written: fallocate() alone would leave each sync metadata to change. */
static int fill(int fd, const struct format_header *header, uint32_t bytes)
{
    uint8_t *zeroes = memory_zalloc(ZERO_BYTES);
    int status = 0;
    for (uint32_t at = 0; status == 0 && at < bytes; at += ZERO_BYTES)
        status = segment_write(fd, zeroes, bytes - at < ZERO_BYTES ? bytes - at : ZERO_BYTES, at);
    if (status == 0) {
        format_header_encode(header, zeroes);
        status = segment_write(fd, zeroes, FORMAT_SECTOR_BYTES, 0);
    }
    memory_free(zeroes);
    return status == 0 && fsync(fd) < 0 ? -errno : status;
}

int segment_create(const char *dir, const struct format_header *header, uint32_t bytes)
{
    char aside[SEGMENT_PATH_BYTES], path[SEGMENT_PATH_BYTES];
    snprintf(aside, sizeof(aside), "%s/new", dir);
    segment_path(dir, header->number, path);
    int fd = open(aside, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int status = fill(fd, header, bytes);
    if (status == 0 && rename(aside, path) < 0)
        status = -errno;
    if (status == 0)
        status = file_sync_dir(dir);
    if (status == 0)
        return fd;
    close(fd);
    unlink(aside);
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
