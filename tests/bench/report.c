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

static double ops_of(const struct result *r)
{
    return r->samples.count > 0 ? (double)r->samples.count : 1;
}

static double cpu_us(const struct result *r, unsigned i)
{
    uint64_t before_ns = r->before.processes[i].cpu_ns, after_ns = r->after.processes[i].cpu_ns;
    return after_ns > before_ns ? (double)(after_ns - before_ns) / 1e3 : 0;
}

static double cpu_percent(const struct result *r, unsigned i)
{
    return r->seconds > 0 ? cpu_us(r, i) / r->seconds / 1e4 : 0;
}

/* How many processors were busy, whoever with; coarse for short runs (ticks). */
static double busy_cores(const struct result *r)
{
    uint64_t ns = r->after.busy_ns - r->before.busy_ns;
    return r->seconds > 0 && r->after.busy_ns > 0 ? (double)ns / 1e9 / r->seconds : 0;
}

static double disk_bytes_per_op(const struct result *r)
{
    return (double)(r->after.disk_bytes - r->before.disk_bytes) / ops_of(r);
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
        const struct usage *after = &r->after.processes[i];
        printf("  pid %-8d %8.1f us of CPU an operation, %5.2f %% of a core, %.1f MiB resident (at "
               "most %.1f)\n",
               (int)o->pids[i], cpu_us(r, i) / ops_of(r), cpu_percent(r, i),
               (double)after->rss_bytes / (1 << 20), (double)after->peak_rss_bytes / (1 << 20));
    }
    if (o->disk_path != NULL)
        printf("  disk         %8.0f bytes written an operation\n", disk_bytes_per_op(r));
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
        const struct usage *after = &r->after.processes[i];
        printf("%s{\"pid\":%d,\"cpu_us_per_op\":%.3f,\"cpu_percent\":%.4f,\"rss_bytes\":%llu,"
               "\"peak_rss_bytes\":%llu}",
               i > 0 ? "," : "", (int)o->pids[i], cpu_us(r, i) / ops_of(r), cpu_percent(r, i),
               (unsigned long long)after->rss_bytes, (unsigned long long)after->peak_rss_bytes);
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
    printf(",\"busy_cores\":%.2f", busy_cores(r));
    if (o->n_pids > 0)
        json_processes(o, r);
    if (o->disk_path != NULL)
        printf(",\"disk_bytes_per_op\":%.0f", disk_bytes_per_op(r));
    if (r->started_pid > 0)
        printf(",\"started_pid\":%d", (int)r->started_pid);
    printf("}\n");
}
