/* SPDX-License-Identifier: MIT */
#include "store/pace.h"

#include <time.h>

#include "base/clock.h"

void pace_rest(uint64_t since_us)
{
    uint64_t took_us = clock_mono_us() - since_us;
    nanosleep(&(struct timespec){.tv_sec = (time_t)(took_us / 1000000),
                                 .tv_nsec = (long)(took_us % 1000000) * 1000},
              NULL);
}
