/* SPDX-License-Identifier: MIT */
/*
 * process.h - what other processes use while they are measured: CPU time, bytes written, memory.
 *
 * CPU time is the process's CPU clock (all threads, those that have ended too, in nanoseconds; the
 * ticks of /proc/PID/stat are far too coarse for an idle node). Bytes written are write_bytes of
 * /proc/PID/io: what the process made the kernel send to a disk, journal and metadata left out.
 */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

struct usage {
    uint64_t cpu_ns;
    uint64_t written_bytes;
    uint64_t rss_bytes, peak_rss_bytes;
};

/* 0, or -ESRCH when there is no such process. */
int process_usage(pid_t pid, struct usage *out);

#endif
