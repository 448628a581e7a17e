/* SPDX-License-Identifier: MIT */
#include "raft/core/progress.h"

#include <assert.h>
#include <string.h>

void progress_reset(struct progress *p, raft_id id, uint64_t next, uint64_t now_us)
{
    memset(p, 0, sizeof(*p));
    p->id = id;
    p->next = next;
    p->progress_us = now_us;
}

void progress_probe(struct progress *p, uint64_t next)
{
    p->replicating = false;
    p->probe_sent = false;
    p->next = next > p->match ? next : p->match + 1;
    p->head = p->count = 0;
    p->bytes = 0;
}

bool progress_has_room(const struct progress *p)
{
    if (!p->replicating)
        return !p->probe_sent;
    return p->count < RAFT_MAX_INFLIGHT && p->bytes < RAFT_MAX_INFLIGHT_BYTES;
}

void progress_sent(struct progress *p, uint64_t last_index, uint32_t bytes)
{
    if (!p->replicating) {
        p->probe_sent = true;
        return;
    }
    assert(p->count < RAFT_MAX_INFLIGHT);
    p->flights[(p->head + p->count++) % RAFT_MAX_INFLIGHT] =
        (struct progress_flight){.last_index = last_index, .bytes = bytes};
    p->bytes += bytes;
    p->next = last_index + 1;
}

bool progress_matched(struct progress *p, uint64_t match, uint64_t now_us)
{
    while (p->count > 0 && p->flights[p->head].last_index <= match) {
        p->bytes -= p->flights[p->head].bytes;
        p->head = (p->head + 1) % RAFT_MAX_INFLIGHT;
        p->count--;
    }
    if (p->next <= match)
        p->next = match + 1;
    if (match <= p->match)
        return false;
    p->match = match;
    p->progress_us = now_us;
    return true;
}
