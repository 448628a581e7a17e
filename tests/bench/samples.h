/* SPDX-License-Identifier: MIT */
/*
 * samples.h - how long each operation took, every one of them kept.
 *
 * Percentiles are read from the sorted samples themselves (nearest rank), not from buckets: a p99
 * that is compared with another system's must not carry a bucket's width. A client thread fills
 * samples of its own; they are brought together once it has ended.
 */
#ifndef BENCH_SAMPLES_H
#define BENCH_SAMPLES_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct sample {
    uint64_t start_ns; /* of bench_now_ns() */
    uint64_t took_ns;
};

struct samples {
    struct sample *all;
    size_t count, room;
};

uint64_t bench_now_ns(void);

void samples_add(struct samples *s, uint64_t start_ns, uint64_t took_ns);
/* Moves what `from` holds to `to`. */
void samples_move(struct samples *to, struct samples *from);
void samples_free(struct samples *s);

/* Writes "start in seconds of CLOCK_MONOTONIC, microseconds taken", a line each, by start. */
void samples_write(const struct samples *s, FILE *out);

struct summary {
    size_t count;
    double mean_us, p50_us, p95_us, p99_us, max_us;
};

struct summary samples_summary(const struct samples *s);

#endif
