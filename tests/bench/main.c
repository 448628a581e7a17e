/* SPDX-License-Identifier: MIT */
/*
 * main.c - raftfs-bench: the command line, and the end of a run.
 *
 * One run measures one figure. tests/bench/compare.sh and its like put figures together.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

static const char usage_text[] =
    "usage: raftfs-bench [options] COMMAND [TARGET…]\n"
    "\n"
    "A TARGET is a directory (a raftfs mount or any other), etcd:HOST:PORT, raft:PORT[,PORT…]\n"
    "(libraft-server), or one of this machine's limits: disk:DIR (fdatasync of 4 KiB), tcp: (a\n"
    "ping over loopback), fuse: (an empty filesystem), fuse:noflush (without FLUSH),\n"
    "fuse:uncached (nor anything cached), fuse:libraft:PORT[,PORT…] (and each write put to\n"
    "libraft-server). Clients are dealt to the targets.\n"
    "\n"
    "  put, get, stat        on a key of each client's own, with --keys on random ones of a set,\n"
    "                        with --new on a new one each time\n"
    "  list                  the whole directory, with --dirs each of those instead\n"
    "  create, remove, rename  a new file each time\n"
    "  fill                  makes the set of --keys keys\n"
    "  file-write, file-read   one large file of --file-bytes in blocks of --bytes\n"
    "  lag WRITER READER     from a write's return until the reader's own replica shows it\n"
    "  failover TARGET…      from --kill or --shell until a write succeeds on any of the targets\n"
    "  restart MOUNT -- COMMAND…  from the command's start until the mount serves; it runs on\n"
    "  use                   what --pids use in --seconds\n"
    "\n"
    "  -c, --clients N       threads, one operation under way in each (1)\n"
    "  -n, --ops N           operations of all of them together (1000)\n"
    "  -t, --seconds S       for so long instead\n"
    "  -w, --warmup N        first operations of each client that do not count (20)\n"
    "  -b, --bytes N         of a value or a block (16)\n"
    "      --file-bytes N    of a large file (67108864)\n"
    "      --keys N          the set's size\n"
    "      --from N          fill: leave out the keys before this one, they are there (0)\n"
    "      --dirs N          the set's keys are spread over the subdirectories d0 to dN-1\n"
    "      --new             a new key for each put\n"
    "      --sync            fsync before close\n"
    "      --local           read the replica of that node, ask nobody\n"
    "      --kill PID        failover: kill -9\n"
    "      --shell COMMAND   failover: any other way to break something\n"
    "      --read KEY        restart: until this key can be read\n"
    "      --pids PID[,PID…] tell what these use: CPU and memory\n"
    "      --disk DIR        tell what is written to the device that holds DIR, by anybody\n"
    "      --name NAME       of the figure (the command)\n"
    "      --samples FILE    each sample, a line: start (s, monotonic clock), us taken\n"
    "      --json            one line of JSON instead of text\n"
    "\n"
    "Exit status: 0 measured, 1 failed or an operation failed, 2 wrong usage.\n";

struct command {
    const char *name;
    int (*run)(const struct options *o, struct result *r);
    unsigned min_targets, max_targets;
};

static const struct command commands[] = {
    {"put", load_run, 1, BENCH_MAX_TARGETS},
    {"get", load_run, 1, BENCH_MAX_TARGETS},
    {"stat", load_run, 1, BENCH_MAX_TARGETS},
    {"list", load_run, 1, BENCH_MAX_TARGETS},
    {"create", load_run, 1, BENCH_MAX_TARGETS},
    {"remove", load_run, 1, BENCH_MAX_TARGETS},
    {"rename", load_run, 1, BENCH_MAX_TARGETS},
    {"fill", load_run, 1, BENCH_MAX_TARGETS},
    {"file-write", file_run, 1, 1},
    {"file-read", file_run, 1, 1},
    {"lag", lag_run, 2, 2},
    {"failover", failover_run, 1, BENCH_MAX_TARGETS},
    {"restart", restart_run, 1, 1},
    {"use", use_run, 0, 0},
};

void complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("raftfs-bench: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

void use_take(const struct options *o, struct used *out)
{
    for (unsigned i = 0; i < o->n_pids; i++)
        if (process_usage(o->pids[i], &out->processes[i]) < 0)
            out->processes[i] = (struct usage){0};
    out->busy_ns = machine_busy_ns();
    if (o->disk_path != NULL)
        out->disk_bytes = disk_written_bytes(o->disk_path);
}

int use_run(const struct options *o, struct result *r)
{
    use_take(o, &r->before);
    uint64_t start_ns = bench_now_ns();
    usleep((useconds_t)(o->seconds * 1e6));
    use_take(o, &r->after);
    r->seconds = (double)(bench_now_ns() - start_ns) / 1e9;
    return 0;
}

static _Noreturn void wrong_usage(const char *what)
{
    complain("%s; see raftfs-bench --help", what);
    exit(2);
}

static uint64_t number(const char *text, const char *option)
{
    char *end;
    uint64_t n = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0') {
        complain("--%s needs a number, not %s", option, text);
        exit(2);
    }
    return n;
}

static void take_pids(struct options *o, char *list)
{
    for (char *pid = strtok(list, ","); pid != NULL; pid = strtok(NULL, ",")) {
        if (o->n_pids == BENCH_MAX_PIDS)
            wrong_usage("too many --pids");
        o->pids[o->n_pids++] = (pid_t)number(pid, "pids");
    }
}

enum {
    FILE_BYTES = 256,
    KEYS,
    FROM,
    DIRS,
    NEW,
    SYNC,
    LOCAL,
    KILL,
    SHELL,
    READ,
    PIDS,
    DISK,
    NAME,
    SAMPLES,
    JSON,
    HELP
};

static const struct option long_options[] = {
    {"clients", required_argument, NULL, 'c'},
    {"ops", required_argument, NULL, 'n'},
    {"seconds", required_argument, NULL, 't'},
    {"warmup", required_argument, NULL, 'w'},
    {"bytes", required_argument, NULL, 'b'},
    {"file-bytes", required_argument, NULL, FILE_BYTES},
    {"keys", required_argument, NULL, KEYS},
    {"from", required_argument, NULL, FROM},
    {"dirs", required_argument, NULL, DIRS},
    {"new", no_argument, NULL, NEW},
    {"sync", no_argument, NULL, SYNC},
    {"local", no_argument, NULL, LOCAL},
    {"kill", required_argument, NULL, KILL},
    {"shell", required_argument, NULL, SHELL},
    {"read", required_argument, NULL, READ},
    {"pids", required_argument, NULL, PIDS},
    {"disk", required_argument, NULL, DISK},
    {"name", required_argument, NULL, NAME},
    {"samples", required_argument, NULL, SAMPLES},
    {"json", no_argument, NULL, JSON},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

static void take_option(struct options *o, int option, char *value)
{
    switch (option) {
    case 'c':
        o->clients = (unsigned)number(value, "clients");
        break;
    case 'n':
        o->ops = number(value, "ops");
        break;
    case 't':
        o->seconds = strtod(value, NULL);
        break;
    case 'w':
        o->warmup = number(value, "warmup");
        break;
    case 'b':
        o->value_bytes = number(value, "bytes");
        break;
    case FILE_BYTES:
        o->file_bytes = number(value, "file-bytes");
        break;
    case KEYS:
        o->keys = number(value, "keys");
        break;
    case FROM:
        o->from = number(value, "from");
        break;
    case DIRS:
        o->dirs = (unsigned)number(value, "dirs");
        break;
    case NEW:
        o->new_keys = true;
        break;
    case SYNC:
        o->sync = true;
        break;
    case LOCAL:
        o->local = true;
        break;
    case KILL:
        o->kill_pid = (pid_t)number(value, "kill");
        break;
    case SHELL:
        o->shell = value;
        break;
    case READ:
        o->read_key = value;
        break;
    case PIDS:
        take_pids(o, value);
        break;
    case DISK:
        o->disk_path = value;
        break;
    case NAME:
        o->name = value;
        break;
    case SAMPLES:
        o->samples_path = value;
        break;
    case JSON:
        o->json = true;
        break;
    case HELP:
        fputs(usage_text, stdout);
        exit(0);
    default:
        wrong_usage("wrong option");
    }
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    wrong_usage("no such command");
}

static void check(struct options *o, const struct command *command)
{
    if (o->n_targets < command->min_targets || o->n_targets > command->max_targets)
        wrong_usage("wrong number of targets");
    if (o->clients < 1 || o->value_bytes < 1)
        wrong_usage("--clients and --bytes must be positive");
    if (command->run == load_run && strcmp(o->command, "fill") == 0) {
        o->warmup = 0;
        if (o->keys <= o->from)
            wrong_usage("fill needs --keys, and more than --from");
        o->ops = o->keys - o->from;
        o->seconds = 0;
    }
    if (o->seconds > 0)
        o->ops = 0;
    if (o->seconds > 0 && (strcmp(o->command, "remove") == 0 || strcmp(o->command, "rename") == 0))
        wrong_usage("remove and rename take --ops, not --seconds: their files are made before");
    if (command->run == failover_run && (o->kill_pid > 0) == (o->shell != NULL))
        wrong_usage("failover needs either --kill or --shell");
    if (command->run == restart_run && o->argv == NULL)
        wrong_usage("restart needs a command behind --");
    if (command->run == use_run && (o->n_pids == 0 || o->seconds <= 0))
        wrong_usage("use needs --pids and --seconds");
}

static const struct command *parse(struct options *o, int argc, char **argv)
{
    int own = argc; /* what stands behind -- is restart's */
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0 && i + 1 < argc) {
            own = i;
            o->argv = argv + i + 1;
            break;
        }
    }
    int option;
    while ((option = getopt_long(own, argv, "c:n:t:w:b:", long_options, NULL)) != -1)
        take_option(o, option, optarg);
    if (optind >= own)
        wrong_usage("no command");
    o->command = argv[optind++];
    if (o->name == NULL)
        o->name = o->command;
    for (; optind < own; optind++) {
        if (o->n_targets == BENCH_MAX_TARGETS)
            wrong_usage("too many targets");
        o->targets[o->n_targets++] = argv[optind];
    }
    const struct command *command = find_command(o->command);
    check(o, command);
    return command;
}

static int write_samples(const struct options *o, const struct result *r)
{
    FILE *f = fopen(o->samples_path, "we");
    if (f != NULL)
        samples_write(&r->samples, f);
    if (f == NULL || fclose(f) != 0) {
        complain("%s: %s", o->samples_path, strerror(errno));
        return -EIO;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static struct result r;
    struct options o = {
        .clients = 1, .ops = 1000, .warmup = 20, .value_bytes = 16, .file_bytes = 64 << 20};
    const struct command *command = parse(&o, argc, argv);
    signal(SIGPIPE, SIG_IGN);
    int rc = command->run(&o, &r);
    if (rc == 0 && o.samples_path != NULL)
        rc = write_samples(&o, &r);
    if (rc == 0 && o.json)
        report_json(&o, &r);
    else if (rc == 0)
        report_text(&o, &r);
    samples_free(&r.samples);
    bool failed = rc < 0 || (r.errors > 0 && command->run != failover_run);
    return failed ? 1 : 0;
}
