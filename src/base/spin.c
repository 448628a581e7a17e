/* SPDX-License-Identifier: MIT */
#include "base/spin.h"

#include <poll.h>
#include <sched.h>

#include "base/clock.h"

enum { SLICE_US = 2000 }; /* a yield that takes so long was somebody's time slice */

enum spin_seen spin_until(spin_there_fn *there, void *ctx, uint32_t for_us)
{
    uint64_t now_us = clock_mono_us(), end_us = now_us + for_us;
    while (now_us < end_us) {
        if (there(ctx))
            return SPIN_READABLE;
        sched_yield();
        uint64_t back_us = clock_mono_us();
        if (back_us > now_us + SLICE_US)
            return there(ctx) ? SPIN_LATE : SPIN_CROWDED;
        now_us = back_us;
    }
    return SPIN_NOTHING;
}

static bool is_readable(void *ctx)
{
    return poll(ctx, 1, 0) != 0;
}

enum spin_seen spin_look(int fd, uint32_t for_us)
{
    struct pollfd events = {.fd = fd, .events = POLLIN};
    return spin_until(is_readable, &events, for_us);
}
