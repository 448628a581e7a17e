/* SPDX-License-Identifier: MIT */
/*
 * file.c - one large file, written or read from end to end in blocks; each block is a sample.
 *
 * file-write creates it anew and ends with an fsync, which counts. file-read reads what file-write
 * left there, after telling the kernel to forget its pages.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "progress.h"

static int blocks(const struct options *o, struct result *r, int fd, char *block, bool writing)
{
    struct progress bar = progress_start(o);
    uint64_t done = 0;
    int rc = 0;
    while (done < o->file_bytes && rc == 0) {
        uint64_t left = o->file_bytes - done;
        size_t bytes = left < o->value_bytes ? (size_t)left : o->value_bytes;
        uint64_t start_ns = bench_now_ns();
        ssize_t n = writing ? write(fd, block, bytes) : read(fd, block, bytes);
        samples_add(&r->samples, start_ns, bench_now_ns() - start_ns);
        if (n <= 0)
            rc = n < 0 ? -errno : -ENODATA;
        else
            done += (uint64_t)n;
        progress_show(&bar, (double)done / (double)o->file_bytes, "");
    }
    progress_end(&bar);
    r->bytes = done;
    return rc;
}

int file_run(const struct options *o, struct result *r)
{
    bool writing = strcmp(o->command, "file-write") == 0;
    char path[512];
    snprintf(path, sizeof(path), "%s/large", o->targets[0]);
    int fd = writing ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)
                     : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        complain("%s: %s", path, strerror(errno));
        return -EIO;
    }
    char *block = malloc(o->value_bytes);
    if (block == NULL)
        abort();
    memset(block, 'x', o->value_bytes);
    if (!writing)
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    use_take(o, &r->before);
    uint64_t start_ns = bench_now_ns();
    int rc = blocks(o, r, fd, block, writing);
    if (rc == 0 && writing && fsync(fd) < 0)
        rc = -errno;
    if (close(fd) < 0 && rc == 0)
        rc = -errno;
    r->seconds = (double)(bench_now_ns() - start_ns) / 1e9;
    use_take(o, &r->after);
    free(block);
    if (rc < 0)
        complain("%s: %s", path, strerror(-rc));
    return rc;
}
