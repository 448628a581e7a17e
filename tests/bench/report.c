/* SPDX-License-Identifier: MIT */
/*
 * report.c - what came of a run: a line of text for people, a line of JSON for programs.
 *
 * Names in JSON carry their unit. Processes come in the order in which they were given; what they
 * used is divided by the operations of the run, not by those of each process.
 */
#include <stdio.h>
#include <string.h>

#include "bench.h"

static double per_second(const struct result *r)
{
    return r->seconds > 0 ? (double)r->samples.count / r->seconds : 0;
}

static double mib_per_second(const struct result *r)
{
    return r->seconds > 0 ? (double)r->bytes / r->seconds / (1 << 20) : 0;
}

/* What a process used during the run. */
struct spent {
    double cpu_us, written_bytes, cpu_percent;
};

static struct spent spent_by(const struct result *r, unsigned i)
{
    const struct usage *b = &r->before[i], *a = &r->after[i];
    double ops = r->samples.count > 0 ? (double)r->samples.count : 1;
    double cpu_us = a->cpu_ns > b->cpu_ns ? (double)(a->cpu_ns - b->cpu_ns) / 1e3 : 0;
    return (struct spent){
        .cpu_us = cpu_us / ops,
        .written_bytes = (double)(a->written_bytes - b->written_bytes) / ops,
        .cpu_percent = r->seconds > 0 ? cpu_us / r->seconds / 1e4 : 0,
    };
}

void report_text(const struct options *o, const struct result *r)
{
    struct summary s = samples_summary(&r->samples);
    if (s.count > 0) {
        printf("%-40s %8zu ops %10.0f/s  mean %8.0f  p50 %8.0f  p95 %8.0f  p99 %8.0f  "
               "max %8.0f us",
               o->name, s.count, per_second(r), s.mean_us, s.p50_us, s.p95_us, s.p99_us, s.max_us);
        if (r->bytes >= 1 << 20)
            printf("  %.1f MiB/s", mib_per_second(r));
        printf("\n");
    }
    if (r->errors > 0)
        printf("  %llu failed: %s\n", (unsigned long long)r->errors,
               r->first_error < 0 ? strerror(-r->first_error) : "refused meanwhile");
    for (unsigned i = 0; i < o->n_pids; i++) {
        struct spent p = spent_by(r, i);
        printf("  pid %-8d %8.1f us of CPU and %8.0f bytes written an operation, %5.2f %% of a "
               "core, %.1f MiB resident (at most %.1f)\n",
               (int)o->pids[i], p.cpu_us, p.written_bytes, p.cpu_percent,
               (double)r->after[i].rss_bytes / (1 << 20),
               (double)r->after[i].peak_rss_bytes / (1 << 20));
    }
    if (r->started_pid > 0)
        printf("  pid %d runs on\n", (int)r->started_pid);
}

static void json_string(const char *text)
{
    putchar('"');
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20)
            continue;
        if (*text == '"' || *text == '\\')
            putchar('\\');
        putchar(*text);
    }
    putchar('"');
}

static void json_processes(const struct options *o, const struct result *r)
{
    printf(",\"processes\":[");
    for (unsigned i = 0; i < o->n_pids; i++) {
        struct spent p = spent_by(r, i);
        printf("%s{\"pid\":%d,\"cpu_us_per_op\":%.3f,\"written_bytes_per_op\":%.1f,"
               "\"cpu_percent\":%.4f,\"rss_bytes\":%llu,\"peak_rss_bytes\":%llu}",
               i > 0 ? "," : "", (int)o->pids[i], p.cpu_us, p.written_bytes, p.cpu_percent,
               (unsigned long long)r->after[i].rss_bytes,
               (unsigned long long)r->after[i].peak_rss_bytes);
    }
    printf("]");
}

void report_json(const struct options *o, const struct result *r)
{
    struct summary s = samples_summary(&r->samples);
    printf("{\"name\":");
    json_string(o->name);
    printf(",\"command\":\"%s\",\"clients\":%u,\"value_bytes\":%zu,\"targets\":[", o->command,
           o->clients, o->value_bytes);
    for (unsigned i = 0; i < o->n_targets; i++) {
        fputs(i > 0 ? "," : "", stdout);
        json_string(o->targets[i]);
    }
    printf("],\"ops\":%zu,\"errors\":%llu,\"seconds\":%.6f,\"ops_per_s\":%.1f,\"mib_per_s\":%.2f,"
           "\"mean_us\":%.1f,\"p50_us\":%.1f,\"p95_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f",
           s.count, (unsigned long long)r->errors, r->seconds, per_second(r), mib_per_second(r),
           s.mean_us, s.p50_us, s.p95_us, s.p99_us, s.max_us);
    if (o->n_pids > 0)
        json_processes(o, r);
    if (r->started_pid > 0)
        printf(",\"started_pid\":%d", (int)r->started_pid);
    printf("}\n");
}
