/* SPDX-License-Identifier: MIT */
#include "raft/core/progress.h"

#include <assert.h>
#include <string.h>

enum { MAX_PAUSES = 16 }; /* the longest pause before a probe is sent again, in shortest ones */

void progress_reset(struct progress *p, raft_id id, uint64_t next, uint64_t now_us)
{
    memset(p, 0, sizeof(*p));
    p->id = id;
    p->next = next;
    p->progress_us = now_us;
}

static void enter(struct progress *p, enum progress_state state)
{
    p->state = state;
    p->probe_sent = false;
    p->probe_tries = 0;
    p->head = p->count = 0;
    p->bytes = 0;
}

void progress_probe(struct progress *p, uint64_t next)
{
    enter(p, PROGRESS_PROBE);
    p->next = next > p->match ? next : p->match + 1;
}

void progress_replicate(struct progress *p)
{
    enter(p, PROGRESS_REPLICATE);
    p->next = p->match + 1;
}

void progress_snapshot(struct progress *p)
{
    enter(p, PROGRESS_SNAPSHOT);
    progress_restart_catching_up(p);
}

bool progress_has_room(const struct progress *p)
{
    switch (p->state) {
    case PROGRESS_PROBE:
        return !p->probe_sent;
    case PROGRESS_REPLICATE:
        return p->count < RAFT_MAX_INFLIGHT && p->bytes < RAFT_MAX_INFLIGHT_BYTES;
    case PROGRESS_SNAPSHOT:
        return false;
    }
    return false;
}

void progress_sent(struct progress *p, uint64_t last_index, uint32_t bytes, uint64_t now_us)
{
    if (p->state == PROGRESS_PROBE) {
        p->probe_sent = true;
        p->probe_us = now_us;
        return;
    }
    assert(p->state == PROGRESS_REPLICATE && p->count < RAFT_MAX_INFLIGHT);
    if (p->count == 0)
        p->progress_us = now_us;
    p->flights[(p->head + p->count++) % RAFT_MAX_INFLIGHT] =
        (struct progress_flight){.last_index = last_index, .sent_us = now_us, .bytes = bytes};
    p->bytes += bytes;
    p->next = last_index + 1;
}

/*
 * Rises at once and falls by halves. Whether the answer to a probe that was sent again was late or
 * the first one lost cannot be told: then it counts as late, and the next clean answer mends it.
 */
static void note_latency(struct progress *p, uint64_t us)
{
    p->latency_us /= 2;
    if (us > p->latency_us)
        p->latency_us = us;
}

bool progress_matched(struct progress *p, uint64_t match, uint64_t now_us)
{
    if (p->state == PROGRESS_PROBE && p->probe_sent && match > p->match)
        note_latency(p, p->probe_tries ? p->probe_pause_us : now_us - p->probe_us);
    while (p->count > 0 && p->flights[p->head].last_index <= match) {
        note_latency(p, now_us - p->flights[p->head].sent_us);
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

static uint64_t clamp(uint64_t us, uint64_t pause_us)
{
    if (us < pause_us)
        return pause_us;
    return us < MAX_PAUSES * pause_us ? us : MAX_PAUSES * pause_us;
}

void progress_retry(struct progress *p, uint64_t pause_us, uint64_t now_us)
{
    if (p->state == PROGRESS_REPLICATE && p->count > 0 &&
        now_us > p->progress_us + 2 * clamp(p->latency_us, pause_us))
        progress_probe(p, p->match + 1);
    if (p->state != PROGRESS_PROBE || !p->probe_sent)
        return;
    if (p->probe_tries == 0)
        p->probe_pause_us = clamp(p->latency_us + p->latency_us / 2, pause_us);
    if (now_us < p->probe_us + p->probe_pause_us)
        return;
    p->probe_pause_us = clamp(2 * p->probe_pause_us, pause_us);
    p->probe_sent = false;
    p->probe_tries++;
}

void progress_restart_catching_up(struct progress *p)
{
    p->catch_up_index = 0;
    p->catch_up_rounds = 0;
    p->caught_up = false;
}
