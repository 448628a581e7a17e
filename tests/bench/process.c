/* SPDX-License-Identifier: MIT */
#include "process.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

/* What stands behind `label`, in KiB, in /proc/PID/status; 0 if it is not there. */
static uint64_t status_bytes(pid_t pid, const char *label)
{
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    uint64_t found = 0;
    size_t length = strlen(label);
    while (fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, label, length) == 0) {
            found = strtoull(line + length, NULL, 10) * 1024;
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
        .rss_bytes = status_bytes(pid, "VmRSS:"),
        .peak_rss_bytes = status_bytes(pid, "VmHWM:"),
    };
    return 0;
}

uint64_t machine_busy_ns(void)
{
    /* user, nice, system, idle, iowait, irq, softirq, steal, in ticks */
    unsigned long long t[8] = {0};
    FILE *f = fopen("/proc/stat", "re");
    if (f == NULL)
        return 0;
    int n = fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3],
                   &t[4], &t[5], &t[6], &t[7]);
    fclose(f);
    uint64_t busy = t[0] + t[1] + t[2] + t[5] + t[6];
    return n < 7 ? 0 : busy * 1000000000 / (uint64_t)sysconf(_SC_CLK_TCK);
}

uint64_t disk_written_bytes(const char *path)
{
    struct stat s;
    char stat_path[64];
    if (stat(path, &s) < 0)
        return 0;
    snprintf(stat_path, sizeof(stat_path), "/sys/dev/block/%u:%u/stat", major(s.st_dev),
             minor(s.st_dev));
    FILE *f = fopen(stat_path, "re");
    if (f == NULL)
        return 0;
    uint64_t sectors = 0; /* the seventh field, of 512 bytes whatever the device's own */
    if (fscanf(f, "%*u %*u %*u %*u %*u %*u %" SCNu64, &sectors) != 1)
        sectors = 0;
    fclose(f);
    return sectors * 512;
}
