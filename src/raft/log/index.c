/* SPDX-License-Identifier: MIT */
#include "raft/log/index.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"

enum { BLOCK_PLACES = 4096, INITIAL_BLOCKS = 16, INITIAL_RUNS = 16 };

void log_index_init(struct log_index *x, uint64_t base_index, uint64_t base_term)
{
    *x = (struct log_index){.base_index = base_index,
                            .base_term = base_term,
                            .last_index = base_index,
                            .block_capacity = INITIAL_BLOCKS,
                            .run_capacity = INITIAL_RUNS};
    x->blocks = memory_alloc(x->block_capacity * sizeof(struct log_place *));
    x->runs = memory_alloc(x->run_capacity * sizeof(*x->runs));
}

void log_index_close(struct log_index *x)
{
    for (uint64_t i = 0; i < x->block_count; i++)
        memory_free(x->blocks[i]);
    memory_free(x->blocks);
    memory_free(x->runs);
    *x = (struct log_index){0};
}

void log_index_restart(struct log_index *x, uint64_t base_index, uint64_t base_term)
{
    log_index_close(x);
    log_index_init(x, base_index, base_term);
}

/* Which of the blocks an entry behind the base lies in. */
static uint64_t block_of(const struct log_index *x, uint64_t at)
{
    return at / BLOCK_PLACES - (x->base_index + 1) / BLOCK_PLACES;
}

static void add_block(struct log_index *x)
{
    if (x->block_count == x->block_capacity) {
        x->block_capacity *= 2;
        x->blocks = memory_realloc(x->blocks, x->block_capacity * sizeof(struct log_place *));
    }
    x->blocks[x->block_count++] = memory_alloc(BLOCK_PLACES * sizeof(struct log_place));
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
    uint64_t at = ++x->last_index, block = block_of(x, at);
    if (block == x->block_count)
        add_block(x);
    x->blocks[block][at % BLOCK_PLACES] = *place;
    add_run(x, at, term);
}

void log_index_truncate(struct log_index *x, uint64_t from)
{
    assert(from > x->base_index);
    if (from > x->last_index)
        return;
    while (x->block_count > block_of(x, from) + 1)
        memory_free(x->blocks[--x->block_count]);
    x->last_index = from - 1;
    while (x->run_count > 0 && x->runs[x->run_count - 1].first >= from)
        x->run_count--;
}

void log_index_compact(struct log_index *x, uint64_t to)
{
    assert(to >= x->base_index && to <= x->last_index);
    uint64_t gone = block_of(x, to + 1);
    if (gone > x->block_count)
        gone = x->block_count;
    for (uint64_t i = 0; i < gone; i++)
        memory_free(x->blocks[i]);
    x->block_count -= gone;
    memmove(x->blocks, x->blocks + gone, x->block_count * sizeof(struct log_place *));
    x->base_term = log_index_term(x, to);
    x->base_index = to;
    uint32_t past = 0;
    while (past + 1 < x->run_count && x->runs[past + 1].first <= to + 1)
        past++;
    x->run_count -= past;
    memmove(x->runs, x->runs + past, x->run_count * sizeof(*x->runs));
    if (to == x->last_index)
        x->run_count = 0;
    else if (x->run_count > 0 && x->runs[0].first <= to)
        x->runs[0].first = to + 1;
}

const struct log_place *log_index_find(const struct log_index *x, uint64_t at)
{
    return at > x->base_index && at <= x->last_index
               ? &x->blocks[block_of(x, at)][at % BLOCK_PLACES]
               : NULL;
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
