/* SPDX-License-Identifier: MIT */
/*
 * reading.c - old entries, through the log's reader thread.
 *
 * The cache holds only the newest entries. Two kinds of work need older ones: appends for a member
 * far behind, and applying after a restart. on_read arrives on the log's thread; it only pushes to
 * a list under a lock of its own and wakes the loop.
 */
#include <string.h>

#include "base/memory.h"
#include "raft/internal.h"

static void on_log_read(void *ctx, int status, struct raft_entry *entries, uint32_t count)
{
    struct fetch *asked = ctx;
    struct raft_driver *d = asked->driver;
    struct fetch *got = memory_alloc(sizeof(*got) + count * sizeof(got->entries[0]));
    *got = (struct fetch){
        .driver = d, .msg = asked->msg, .first = asked->first, .status = status, .count = count};
    if (count)
        memcpy(got->entries, entries, count * sizeof(got->entries[0]));
    memory_free(asked);
    pthread_mutex_lock(&d->fetch_lock);
    got->next = d->fetched;
    d->fetched = got;
    pthread_mutex_unlock(&d->fetch_lock);
    uv_async_send(&d->log_async);
}

void raft_driver_fetch(struct raft_driver *d, uint64_t first, uint64_t last,
                       const struct raft_msg *msg)
{
    struct fetch *asked = memory_zalloc(sizeof(*asked));
    asked->driver = d;
    asked->first = first;
    if (msg)
        asked->msg = *msg;
    raft_log_read(d->log, &(struct raft_log_read){
                              .first = first, .last = last, .ctx = asked, .on_read = on_log_read});
}

struct fetch *raft_driver_take_fetched(struct raft_driver *d)
{
    pthread_mutex_lock(&d->fetch_lock);
    struct fetch *newest_first = d->fetched;
    d->fetched = NULL;
    pthread_mutex_unlock(&d->fetch_lock);
    struct fetch *list = NULL;
    while (newest_first) {
        struct fetch *f = newest_first;
        newest_first = f->next;
        f->next = list;
        list = f;
    }
    return list;
}

void raft_driver_drop_fetched(struct fetch *f)
{
    for (uint32_t i = 0; i < f->count; i++)
        buf_unref(f->entries[i].payload);
}
