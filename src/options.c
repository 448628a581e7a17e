/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "raft/net/net.h"

enum {
    DEFAULT_TIMEOUT_S = 5,
    MAX_TIMEOUT_S = 3600,
    DEFAULT_SNAPSHOT_ENTRIES = 10000,
    PATH_BYTES = 4096,
    FUSE_OPTIONS_BYTES = 4096,
    MAX_LINKS = 40, /* as in Linux */
};

static const char usage[] =
    "usage: raftfs [options] MOUNTPOINT\n"
    "       raftfs --recover -data DIR\n"
    "       raftfs --restore FILE -data DIR [-id NAME] [-addr HOST:PORT]\n"
    "\n"
    "Mounts a directory whose files are replicated by Raft to every node of a cluster.\n"
    "\n"
    "  -id NAME            this node's name (default: the host name)\n"
    "  -addr HOST:PORT     where this node listens for its peers (default 127.0.0.1:8001)\n"
    "  -join HOST:PORT[,…] join the cluster of any of these; without it, and with an empty\n"
    "                      data directory, start a new cluster of one\n"
    "  -data DIR           this node's durable state (default: /var/lib/raftfs/NAME as root, else\n"
    "                      $XDG_STATE_HOME/raftfs/NAME, else ~/.local/state/raftfs/NAME)\n"
    "  -nonvoter           join as a replica that never votes\n"
    "  -f                  stay in the foreground\n"
    "  --recover           the majority is lost for ever: make this node, which must not run, a\n"
    "                      cluster of its own; what only the others had is gone\n"
    "  --restore FILE      make an empty data directory the first of a new cluster that has what\n"
    "                      the snapshot FILE holds\n"
    "  -o timeout=SECONDS  how long an operation waits for a quorum (default 5)\n"
    "  -o consistency=linearizable|local\n"
    "                      what a plain read promises (default linearizable)\n"
    "  -o lease=on|off     whether this node, when it leads, answers reads without asking the\n"
    "                      others, or, when it follows, without asking again for a moment;\n"
    "                      safe if clocks run alike within a quarter (default on)\n"
    "  -o snapshot=ENTRIES how many changes until the next snapshot (default 10000; 0: only when\n"
    "                      .raft/snapshot is written)\n"
    "  -o spin=on|off      whether this node stays awake between the steps of a request, which\n"
    "                      makes it faster; off where processor time is rationed (default on)\n"
    "  -o special=visible|hidden\n"
    "                      whether a listing shows .status and .leader (default visible)\n"
    "  -o …                FUSE's own mount options (allow_other, ro, fsname=…)\n"
    "  --help, --version\n";

static char fuse_options[FUSE_OPTIONS_BYTES];
static char data_path[PATH_BYTES];
static char mount_path[PATH_BYTES];

__attribute__((format(printf, 2, 3))) static int fail(int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "raftfs: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "%s\n", status == OPTIONS_USAGE ? " (see raftfs --help)" : "");
    va_end(args);
    return status;
}

/* ---- -o ---- */

static int set_timeout(struct options *o, const char *value)
{
    char *end;
    errno = 0;
    double seconds = strtod(value, &end);
    if (*value == '\0' || *end != '\0' || errno || !(seconds >= 0.1 && seconds <= MAX_TIMEOUT_S))
        return fail(OPTIONS_USAGE, "-o timeout=%s: give seconds from 0.1 to %d", value,
                    MAX_TIMEOUT_S);
    o->node.timeout_ms = (uint32_t)(seconds * 1000);
    return OPTIONS_RUN;
}

static int set_snapshot(struct options *o, const char *value)
{
    char *end;
    errno = 0;
    unsigned long long entries = strtoull(value, &end, 10);
    if (!isdigit((unsigned char)*value) || *end != '\0' || errno)
        return fail(OPTIONS_USAGE, "-o snapshot=%s: give a number of changes, such as 10000",
                    value);
    o->node.snapshot_entries = entries;
    return OPTIONS_RUN;
}

static int set_choice(bool *out, const char *option, const char *value, const char *no,
                      const char *yes)
{
    *out = strcmp(value, yes) == 0;
    if (!*out && strcmp(value, no) != 0)
        return fail(OPTIONS_USAGE, "-o %s=%s: give %s or %s", option, value, no, yes);
    return OPTIONS_RUN;
}

