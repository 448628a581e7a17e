/* SPDX-License-Identifier: MIT */
/*
 * process.h - what is used while something is measured: CPU time and memory of processes, the disk.
 *
 * CPU time is the process's CPU clock (all threads, those that have ended too, in nanoseconds; the
 * ticks of /proc/PID/stat are far too coarse for an idle node). Bytes written are the block
 * device's, which anybody else's writes are among. A process's own count, write_bytes in
 * /proc/PID/io, is of no use: it counts the whole folio of the page cache that a write has made
 * dirty, a megabyte for a sector of a file that was filled in megabytes.
 */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

struct usage {
    uint64_t cpu_ns;
    uint64_t rss_bytes, peak_rss_bytes;
};

/* 0, or -ESRCH when there is no such process. */
int process_usage(pid_t pid, struct usage *out);

/* Processor time that was not idle since the machine started, all processors together. */
uint64_t machine_busy_ns(void);

/* Bytes ever written to the block device that holds the path; 0 when there is none. */
uint64_t disk_written_bytes(const char *path);

#endif
