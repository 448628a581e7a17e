/* SPDX-License-Identifier: MIT */
#include "fuse/recent.h"

static struct recent_look *place_of(struct recent *recent, pid_t thread)
{
    return &recent->looks[(uint32_t)thread % RECENT_THREADS];
}

void recent_note(struct recent *recent, pid_t thread, uint64_t nodeid, uint64_t now_us)
{
    if (thread > 0)
        *place_of(recent, thread) = (struct recent_look){thread, nodeid, now_us};
}

uint64_t recent_take(struct recent *recent, pid_t thread, uint64_t now_us)
{
    struct recent_look *look = place_of(recent, thread);
    if (thread <= 0 || look->thread != thread)
        return 0;
    uint64_t nodeid = now_us - look->at_us <= RECENT_US ? look->nodeid : 0;
    look->thread = 0;
    return nodeid;
}
