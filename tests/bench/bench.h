/* SPDX-License-Identifier: MIT */
/*
 * bench.h - what is measured (options), and what came of it (result).
 *
 * A command fills a result in; report.c shows it. Both live in main() and belong to its thread.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "process.h"
#include "samples.h"

enum { BENCH_MAX_TARGETS = 16, BENCH_MAX_PIDS = 32, BENCH_KEY_BYTES = 128 };

struct options {
    const char *command;
    const char *name; /* of the figure, in the output */
    const char *targets[BENCH_MAX_TARGETS];
    unsigned n_targets;
    unsigned clients;
    uint64_t ops;    /* of all clients together; 0: until `seconds` are over */
    double seconds;  /* 0: until `ops` are done */
    uint64_t warmup; /* first operations of each client that are not counted */
    size_t value_bytes;
    uint64_t file_bytes;
    uint64_t keys; /* the keys of `fill`, which put, get and stat then draw from; 0: one a client */
    uint64_t from; /* fill: the first of them that it makes */
    unsigned dirs; /* those keys are spread over so many subdirectories, d0, d1 …; 0: none */
    bool new_keys, sync, local, json;
    const char *samples_path;
    pid_t pids[BENCH_MAX_PIDS];
    unsigned n_pids;
    const char *disk_path; /* of which the device's writes are counted; NULL: no */
    pid_t kill_pid;        /* failover: this one is killed, or … */
    const char *shell;     /* … this shell command breaks something */
    const char *read_key;  /* restart: served once this key can be read, not once mounted */
    char *const *argv;     /* restart: the command that starts the node again */
};

struct used {
    struct usage processes[BENCH_MAX_PIDS];
    uint64_t disk_bytes;
    uint64_t busy_ns; /* of all processors */
};

struct result {
    struct samples samples;
    uint64_t errors;
    int first_error;   /* negative errno, or 0 */
    double seconds;    /* from the first operation's start to the last one's end */
    uint64_t bytes;    /* of values moved */
    pid_t started_pid; /* restart: the node, left running; 0: none */
    struct used before, after;
};

/* Each runs one command: 0, or a negative errno with a message already on standard error. */
int load_run(const struct options *o, struct result *r);
int file_run(const struct options *o, struct result *r);
int lag_run(const struct options *o, struct result *r);
int failover_run(const struct options *o, struct result *r);
int restart_run(const struct options *o, struct result *r);
int use_run(const struct options *o, struct result *r);

/* What o->pids and the disk have used until now; a process that is gone is all zero. */
void use_take(const struct options *o, struct used *out);

void report_text(const struct options *o, const struct result *r);
void report_json(const struct options *o, const struct result *r);

/* `raftfs-bench: message`, on standard error. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