static int pass_to_fuse(const char *option)
{
    size_t used = strlen(fuse_options);
    int n =
        snprintf(fuse_options + used, sizeof(fuse_options) - used, "%s%s", used ? "," : "", option);
    if ((size_t)n >= sizeof(fuse_options) - used)
        return fail(OPTIONS_USAGE, "-o: too many mount options");
    return OPTIONS_RUN;
}

static int mount_option(struct options *o, const char *option)
{
    if (strncmp(option, "timeout=", 8) == 0)
        return set_timeout(o, option + 8);
    if (strncmp(option, "snapshot=", 9) == 0)
        return set_snapshot(o, option + 9);
    if (strncmp(option, "consistency=", 12) == 0)
        return set_choice(&o->node.local_reads, "consistency", option + 12, "linearizable",
                          "local");
    if (strncmp(option, "lease=", 6) == 0)
        return set_choice(&o->node.no_lease, "lease", option + 6, "on", "off");
    if (strncmp(option, "spin=", 5) == 0)
        return set_choice(&o->node.no_spin, "spin", option + 5, "on", "off");
    if (strncmp(option, "special=", 8) == 0)
        return set_choice(&o->node.special_hidden, "special", option + 8, "visible", "hidden");
    return pass_to_fuse(option);
}

static int mount_options(struct options *o, char *list)
{
    int status = OPTIONS_RUN;
    for (char *save, *option = strtok_r(list, ",", &save); option && status == OPTIONS_RUN;
         option = strtok_r(NULL, ",", &save))
        status = mount_option(o, option);
    return status;
}

/* ---- Names and addresses ---- */

static int set_name(struct options *o, const char *name)
{
    if (!raft_net_is_name(name))
        return fail(OPTIONS_USAGE,
                    "-id '%s': a name has 1 to %d letters, digits, '.', '_' or '-', and does not "
                    "begin with '.'",
                    name, RAFT_NAME_BYTES - 1);
    snprintf(o->node.name, sizeof(o->node.name), "%s", name);
    return OPTIONS_RUN;
}

static int set_address(struct options *o, const char *address)
{
    if (!raft_net_is_address(address, strlen(address)))
        return fail(OPTIONS_USAGE, "-addr '%s': give HOST:PORT, such as 127.0.0.1:8001", address);
    snprintf(o->node.address, sizeof(o->node.address), "%s", address);
    return OPTIONS_RUN;
}

static int set_join(struct options *o, const char *addresses)
{
    for (const char *at = addresses; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (!raft_net_is_address(at, strcspn(at, ",")))
            return fail(OPTIONS_USAGE,
                        "-join '%s': give HOST:PORT of a member, or several with commas",
                        addresses);
    o->node.join = addresses;
    return OPTIONS_RUN;
}

/* ---- Paths: made absolute here, because the daemon's working directory is the root ---- */

static int default_data(char out[PATH_BYTES], const char *name)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (geteuid() == 0)
        snprintf(out, PATH_BYTES, "/var/lib/raftfs/%s", name);
    else if (state && *state == '/')
        snprintf(out, PATH_BYTES, "%s/raftfs/%s", state, name);
    else if (home && *home == '/')
        snprintf(out, PATH_BYTES, "%s/.local/state/raftfs/%s", home, name);
    else
        return fail(OPTIONS_USAGE,
                    "HOME is not set: say with -data where to keep this node's state");
    return OPTIONS_RUN;
}

static int resolve(const char *path, char out[PATH_BYTES], int links);

/*
 * *out is a path without symlinks but at its end: follows one there. Of what is mounted there,
 * readlink(2) asks nobody.
 */
static int follow(char out[PATH_BYTES], int links)
{
    char target[PATH_BYTES], path[2 * PATH_BYTES];
    ssize_t n = readlink(out, target, sizeof(target) - 1);
    if (n < 0)
        return 0; /* not a symlink, or not there yet */
    if (links == 0)
        return -ELOOP;
    target[n] = '\0';
    int dir_bytes = target[0] == '/' ? 0 : (int)(strrchr(out, '/') - out) + 1;
    snprintf(path, sizeof(path), "%.*s%s", dir_bytes, out, target);
    return resolve(path, out, links - 1);
}

