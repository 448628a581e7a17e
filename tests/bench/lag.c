/* SPDX-License-Identifier: MIT */
/*
 * lag.c - how long after a write has returned another replica still lacks it.
 *
 * The first target is written to; the second is asked, again and again and by the same thread, for
 * what it has itself, asking nobody: .raft/local/ of a mount, a serializable read of etcd. A sample
 * runs from the write's return to the return of the read that shows it, so it has one read in it,
 * and is the same for each system.
 *
 * A mount is read through one open descriptor, from 0 each time, which shows the newest version, as
 * a program that watches a key would.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "progress.h"
#include "target.h"

enum { GIVE_UP_S = 10 };
static const char KEY[] = "lag";

static ssize_t read_again(struct client *c, char *value, size_t room)
{
    if (c->target->kind != &target_files)
        return c->target->kind->get(c, KEY, value, room);
    ssize_t n = pread(c->fd, value, room, 0);
    return n < 0 ? -errno : n;
}

static int watch_file(struct client *c)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/.raft/local/%s", c->target->path, KEY);
    uint64_t end_ns = bench_now_ns() + (uint64_t)GIVE_UP_S * 1000000000;
    do { /* until the replica has the key at all */
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            close(c->fd);
            c->fd = fd;
            return 0;
        }
    } while (errno == ENOENT && bench_now_ns() < end_ns);
    complain("%s: %s", path, strerror(errno));
    return -EIO;
}

static int sample(struct client *writer, struct client *reader, struct result *r, const char *value)
{
    char seen[64];
    size_t bytes = strlen(value);
    int rc = writer->target->kind->put(writer, KEY, value, bytes);
    uint64_t start_ns = bench_now_ns(), now_ns = start_ns;
    while (rc == 0) {
        ssize_t n = read_again(reader, seen, sizeof(seen));
        now_ns = bench_now_ns();
        if (n < 0 && n != -ENOENT)
            rc = (int)n;
        else if ((size_t)n == bytes && memcmp(seen, value, bytes) == 0)
            break;
        else if (now_ns - start_ns > (uint64_t)GIVE_UP_S * 1000000000)
            rc = -ETIMEDOUT;
    }
    if (rc < 0)
        complain("lag: %s", strerror(-rc));
    else
        samples_add(&r->samples, start_ns, now_ns - start_ns);
    return rc;
}

static int measure(const struct options *o, struct client *writer, struct client *reader,
                   struct result *r)
{
    int rc = writer->target->kind->put(writer, KEY, "-", 1);
    if (rc == 0 && reader->target->kind == &target_files)
        rc = watch_file(reader);
    struct progress bar = progress_start(o);
    use_take(o, &r->before);
    uint64_t start_ns = bench_now_ns();
    for (uint64_t i = 0; i < o->ops && rc == 0; i++) {
        char value[24];
        snprintf(value, sizeof(value), "%llu", (unsigned long long)i);
        rc = sample(writer, reader, r, value);
        progress_show(&bar, (double)i / (double)o->ops, "");
    }
    r->seconds = (double)(bench_now_ns() - start_ns) / 1e9;
    use_take(o, &r->after);
    progress_end(&bar);
    return rc;
}

int lag_run(const struct options *o, struct result *r)
{
    struct options local = *o;
    local.local = true;
    struct target from, to;
    struct client writer, reader;
    int rc = target_open(&from, o, o->targets[0]);
    if (rc < 0)
        return rc;
    rc = target_open(&to, &local, o->targets[1]);
    if (rc == 0) {
        rc = client_connect(&writer, &from, 0);
        if (rc == 0) {
            rc = client_connect(&reader, &to, 1);
            if (rc == 0) {
                rc = measure(o, &writer, &reader, r);
                client_disconnect(&reader);
            }
            client_disconnect(&writer);
        }
        target_close(&to);
    }
    target_close(&from);
    return rc;
}
