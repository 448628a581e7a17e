/* SPDX-License-Identifier: MIT */
#include "node/spin.h"

#include <poll.h>
#include <sched.h>
#include <stdbool.h>

#include "base/clock.h"

enum {
    AWAKE_US = 1000,   /* from one change to the next of a client that does nothing else */
    WAIT_US = 200,     /* the longest of a change's waits: for a disk */
    CROWDED_US = 2000, /* so long a yield is somebody's time slice, not a moment's work */
    PAUSE_US = 500000,
};

void spin_stay_awake(struct spin *spin)
{
    spin->until_us = clock_mono_us() + AWAKE_US;
}

/* Whether something came meanwhile. */
static bool look_out(struct spin *spin, struct pollfd *events)
{
    uint64_t now_us = clock_mono_us(), end_us = now_us + WAIT_US;
    while (now_us < end_us && now_us < spin->until_us && now_us >= spin->not_before_us) {
        if (poll(events, 1, 0) != 0)
            return true;
        sched_yield();
        uint64_t back_us = clock_mono_us();
        if (back_us > now_us + CROWDED_US)
            spin->not_before_us = back_us + PAUSE_US;
        now_us = back_us;
    }
    return false;
}

void spin_wait(struct spin *spin, int fd, int in_ms)
{
    struct pollfd events = {.fd = fd, .events = POLLIN};
    if (in_ms == 0 || !look_out(spin, &events))
        poll(&events, 1, in_ms);
}