/* A directory is the same with "/" or "/." behind it. */
static int trim(char path[PATH_BYTES], int n)
{
    while (n > 1 && (path[n - 1] == '/' || (path[n - 1] == '.' && path[n - 2] == '/')))
        path[--n] = '\0';
    return n;
}

/* See absolute(); at most `links` symlinks are followed at its end. */
static int resolve(const char *path, char out[PATH_BYTES], int links)
{
    char parent[PATH_BYTES], resolved[PATH_MAX];
    int n = snprintf(parent, sizeof(parent), "%s", path);
    if (n < PATH_BYTES)
        n = trim(parent, n);
    char *slash = strrchr(parent, '/');
    const char *last = slash ? slash + 1 : parent;
    if (n >= PATH_BYTES || strcmp(last, ".") == 0 || strcmp(last, "..") == 0 || *last == '\0') {
        if (!realpath(path, resolved))
            return -errno;
        snprintf(out, PATH_BYTES, "%s", resolved);
        return 0;
    }
    char name[NAME_MAX + 1];
    if (strlen(last) >= sizeof(name))
        return -ENAMETOOLONG;
    memcpy(name, last, strlen(last) + 1);
    if (slash)
        slash[slash == parent ? 1 : 0] = '\0';
    const char *up = slash ? parent : ".";
    if (!realpath(up, resolved)) {
        if (errno != ENOENT || !slash)
            return -errno;
        char above[PATH_BYTES]; /* parents that do not exist yet (of -data) will be made */
        int status = resolve(parent, above, links);
        if (status < 0)
            return status;
        memcpy(resolved, above,
               sizeof(resolved) < sizeof(above) ? sizeof(resolved) : sizeof(above));
    }
    n = snprintf(out, PATH_BYTES, "%s/%s", strcmp(resolved, "/") == 0 ? "" : resolved, name);
    return n < PATH_BYTES ? follow(out, links) : -ENAMETOOLONG;
}

/*
 * An absolute path without ".", ".." and symlinks, as far as it exists. What is at its end is not
 * asked: it may be a mount whose daemon is dead or hangs.
 */
static int absolute(const char *path, char out[PATH_BYTES])
{
    return resolve(path, out, MAX_LINKS);
}

static int bad_path(const char *what, const char *path, int status)
{
    const char *advice = status == -ENOENT     ? ": make it with mkdir -p"
                         : status == -ENOTCONN ? ": it lies in what a daemon that died has left "
                                                 "mounted; run umount -l on that"
                                               : "";
    return fail(OPTIONS_FAILED, "%s %s: %s%s", what, path, strerror(-status), advice);
}

static int set_paths(struct options *o, const char *data, const char *mountpoint)
{
    char by_default[PATH_BYTES];
    if (!data) {
        int status = default_data(by_default, o->node.name);
        if (status != OPTIONS_RUN)
            return status;
        data = by_default;
    }
    if (*data == '\0' || *mountpoint == '\0')
        return fail(OPTIONS_USAGE, "-data and the mount point are directories: neither is ''");
    int status = absolute(data, data_path);
    if (status < 0)
        return bad_path("-data", data, status);
    status = absolute(mountpoint, mount_path);
    if (status < 0)
        return bad_path("the mount point", mountpoint, status);
    size_t n = strlen(mount_path);
    if (strncmp(data_path, mount_path, n) == 0 && (data_path[n] == '/' || data_path[n] == '\0'))
        return fail(OPTIONS_FAILED,
                    "-data %s lies beneath the mount point %s, which would hide it: choose a "
                    "directory outside",
                    data_path, mount_path);
    o->node.data_dir = data_path;
    o->node.mountpoint = mount_path;
    return OPTIONS_RUN;
}

/* ---- The command line ---- */

enum {
    OPTION_ID = 256,
    OPTION_ADDR,
    OPTION_JOIN,
    OPTION_DATA,
    OPTION_NONVOTER,
    OPTION_RECOVER,
    OPTION_RESTORE,
    OPTION_HELP,
    OPTION_VERSION
};

