/* SPDX-License-Identifier: MIT */
#include "base/spin.h"

#include <poll.h>
#include <sched.h>

#include "base/clock.h"

enum { SLICE_US = 2000 }; /* a yield that takes so long was somebody's time slice */

static bool is_there(int fd, const atomic_bool *flag)
{
    struct pollfd events = {.fd = fd, .events = POLLIN};
    return (flag && *flag) || poll(&events, 1, 0) != 0;
}

enum spin_seen spin_look(int fd, const atomic_bool *flag, uint32_t for_us)
{
    uint64_t now_us = clock_mono_us(), end_us = now_us + for_us;
    while (now_us < end_us) {
        if (is_there(fd, flag))
            return SPIN_READABLE;
        sched_yield();
        uint64_t back_us = clock_mono_us();
        if (back_us > now_us + SLICE_US)
            return is_there(fd, flag) ? SPIN_LATE : SPIN_CROWDED;
        now_us = back_us;
    }
    return SPIN_NOTHING;
}
