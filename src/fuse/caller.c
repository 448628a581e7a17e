/* SPDX-License-Identifier: MIT */
#include "fuse/caller.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { LINE_BYTES = 256, PATH_BYTES = 64 };

void caller_init(struct command_caller *caller, fuse_req_t req)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    *caller = (struct command_caller){.uid = ctx->uid, .gid = ctx->gid};
    if (ctx->uid == 0)
        return; /* root needs no groups, and asking costs a file of /proc */
    uint32_t groups[COMMAND_MAX_GROUPS];
    int count = fuse_req_getgroups(req, COMMAND_MAX_GROUPS, groups);
    if (count <= 0)
        return;
    if (count > COMMAND_MAX_GROUPS)
        count = COMMAND_MAX_GROUPS;
    uint32_t *copy = memory_alloc((size_t)count * sizeof(*copy));
    memcpy(copy, groups, (size_t)count * sizeof(*copy));
    caller->groups = copy;
    caller->group_count = (uint16_t)count;
}

void caller_close(struct command_caller *caller)
{
    memory_free((void *)caller->groups);
    caller->groups = NULL;
    caller->group_count = 0;
}

bool caller_is_dying(pid_t thread)
{
    char path[PATH_BYTES], line[LINE_BYTES];
    if (thread <= 0)
        return false;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)thread);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool dying = false;
    while (fgets(line, sizeof(line), file))
        if (strncmp(line, "SigPnd:", 7) == 0 || strncmp(line, "ShdPnd:", 7) == 0)
            dying = dying || (strtoull(line + 7, NULL, 16) & (1u << (SIGKILL - 1)));
    fclose(file);
    return dying;
}

/* One descriptor, as /proc/PID/fdinfo/N shows it: "flags: OCTAL" and "ino: DECIMAL". */
static bool descriptor_writes_to(const char *path, uint64_t nodeid)
{
    char line[LINE_BYTES];
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool writes = false, same = false;
    while (fgets(line, sizeof(line), file)) {
        if (strncmp(line, "flags:", 6) == 0)
            writes = (strtoull(line + 6, NULL, 8) & O_ACCMODE) != O_RDONLY;
        else if (strncmp(line, "ino:", 4) == 0)
            same = strtoull(line + 4, NULL, 10) == nodeid;
    }
    fclose(file);
    return writes && same;
}

bool caller_writes_to(pid_t thread, uint64_t nodeid)
{
    char path[PATH_BYTES + NAME_MAX];
    if (thread <= 0)
        return false;
    snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)thread);
    DIR *dir = opendir(path);
    if (!dir)
        return false;
    bool writes = false;
    struct dirent *entry;
    while (!writes && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "/proc/%d/fdinfo/%s", (int)thread, entry->d_name);
        writes = descriptor_writes_to(path, nodeid);
    }
    closedir(dir);
    return writes;
}
