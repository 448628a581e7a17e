/* SPDX-License-Identifier: MIT */
#include "raft/log/index.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"

enum { INITIAL_CAPACITY = 1024, INITIAL_RUNS = 16 };

void log_index_init(struct log_index *x, uint64_t base_index, uint64_t base_term)
{
    *x = (struct log_index){.base_index = base_index,
                            .base_term = base_term,
                            .last_index = base_index,
                            .capacity = INITIAL_CAPACITY,
                            .run_capacity = INITIAL_RUNS};
    x->places = memory_alloc(x->capacity * sizeof(*x->places));
    x->runs = memory_alloc(x->run_capacity * sizeof(*x->runs));
}

void log_index_close(struct log_index *x)
{
    memory_free(x->places);
    memory_free(x->runs);
    *x = (struct log_index){0};
}

static void add_run(struct log_index *x, uint64_t first, uint64_t term)
{
    if (x->run_count > 0 && x->runs[x->run_count - 1].term == term)
        return;
    if (x->run_count == x->run_capacity) {
        x->run_capacity *= 2;
        x->runs = memory_realloc(x->runs, x->run_capacity * sizeof(*x->runs));
    }
    x->runs[x->run_count++] = (struct raft_term_run){.first = first, .term = term};
}

void log_index_append(struct log_index *x, uint64_t term, const struct log_place *place)
{
    uint64_t held = x->last_index - x->base_index;
    if (held == x->capacity) {
        x->capacity *= 2;
        x->places = memory_realloc(x->places, x->capacity * sizeof(*x->places));
    }
    x->places[held] = *place;
    x->last_index++;
    add_run(x, x->last_index, term);
}

void log_index_truncate(struct log_index *x, uint64_t from)
{
    assert(from > x->base_index);
    if (from > x->last_index)
        return;
    x->last_index = from - 1;
    while (x->run_count > 0 && x->runs[x->run_count - 1].first >= from)
        x->run_count--;
}

const struct log_place *log_index_find(const struct log_index *x, uint64_t at)
{
    return at > x->base_index && at <= x->last_index ? &x->places[at - x->base_index - 1] : NULL;
}

uint64_t log_index_term(const struct log_index *x, uint64_t at)
{
    if (at == x->base_index)
        return x->base_term;
    for (uint32_t i = x->run_count; i > 0 && at <= x->last_index; i--)
        if (x->runs[i - 1].first <= at)
            return x->runs[i - 1].term;
    return 0;
}
