/* SPDX-License-Identifier: MIT */
#include "process.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The number behind `label` in one of /proc/PID's files; 0 if it is not there. */
static uint64_t number_of(pid_t pid, const char *file, const char *label)
{
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    uint64_t found = 0;
    size_t length = strlen(label);
    while (fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, label, length) == 0) {
            found = strtoull(line + length, NULL, 10);
            break;
        }
    }
    fclose(f);
    return found;
}

int process_usage(pid_t pid, struct usage *out)
{
    clockid_t clock;
    struct timespec cpu;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &cpu) != 0)
        return -ESRCH;
    *out = (struct usage){
        .cpu_ns = (uint64_t)cpu.tv_sec * 1000000000 + (uint64_t)cpu.tv_nsec,
        .written_bytes = number_of(pid, "io", "write_bytes:"),
        .rss_bytes = number_of(pid, "status", "VmRSS:") * 1024,
        .peak_rss_bytes = number_of(pid, "status", "VmHWM:") * 1024,
    };
    return 0;
}
