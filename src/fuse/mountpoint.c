/* SPDX-License-Identifier: MIT */
/*
 * mountpoint.c - the directory beneath a mount.
 *
 * A daemon that died leaves its mount behind, and everything there gives ENOTCONN. statfs(2) is
 * what tells: stat(2) may succeed on attributes that the kernel has cached. Root detaches with
 * umount2(2), others with fusermount3.
 */
#include "fuse/mountpoint.h"

#include <errno.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuse/mount.h"

enum { MAX_STACKED = 16, LINE_BYTES = 8192, PATH_BYTES = 4096 };

extern char **environ;

static int wait_for(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

static int detach_as_user(const char *mountpoint)
{
    char command[] = "fusermount3", unmount[] = "-uzq", end[] = "--";
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s", mountpoint);
    char *argv[] = {command, unmount, end, path, NULL};
    pid_t child;
    int status = posix_spawnp(&child, command, NULL, NULL, argv, environ);
    return status ? -status : wait_for(child);
}

int mountpoint_detach(const char *mountpoint)
{
    if (umount2(mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        return 0;
    return errno == EPERM ? detach_as_user(mountpoint) : -errno;
}

/* ---- Before mounting ---- */

/* /proc/self/mountinfo writes blanks and backslashes in a path as \ooo. */
static void unescape(char *path)
{
    char *out = path;
    for (const char *in = path; *in; out++) {
        if (in[0] == '\\' && in[1] && in[2] && in[3]) {
            *out = (char)((in[1] - '0') * 64 + (in[2] - '0') * 8 + (in[3] - '0'));
            in += 4;
        } else {
            *out = *in++;
        }
    }
    *out = '\0';
}

/* A line: ID PARENT MAJ:MIN ROOT MOUNTPOINT OPTIONS [FIELDS] - TYPE SOURCE ... */
static bool is_raftfs_at(const char *line, const char *mountpoint)
{
    char path[PATH_BYTES];
    const char *type = strstr(line, " - ");
    if (!type || strncmp(type, " - fuse.raftfs ", 15) != 0 ||
        sscanf(line, "%*d %*d %*s %*s %4095s", path) != 1)
        return false;
    unescape(path);
    return strcmp(path, mountpoint) == 0;
}

static bool is_raftfs(const char *mountpoint)
{
    char *line = NULL;
    size_t size = 0;
    bool found = false;
    FILE *file = fopen("/proc/self/mountinfo", "re");
    while (file && !found && getline(&line, &size, file) > 0)
        found = is_raftfs_at(line, mountpoint);
    free(line);
    if (file)
        fclose(file);
    return found;
}

static int fail(int status, char why[MOUNT_WHY_BYTES], const char *mountpoint, const char *what)
{
    snprintf(why, MOUNT_WHY_BYTES, "the mount point %s %s", mountpoint, what);
    return status;
}

/* ECONNABORTED: its daemon has died while it was asked. */
static bool is_dead(const char *mountpoint)
{
    struct statfs statfs_now;
    return statfs(mountpoint, &statfs_now) < 0 && (errno == ENOTCONN || errno == ECONNABORTED);
}

/* Several dead mounts may lie upon each other. */
static int detach_dead(const char *mountpoint, char why[MOUNT_WHY_BYTES])
{
    int status = 0;
    for (int i = 0; i < MAX_STACKED && status == 0; i++) {
        if (!is_dead(mountpoint))
            return 0;
        status = mountpoint_detach(mountpoint);
    }
    return fail(status ? status : -EBUSY, why, mountpoint,
                "was left behind by a daemon that died, and cannot be detached: run "
                "fusermount3 -uz on it, or umount -l as root");
}

int mount_prepare(const char *mountpoint, char why[MOUNT_WHY_BYTES])
{
    struct stat stat_now;
    int status = detach_dead(mountpoint, why);
    if (status < 0)
        return status;
    if (stat(mountpoint, &stat_now) < 0) {
        status = -errno;
        if (status == -ENOENT)
            return fail(status, why, mountpoint, "does not exist: make it with mkdir -p");
        return fail(status, why, mountpoint, strerror(-status));
    }
    if (!S_ISDIR(stat_now.st_mode))
        return fail(-ENOTDIR, why, mountpoint, "is not a directory: choose one, or make it");
    if (is_raftfs(mountpoint))
        return fail(-EBUSY, why, mountpoint,
                    "has a raftfs mounted already: choose another, or umount that one first");
    return 0;
}

/* ---- After mounting ---- */

void mountpoint_look_up_special(const char *mountpoint)
{
    static const char *const names[] = {".status", ".leader", ".raft", ".raft/local",
                                        ".raft/members"};
    enum { NAMES = sizeof(names) / sizeof(names[0]) };
    static char paths[NAMES][PATH_BYTES + 16];
    for (int i = 0; i < NAMES; i++)
        snprintf(paths[i], sizeof(paths[i]), "%s/%s", mountpoint, names[i]);
    pid_t child = fork();
    if (child == 0) { /* of a process with threads: system calls only */
        struct stat stat_now;
        /* With FUSE's descriptor the connection would outlive the daemon, and this wait with it. */
        if (close_range(3, ~0u, 0) < 0)
            _exit(1);
        for (int i = 0; i < NAMES; i++)
            if (stat(paths[i], &stat_now) < 0)
                _exit(1);
        _exit(0);
    }
    if (child > 0)
        wait_for(child);
}
