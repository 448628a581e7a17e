/* SPDX-License-Identifier: MIT */
#include "sim_trace.h"

#include <stdarg.h>
#include <stdio.h>

void sim_trace_line(struct sim_trace *trace, const char *format, ...)
{
    if (trace->mode == SIM_TRACE_OFF)
        return;
    char *line = trace->lines[trace->count++ % SIM_TRACE_LINES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, SIM_TRACE_LINE_BYTES, format, args);
    va_end(args);
    if (trace->mode == SIM_TRACE_PRINT)
        puts(line);
}

void sim_trace_print_tail(const struct sim_trace *trace)
{
    uint64_t first = trace->count < SIM_TRACE_LINES ? 0 : trace->count - SIM_TRACE_LINES;
    for (uint64_t i = first; i < trace->count; i++)
        puts(trace->lines[i % SIM_TRACE_LINES]);
}
