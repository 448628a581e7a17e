/* SPDX-License-Identifier: MIT */
/*
 * target_files.c - files of a directory: what `echo value > key` and `cat key` do.
 *
 * put is open(O_CREAT|O_TRUNC), one write, close; with --sync an fsync before the close, which a
 * local file system needs for what a raftfs write already promises. get is open, read, close: with
 * a buffer somewhat larger than the value, as a program that knows its keys has (or stdio, whose is
 * 4 KiB), so that one short read is the whole value. A far larger one would cost the pinning of its
 * pages, which is no part of a read. With --local it reads the replica of that node, and asks
 * nobody.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "target.h"

enum { PAGE_BYTES = 4096 };

static int files_open(struct target *t)
{
    if (snprintf(t->path, sizeof(t->path), "%s", t->where) >= (int)sizeof(t->path))
        return -ENAMETOOLONG;
    return 0;
}

static int files_connect(struct client *c)
{
    c->fd = open(c->target->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return c->fd < 0 ? -errno : 0;
}

/* The key's whole path, as a shell gives it: the kernel walks it each time. */
static const char *path_of(const struct client *c, const char *key, char *room, size_t size)
{
    const struct target *t = c->target;
    snprintf(room, size, "%s/%s%s", t->path, t->options->local ? ".raft/local/" : "", key);
    return room;
}

static int close_after(int fd, int rc)
{
    if (close(fd) < 0 && rc == 0)
        rc = -errno;
    return rc;
}

static int files_put(struct client *c, const char *key, const void *value, size_t bytes)
{
    char path[512];
    int fd =
        open(path_of(c, key, path, sizeof(path)), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return -errno;
    int rc = 0;
    for (size_t done = 0; done < bytes && rc == 0;) {
        ssize_t n = write(fd, (const char *)value + done, bytes - done);
        if (n < 0)
            rc = -errno;
        else
            done += (size_t)n;
    }
    if (rc == 0 && c->target->options->sync && fsync(fd) < 0)
        rc = -errno;
    return close_after(fd, rc);
}

/* Of one read: more than the value, in whole pages. */
static size_t block_bytes(const struct client *c)
{
    return (c->target->options->value_bytes / PAGE_BYTES + 1) * PAGE_BYTES;
}

static ssize_t files_get(struct client *c, const char *key, void *value, size_t room)
{
    char path[512];
    int fd = open(path_of(c, key, path, sizeof(path)), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    size_t done = 0, asked;
    ssize_t n;
    do { /* a short read is the end of a file */
        asked = room - done < block_bytes(c) ? room - done : block_bytes(c);
        n = read(fd, (char *)value + done, asked);
        done += n > 0 ? (size_t)n : 0;
    } while (n > 0 && (size_t)n == asked);
    int rc = close_after(fd, n < 0 ? -errno : 0);
    return rc < 0 ? rc : (ssize_t)done;
}

static int files_stat(struct client *c, const char *key)
{
    char path[512];
    struct stat s;
    return stat(path_of(c, key, path, sizeof(path)), &s) < 0 ? -errno : 0;
}

static int list_one(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return -errno;
    errno = 0;
    while (readdir(dir) != NULL)
        continue;
    int rc = -errno;
    closedir(dir);
    return rc;
}

static int files_list(struct client *c)
{
    char path[512], name[16];
    unsigned dirs = c->target->options->dirs;
    int rc = dirs == 0 ? list_one(c->target->path) : 0;
    for (unsigned i = 0; i < dirs && rc == 0; i++) {
        snprintf(name, sizeof(name), "d%u", i);
        rc = list_one(path_of(c, name, path, sizeof(path)));
    }
    return rc;
}

static int files_create(struct client *c, const char *key)
{
    char path[512];
    int fd =
        open(path_of(c, key, path, sizeof(path)), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return fd < 0 ? -errno : close_after(fd, 0);
}

static int files_remove(struct client *c, const char *key)
{
    char path[512];
    return unlink(path_of(c, key, path, sizeof(path))) < 0 ? -errno : 0;
}

static int files_rename(struct client *c, const char *from, const char *to)
{
    char old[512], new[512];
    return rename(path_of(c, from, old, sizeof(old)), path_of(c, to, new, sizeof(new))) < 0 ? -errno
                                                                                            : 0;
}

const struct target_kind target_files = {
    .prefix = "",
    .open = files_open,
    .connect = files_connect,
    .put = files_put,
    .get = files_get,
    .stat = files_stat,
    .list = files_list,
    .create = files_create,
    .remove = files_remove,
    .rename = files_rename,
};
