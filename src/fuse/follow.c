/* SPDX-License-Identifier: MIT */
#include "fuse/follow.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    STAT_BYTES = 1024,
    PROCESSOR_FIELD = 39, /* of /proc/TID/stat, see proc(5); the second ends with the last ')' */
};

/* -1: unknown. */
static int processor_of(pid_t thread)
{
    char path[64], text[STAT_BYTES];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)thread);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *at = strrchr(text, ')');
    for (int field = 2; at && field < PROCESSOR_FIELD; field++)
        at = strchr(at + 1, ' ');
    return at ? atoi(at + 1) : -1;
}

/*
 * Back to whatever is allowed: if that is all that this thread's group is given, by asking for all
 * there is. Asking for just that would keep it there when the group is given more (cpuset(7)).
 */
static void run_anywhere(const cpu_set_t *allowed)
{
    cpu_set_t all, given;
    memset(&all, 0xff, sizeof(all));
    if (sched_setaffinity(0, sizeof(all), &all) < 0 ||
        sched_getaffinity(0, sizeof(given), &given) < 0 || !CPU_EQUAL(&given, allowed))
        sched_setaffinity(0, sizeof(*allowed), allowed);
}

static void move_to(int processor)
{
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0 || !CPU_ISSET(processor, &allowed))
        return;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    if (sched_setaffinity(0, sizeof(one), &one) == 0)
        run_anywhere(&allowed);
}

void follow_caller(struct follow *follow, pid_t caller)
{
    if (caller == 0)
        return;
    if (caller != follow->caller)
        *follow = (struct follow){.caller = caller};
    if (++follow->in_a_row < FOLLOW_REQUESTS)
        return;
    follow->in_a_row = 0;
    int processor = processor_of(caller);
    if (processor >= 0 && processor < CPU_SETSIZE && processor != sched_getcpu())
        move_to(processor);
}
