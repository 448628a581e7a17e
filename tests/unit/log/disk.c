/* SPDX-License-Identifier: MIT */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

int __real_open64(const char *path, int flags, ...);
int __real_fallocate64(int fd, int mode, off_t offset, off_t bytes);
ssize_t __real_pwrite64(int fd, const void *data, size_t bytes, off_t offset);
int __real_statvfs64(const char *path, struct statvfs *out);
int __real_unlink(const char *path);
int __real_rename(const char *from, const char *to);

int __wrap_open64(const char *path, int flags, ...);
int __wrap_fallocate64(int fd, int mode, off_t offset, off_t bytes);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t bytes, off_t offset);
int __wrap_statvfs64(const char *path, struct statvfs *out);
int __wrap_unlink(const char *path);
int __wrap_rename(const char *from, const char *to);

static struct {
    pthread_mutex_t lock;
    enum disk_kind kind;
    uint32_t room;
    uint64_t changes;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER, .room = UINT32_MAX};

void disk_set_room(enum disk_kind kind, uint32_t files)
{
    pthread_mutex_lock(&disk.lock);
    disk.kind = kind;
    disk.room = files;
    pthread_mutex_unlock(&disk.lock);
}

uint64_t disk_changes(void)
{
    pthread_mutex_lock(&disk.lock);
    uint64_t changes = disk.changes;
    pthread_mutex_unlock(&disk.lock);
    return changes;
}

/* Takes room for a file if there is any. */
static bool take_room(void)
{
    pthread_mutex_lock(&disk.lock);
    bool taken = disk.room > 0;
    if (taken && disk.room != UINT32_MAX)
        disk.room--;
    disk.changes++;
    pthread_mutex_unlock(&disk.lock);
    return taken;
}

static enum disk_kind kind_now(bool *room)
{
    pthread_mutex_lock(&disk.lock);
    enum disk_kind kind = disk.kind;
    *room = disk.room > 0;
    pthread_mutex_unlock(&disk.lock);
    return kind;
}

static void count_change(bool frees)
{
    pthread_mutex_lock(&disk.lock);
    disk.changes++;
    if (frees && disk.room != UINT32_MAX)
        disk.room++;
    pthread_mutex_unlock(&disk.lock);
}

int __wrap_open64(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (flags & O_CREAT)
        count_change(false);
    return __real_open64(path, flags, mode);
}

int __wrap_statvfs64(const char *path, struct statvfs *out)
{
    bool room;
    int status = __real_statvfs64(path, out);
    if (kind_now(&room) == DISK_PLAIN && !room)
        out->f_bfree = out->f_bavail = 0;
    return status;
}

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t bytes)
{
    bool room;
    if (kind_now(&room) == DISK_NO_ALLOCATE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    if (take_room())
        return __real_fallocate64(fd, mode, offset, bytes);
    errno = kind_now(&room) == DISK_QUOTA ? EDQUOT : ENOSPC;
    return -1;
}

ssize_t __wrap_pwrite64(int fd, const void *data, size_t bytes, off_t offset)
{
    bool room;
    off_t end = lseek(fd, 0, SEEK_END);
    if (kind_now(&room) == DISK_NO_ALLOCATE && end == 0 && !take_room()) {
        errno = ENOSPC;
        return -1;
    }
    count_change(false);
    return __real_pwrite64(fd, data, bytes, offset);
}

int __wrap_unlink(const char *path)
{
    int status = __real_unlink(path);
    if (status == 0)
        count_change(strstr(path, ".seg") != NULL);
    return status;
}

int __wrap_rename(const char *from, const char *to)
{
    count_change(false);
    return __real_rename(from, to);
}
