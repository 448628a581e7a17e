/* SPDX-License-Identifier: MIT */
#include "raft/core/logview.h"

#include <assert.h>
#include <string.h>

void logview_init(struct logview *v, struct raft_term_run *runs, uint32_t run_capacity,
                  uint32_t *sizes, uint32_t size_capacity)
{
    memset(v, 0, sizeof(*v));
    v->runs = runs;
    v->run_capacity = run_capacity;
    v->sizes = sizes;
    v->size_capacity = size_capacity;
    v->next_write_id = 1;
    v->sizes_from = 1;
}

/* The run that holds index, or NULL. Newest first: that is where one looks. */
static const struct raft_term_run *run_of(const struct logview *v, uint64_t index)
{
    if (index <= v->base_index || index > v->last_index)
        return NULL;
    for (uint32_t i = v->run_count; i > 0; i--)
        if (v->runs[i - 1].first <= index)
            return &v->runs[i - 1];
    return NULL;
}

uint64_t logview_term(const struct logview *v, uint64_t index)
{
    if (index == v->base_index)
        return v->base_term;
    const struct raft_term_run *run = run_of(v, index);
    return run ? run->term : 0;
}

uint64_t logview_last_term(const struct logview *v)
{
    return logview_term(v, v->last_index);
}

uint64_t logview_durable_term(const struct logview *v)
{
    return logview_term(v, v->durable_index);
}

uint64_t logview_floor(const struct logview *v)
{
    if (v->run_count > 0 && v->runs[0].first > v->base_index + 1)
        return v->runs[0].first;
    return v->base_index;
}

uint64_t logview_run_start(const struct logview *v, uint64_t index)
{
    const struct raft_term_run *run = run_of(v, index);
    return run ? run->first : v->base_index;
}

uint64_t logview_last_at_most(const struct logview *v, uint64_t index, uint64_t term)
{
    if (index > v->last_index)
        index = v->last_index;
    while (index > v->base_index && logview_term(v, index) > term)
        index = logview_run_start(v, index) - 1;
    return index > v->base_index ? index : v->base_index;
}

void logview_append(struct logview *v, uint64_t term, uint32_t bytes)
{
    uint64_t index = ++v->last_index;
    v->sizes[index % v->size_capacity] = bytes;
    if (index >= v->sizes_from + v->size_capacity)
        v->sizes_from = index - v->size_capacity + 1;
    if (v->run_count > 0 && v->runs[v->run_count - 1].term == term)
        return;
    if (v->run_count == v->run_capacity) {
        memmove(v->runs, v->runs + 1, (v->run_count - 1) * sizeof(*v->runs));
        v->run_count--;
    }
    v->runs[v->run_count++] = (struct raft_term_run){.first = index, .term = term};
}

void logview_truncate(struct logview *v, uint64_t from)
{
    assert(from > v->base_index);
    if (from > v->last_index)
        return;
    v->last_index = from - 1;
    while (v->run_count > 0 && v->runs[v->run_count - 1].first >= from)
        v->run_count--;
    if (v->durable_index > v->last_index)
        v->durable_index = v->last_index;
    if (v->sizes_from > from)
        v->sizes_from = from;
    for (uint32_t i = 0; i < v->write_count; i++) {
        struct logview_write *w = &v->writes[(v->write_head + i) % LOGVIEW_MAX_WRITES];
        if (w->end_index > v->last_index)
            w->end_index = v->last_index;
    }
}

void logview_compact(struct logview *v, uint64_t index)
{
    uint64_t term = logview_term(v, index);
    if (index <= v->base_index || term == 0)
        return;
    v->base_index = index;
    v->base_term = term;
    uint32_t gone = 0;
    while (gone + 1 < v->run_count && v->runs[gone + 1].first <= index + 1)
        gone++;
    memmove(v->runs, v->runs + gone, (v->run_count - gone) * sizeof(*v->runs));
    v->run_count -= gone;
}

void logview_restart(struct logview *v, uint64_t index, uint64_t term)
{
    v->base_index = v->last_index = v->durable_index = index;
    v->base_term = term;
    v->run_count = 0;
    v->sizes_from = index + 1;
    for (uint32_t i = 0; i < v->write_count; i++)
        v->writes[(v->write_head + i) % LOGVIEW_MAX_WRITES].end_index = index;
}

bool logview_size(const struct logview *v, uint64_t index, uint32_t *bytes)
{
    if (index < v->sizes_from || index > v->last_index)
        return false;
    *bytes = v->sizes[index % v->size_capacity];
    return true;
}

uint64_t logview_write_begin(struct logview *v, uint64_t now_us)
{
    assert(v->write_count < LOGVIEW_MAX_WRITES);
    if (v->write_count == 0)
        v->write_since_us = now_us;
    uint64_t id = v->next_write_id++;
    v->writes[(v->write_head + v->write_count++) % LOGVIEW_MAX_WRITES] =
        (struct logview_write){.id = id, .end_index = v->last_index};
    return id;
}

bool logview_write_done(struct logview *v, uint64_t id, uint64_t now_us)
{
    bool any = false;
    while (v->write_count > 0 && v->writes[v->write_head].id <= id) {
        const struct logview_write *w = &v->writes[v->write_head];
        if (w->end_index > v->durable_index) {
            v->durable_index = w->end_index;
            v->durable_us = now_us;
        }
        v->durable_write_id = w->id;
        v->write_head = (v->write_head + 1) % LOGVIEW_MAX_WRITES;
        v->write_count--;
        v->write_since_us = now_us;
        any = true;
    }
    return any;
}
