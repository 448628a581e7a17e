/* SPDX-License-Identifier: MIT */
#include "raft/core/patience.h"

enum { FACTOR = 2, LONGEST = 4, PERIOD_US = 60 * 1000 * 1000 };

void patience_learn(struct patience *p, uint64_t silence_us, uint64_t base_us, uint64_t now_us)
{
    if (now_us >= p->since_us + PERIOD_US) {
        p->previous_us = now_us < p->since_us + 2 * (uint64_t)PERIOD_US ? p->worst_us : 0;
        p->worst_us = 0;
        p->since_us = now_us;
    }
    if (silence_us <= LONGEST * base_us / FACTOR && silence_us > p->worst_us)
        p->worst_us = silence_us;
}

uint64_t patience_timeout_us(const struct patience *p, uint64_t base_us, uint64_t now_us)
{
    uint64_t worst_us = 0;
    if (now_us < p->since_us + 2 * (uint64_t)PERIOD_US)
        worst_us = p->worst_us;
    if (now_us < p->since_us + PERIOD_US && p->previous_us > worst_us)
        worst_us = p->previous_us;
    return FACTOR * worst_us > base_us ? FACTOR * worst_us : base_us;
}
