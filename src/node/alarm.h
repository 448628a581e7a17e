/* SPDX-License-Identifier: MIT */
/*
 * alarm.h - a timer of the loop's that is set again and again, and is never put off by that.
 *
 * uv_timer_start() begins anew: whoever calls it at every event, for a while after the event, never
 * hears of it while events come more often than that. Deadlines must not depend on how busy a node
 * is.
 */
#ifndef RAFTFS_NODE_ALARM_H
#define RAFTFS_NODE_ALARM_H

#include <uv.h>

#define ALARM_NEVER UINT64_MAX

/* Goes off once, in `in_ms` or when it would have gone off anyhow; ALARM_NEVER: not at all. */
static inline void alarm_within(uv_timer_t *timer, uv_timer_cb went_off, uint64_t in_ms)
{
    if (in_ms == ALARM_NEVER)
        uv_timer_stop(timer);
    else if (!uv_is_active((uv_handle_t *)timer) || in_ms < uv_timer_get_due_in(timer))
        uv_timer_start(timer, went_off, in_ms, 0);
}

#endif
