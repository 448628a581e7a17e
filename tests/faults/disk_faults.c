/* SPDX-License-Identifier: MIT */
/*
 * disk_faults.c - a disk that stands still, or fails to sync, for the process that preloads this.
 *
 *     LD_PRELOAD=…/disk_faults.so  DISK_FAULTS=DIR  DISK_FAULTS_PATHS=PREFIX  program…
 *
 * Only syncs of files whose absolute path begins with PREFIX are concerned, whichever thread makes
 * them. The switches are files in DIR, looked for at each of these syncs:
 *
 *     DIR/stall   the sync waits until the file is gone, and makes DIR/stalled to say that it does
 *     DIR/fail    the sync takes the file away and fails with EIO: one sync for each such file
 *
 * Everything else, writes too, works: the page cache takes what the disk would not. But while one
 * of the two files is there, nothing is taken for asynchronous writing to such a file: whoever
 * wants it there must sync it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef int sync_function(int fd);
typedef int submit_function(io_context_t ctx, long count, struct iocb **iocbs);

static void switch_path(const char *name, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%s", getenv("DISK_FAULTS"), name);
}

static bool concerned(int fd)
{
    char link[64], path[PATH_MAX];
    const char *prefix = getenv("DISK_FAULTS_PATHS");
    if (!prefix || !getenv("DISK_FAULTS"))
        return false;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    if (n < 0)
        return false;
    path[n] = '\0';
    return strncmp(path, prefix, strlen(prefix)) == 0;
}

static void wait_while_stalled(void)
{
    char stall[PATH_MAX], stalled[PATH_MAX];
    switch_path("stall", stall);
    if (access(stall, F_OK) < 0)
        return;
    switch_path("stalled", stalled);
    int fd = open(stalled, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    while (access(stall, F_OK) == 0)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static bool must_fail(void)
{
    char fail[PATH_MAX];
    switch_path("fail", fail);
    return unlink(fail) == 0;
}

static int sync_or_not(const char *name, int fd)
{
    sync_function *real;
    *(void **)&real = dlsym(RTLD_NEXT, name);
    if (concerned(fd)) {
        wait_while_stalled();
        if (must_fail()) {
            errno = EIO;
            return -1;
        }
    }
    return real(fd);
}

int fsync(int fd)
{
    return sync_or_not("fsync", fd);
}

int fdatasync(int fd)
{
    return sync_or_not("fdatasync", fd);
}

static bool has_switch(const char *name)
{
    char path[PATH_MAX];
    switch_path(name, path);
    return access(path, F_OK) == 0;
}

int io_submit(io_context_t ctx, long count, struct iocb **iocbs)
{
    submit_function *real;
    *(void **)&real = dlsym(RTLD_NEXT, "io_submit");
    if (count > 0 && concerned(iocbs[0]->aio_fildes) && (has_switch("stall") || has_switch("fail")))
        return -EAGAIN;
    return real(ctx, count, iocbs);
}
