/* SPDX-License-Identifier: MIT */
/*
 * sim_trace.h - a readable account of one run.
 *
 * Off while seeds are searched, since text costs more than the simulation. A failing seed is played
 * again with the trace on, which is exact.
 */
#ifndef RAFTFS_SIM_TRACE_H
#define RAFTFS_SIM_TRACE_H

#include <stdint.h>

enum sim_trace_mode {
    SIM_TRACE_OFF = 0,
    SIM_TRACE_PRINT, /* to standard output */
    SIM_TRACE_TAIL,  /* keeps the newest lines */
};

enum { SIM_TRACE_LINES = 120, SIM_TRACE_LINE_BYTES = 300 };

struct sim_trace {
    enum sim_trace_mode mode;
    uint64_t count;
    char lines[SIM_TRACE_LINES][SIM_TRACE_LINE_BYTES];
};

void sim_trace_line(struct sim_trace *trace, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Prints what SIM_TRACE_TAIL kept. */
void sim_trace_print_tail(const struct sim_trace *trace);

#endif
