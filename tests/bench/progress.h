/* SPDX-License-Identifier: MIT */
/*
 * progress.h - a bar on standard error while something is measured, if that is a terminal.
 *
 * Drawn by the main thread ten times a second, so that it costs what is measured nothing.
 */
#ifndef BENCH_PROGRESS_H
#define BENCH_PROGRESS_H

#include "bench.h"

struct progress {
    const char *name;
    bool shown;
};

struct progress progress_start(const struct options *o);
/* `done` is a fraction. */
void progress_show(const struct progress *p, double done, const char *text);
void progress_end(const struct progress *p);

#endif