static const struct option long_options[] = {
    {"id", required_argument, NULL, OPTION_ID},
    {"addr", required_argument, NULL, OPTION_ADDR},
    {"join", required_argument, NULL, OPTION_JOIN},
    {"data", required_argument, NULL, OPTION_DATA},
    {"nonvoter", no_argument, NULL, OPTION_NONVOTER},
    {"recover", no_argument, NULL, OPTION_RECOVER},
    {"restore", required_argument, NULL, OPTION_RESTORE},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

static int one_option(struct options *o, int option, const char **data)
{
    switch (option) {
    case OPTION_ID:
        return set_name(o, optarg);
    case OPTION_ADDR:
        return set_address(o, optarg);
    case OPTION_JOIN:
        return set_join(o, optarg);
    case OPTION_DATA:
        *data = optarg;
        return OPTIONS_RUN;
    case OPTION_NONVOTER:
        o->node.nonvoter = true;
        return OPTIONS_RUN;
    case OPTION_RECOVER:
        o->recover = true;
        return OPTIONS_RUN;
    case OPTION_RESTORE:
        o->restore = optarg;
        return OPTIONS_RUN;
    case 'f':
        o->foreground = true;
        return OPTIONS_RUN;
    case 'o':
        return mount_options(o, optarg);
    case OPTION_HELP:
        fputs(usage, stdout);
        return OPTIONS_DONE;
    case OPTION_VERSION:
        puts("raftfs " RAFTFS_VERSION);
        return OPTIONS_DONE;
    default:
        return fail(OPTIONS_USAGE, "%s: %s", optind > 0 ? "the command line" : "raftfs",
                    "an unknown option, or one without its value");
    }
}

/* Of --recover and --restore. Nothing is guessed: what is named wrong would be lost. */
static int set_offline(struct options *o, const char *data, bool has_mountpoint)
{
    if (!data || has_mountpoint || (o->recover && o->restore))
        return fail(OPTIONS_USAGE, "--recover, or --restore, needs -data DIR, and no mount point: "
                                   "it mounts nothing; start the node afterwards");
    int status = absolute(data, data_path);
    if (status < 0)
        return bad_path("-data", data, status);
    o->node.data_dir = data_path;
    return OPTIONS_RUN;
}

static int set_host_name(struct options *o)
{
    char host[RAFT_NAME_BYTES];
    if (gethostname(host, sizeof(host)) < 0)
        return fail(OPTIONS_USAGE, "this host has no usable name: give this node one with -id");
    host[sizeof(host) - 1] = '\0';
    return set_name(o, host);
}

int options_parse(struct options *o, int argc, char **argv)
{
    *o = (struct options){.node = {.address = "127.0.0.1:8001",
                                   .fuse_options = fuse_options,
                                   .timeout_ms = DEFAULT_TIMEOUT_S * 1000,
                                   .snapshot_entries = DEFAULT_SNAPSHOT_ENTRIES}};
    const char *data = NULL;
    int option, status = OPTIONS_RUN;
    opterr = 0;
    while (status == OPTIONS_RUN &&
           (option = getopt_long_only(argc, argv, ":fo:", long_options, NULL)) != -1) {
        if (option == '?')
            return fail(OPTIONS_USAGE, "unknown option %s", argv[optind - 1]);
        if (option == ':')
            return fail(OPTIONS_USAGE, "%s needs a value", argv[optind - 1]);
        status = one_option(o, option, &data);
    }
    if (status != OPTIONS_RUN)
        return status;
    if (o->restore && o->node.name[0] == '\0' && (status = set_host_name(o)) != OPTIONS_RUN)
        return status;
    if (o->recover || o->restore)
        return set_offline(o, data, optind < argc);
    if (optind != argc - 1)
        return fail(OPTIONS_USAGE, argc == optind
                                       ? "say where to mount: raftfs [options] MOUNTPOINT"
                                       : "more than one mount point");
    if (o->node.name[0] == '\0' && (status = set_host_name(o)) != OPTIONS_RUN)
        return status;
    return set_paths(o, data, argv[optind]);
}
