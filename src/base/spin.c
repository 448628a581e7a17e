/* SPDX-License-Identifier: MIT */
#include "base/spin.h"

#include <poll.h>
#include <sched.h>

#include "base/clock.h"

enum { SLICE_US = 2000 }; /* a yield that takes so long was somebody's time slice */

enum spin_seen spin_look(int fd, uint32_t for_us)
{
    struct pollfd events = {.fd = fd, .events = POLLIN};
    uint64_t now_us = clock_mono_us(), end_us = now_us + for_us;
    while (now_us < end_us) {
        if (poll(&events, 1, 0) != 0)
            return SPIN_READABLE;
        sched_yield();
        uint64_t back_us = clock_mono_us();
        if (back_us > now_us + SLICE_US)
            return poll(&events, 1, 0) != 0 ? SPIN_LATE : SPIN_CROWDED;
        now_us = back_us;
    }
    return SPIN_NOTHING;
}
