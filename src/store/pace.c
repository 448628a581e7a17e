/* SPDX-License-Identifier: MIT */
#include "store/pace.h"

#include <fcntl.h>
#include <time.h>

#include "base/clock.h"

void pace_rest(uint64_t since_us)
{
    uint64_t took_us = clock_mono_us() - since_us;
    nanosleep(&(struct timespec){.tv_sec = (time_t)(took_us / 1000000),
                                 .tv_nsec = (long)(took_us % 1000000) * 1000},
              NULL);
}

void pace_write_back(int fd, int64_t bytes, const atomic_bool *hurry)
{
    for (int64_t at = 0; at < bytes && !*hurry; at += PACE_PIECE_BYTES) {
        uint64_t since_us = clock_mono_us();
        sync_file_range(fd, at, PACE_PIECE_BYTES,
                        SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
        pace_rest(since_us);
    }
}
