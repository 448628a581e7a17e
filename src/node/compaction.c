/* SPDX-License-Identifier: MIT */
#include "node/compaction.h"

#include <pthread.h>

#include "base/memory.h"

enum {
    EVERY_US = 1000 * 1000,
    ANSWERS_US = 3 * 1000 * 1000,   /* heard within this time: it is there */
    RESTARTS_US = 60 * 1000 * 1000, /* heard within this time: it may come back soon */
    RESTARTS_SNAPSHOTS = 10,        /* that many times the kept entries are kept for it */
    MARK_BYTES = 1024 * 1024,       /* of log between two marks */
    MARKS = 64,                     /* what stays is at most about MARKS * MARK_BYTES */
    LOG_BYTES_MOST =
        1024 * 1024 * 1024, /* no member is waited for beyond it, or a snapshot's size */
};

struct compaction {
    uint64_t kept_entries;
    uint64_t next_us;
    uint64_t last_needless; /* at the last look */
    uint64_t led_since_us;  /* 0: does not lead */

    pthread_mutex_t lock;
    uint64_t applied_index;
    uint64_t marked_bytes; /* of log since the newest mark */
    uint64_t marks[MARKS]; /* a ring of applied indexes, MARK_BYTES of log apart; 0: none yet */
    uint32_t next_mark;
};

struct compaction *compaction_init(uint64_t entries)
{
    struct compaction *c = memory_zalloc(sizeof(*c));
    c->kept_entries = entries ? entries : COMPACTION_KEPT_ENTRIES;
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

void compaction_close(struct compaction *c)
{
    pthread_mutex_destroy(&c->lock);
    memory_free(c);
}

void compaction_applied(struct compaction *c, uint64_t index, uint64_t log_bytes)
{
    pthread_mutex_lock(&c->lock);
    c->applied_index = index;
    c->marked_bytes += log_bytes;
    if (c->marked_bytes >= MARK_BYTES) {
        c->marked_bytes = 0;
        c->marks[c->next_mark] = index;
        c->next_mark = (c->next_mark + 1) % MARKS;
    }
    pthread_mutex_unlock(&c->lock);
}

static uint64_t min_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The last index that is `entries` behind what is applied. */
static uint64_t behind(uint64_t applied_index, uint64_t entries)
{
    return applied_index > entries ? applied_index - entries : 0;
}

/* What the leader must keep of a log that is small enough: up to here it may go. */
static uint64_t members_allow(struct compaction *c, struct raft_driver *driver, uint64_t applied,
                              uint64_t now_us)
{
    bool leads = raft_driver_leads(driver);
    if (!leads || c->led_since_us == 0)
        c->led_since_us = leads ? now_us : 0;
    if (!leads)
        return UINT64_MAX;
    uint64_t led_us = now_us - c->led_since_us;
    uint64_t there = raft_driver_least_match(driver, ANSWERS_US, led_us < ANSWERS_US);
    uint64_t gone = raft_driver_least_match(driver, RESTARTS_US, led_us < RESTARTS_US);
    return min_of(there, max_of(gone, behind(applied, RESTARTS_SNAPSHOTS * c->kept_entries)));
}

uint64_t compaction_pump(struct compaction *c, struct raft_driver *driver,
                         const struct compaction_needs *needs, uint64_t now_us)
{
    if (now_us < c->next_us && needs->last_needless == c->last_needless)
        return c->next_us;
    c->last_needless = needs->last_needless;
    pthread_mutex_lock(&c->lock);
    uint64_t applied = c->applied_index;
    uint64_t oldest_mark = c->marks[c->next_mark];
    pthread_mutex_unlock(&c->lock);
    uint64_t index = max_of(behind(applied, c->kept_entries), oldest_mark);
    uint64_t allowed = members_allow(c, driver, applied, now_us);
    if (raft_driver_log_bytes(driver) < max_of(LOG_BYTES_MOST, needs->snapshot_bytes))
        index = min_of(index, allowed);
    index = min_of(index, needs->last_needless);
    raft_driver_compact(driver, index);
    c->next_us = now_us + EVERY_US;
    return UINT64_MAX;
}
