/* SPDX-License-Identifier: MIT */
#include "samples.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t bench_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void reserve(struct samples *s, size_t room)
{
    if (room <= s->room)
        return;
    s->room = room > 2 * s->room ? room : 2 * s->room;
    s->all = realloc(s->all, s->room * sizeof(*s->all));
    if (s->all == NULL)
        abort();
}

void samples_add(struct samples *s, uint64_t start_ns, uint64_t took_ns)
{
    reserve(s, s->count + 1);
    s->all[s->count++] = (struct sample){start_ns, took_ns};
}

void samples_move(struct samples *to, struct samples *from)
{
    reserve(to, to->count + from->count);
    if (from->count > 0)
        memcpy(to->all + to->count, from->all, from->count * sizeof(*from->all));
    to->count += from->count;
    samples_free(from);
}

void samples_free(struct samples *s)
{
    free(s->all);
    *s = (struct samples){0};
}

static int by_start(const void *a, const void *b)
{
    const struct sample *x = a, *y = b;
    return (x->start_ns > y->start_ns) - (x->start_ns < y->start_ns);
}

static int by_time(const void *a, const void *b)
{
    const struct sample *x = a, *y = b;
    return (x->took_ns > y->took_ns) - (x->took_ns < y->took_ns);
}

/* A sorted copy; the caller frees it. */
static struct sample *sorted(const struct samples *s, int (*order)(const void *, const void *))
{
    struct sample *copy = malloc(s->count * sizeof(*copy));
    if (copy == NULL)
        abort();
    memcpy(copy, s->all, s->count * sizeof(*copy));
    qsort(copy, s->count, sizeof(*copy), order);
    return copy;
}

void samples_write(const struct samples *s, FILE *out)
{
    if (s->count == 0)
        return;
    struct sample *copy = sorted(s, by_start);
    for (size_t i = 0; i < s->count; i++)
        fprintf(out, "%.6f\t%.1f\n", (double)copy[i].start_ns / 1e9, (double)copy[i].took_ns / 1e3);
    free(copy);
}

/* Nearest rank: the smallest sample that at least `percent` of all do not exceed. */
static double percentile_us(const struct sample *ascending, size_t count, unsigned percent)
{
    size_t rank = (count * percent + 99) / 100;
    return (double)ascending[rank > 0 ? rank - 1 : 0].took_ns / 1e3;
}

struct summary samples_summary(const struct samples *s)
{
    if (s->count == 0)
        return (struct summary){0};
    struct sample *copy = sorted(s, by_time);
    double sum_us = 0;
    for (size_t i = 0; i < s->count; i++)
        sum_us += (double)copy[i].took_ns / 1e3;
    struct summary summary = {
        .count = s->count,
        .mean_us = sum_us / (double)s->count,
        .p50_us = percentile_us(copy, s->count, 50),
        .p95_us = percentile_us(copy, s->count, 95),
        .p99_us = percentile_us(copy, s->count, 99),
        .max_us = percentile_us(copy, s->count, 100),
    };
    free(copy);
    return summary;
}
