/* SPDX-License-Identifier: MIT */
/*
 * events.c - what happens once: the loss of a node, its start.
 *
 * failover: something is broken (a process is killed, a shell command cuts a network), and from
 * that moment on each target is written to, by a thread of its own, until the first write succeeds
 * anywhere. A target may refuse or block meanwhile; both are what a client would see.
 *
 * restart: a command is started, and its mount is looked at until it serves: it is a FUSE mount
 * and its .status can be read; or, with a key, until that can be read as any reader would.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "target.h"

enum { GIVE_UP_S = 60, FUSE_MAGIC = 0x65735546, POLL_US = 500 };

static uint64_t give_up_ns(void)
{
    return bench_now_ns() + (uint64_t)GIVE_UP_S * 1000000000;
}

/* ---- Failover ------------------------------------------------------------------------------- */

struct writer {
    struct client client;
    pthread_t thread;
    atomic_bool *done;
    _Atomic uint64_t *first_ns; /* when the first write succeeded; 0: not yet */
    uint64_t refused;
};

static void *write_until_done(void *arg)
{
    struct writer *w = arg;
    uint64_t end_ns = give_up_ns();
    while (!atomic_load(w->done) && bench_now_ns() < end_ns) {
        if (w->client.target->kind->put(&w->client, "failover", "x", 1) == 0) {
            uint64_t none = 0;
            atomic_compare_exchange_strong(w->first_ns, &none, bench_now_ns());
            atomic_store(w->done, true);
        } else {
            w->refused++;
            usleep(POLL_US);
        }
    }
    return NULL;
}

/* Its end is waited for, so that nothing is answered by threads which the signal has not reached.
 */
static int kill_process(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    int rc = fd < 0 || kill(pid, SIGKILL) < 0 ? -errno : 0;
    if (rc == 0 && poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, GIVE_UP_S * 1000) != 1)
        rc = -ETIMEDOUT;
    if (fd >= 0)
        close(fd);
    return rc;
}

static int break_something(const struct options *o)
{
    if (o->kill_pid > 0)
        return kill_process(o->kill_pid);
    return system(o->shell) == 0 ? 0 : -ECHILD;
}

static int break_and_write(const struct options *o, struct writer *writers, struct result *r)
{
    atomic_bool done = false;
    _Atomic uint64_t first_ns = 0;
    uint64_t start_ns = bench_now_ns();
    int rc = break_something(o);
    if (rc < 0) {
        complain("nothing was broken: %s", strerror(-rc));
        return rc;
    }
    for (unsigned i = 0; i < o->n_targets; i++) {
        writers[i].done = &done;
        writers[i].first_ns = &first_ns;
        if (pthread_create(&writers[i].thread, NULL, write_until_done, &writers[i]) != 0)
            abort();
    }
    for (unsigned i = 0; i < o->n_targets; i++) {
        pthread_join(writers[i].thread, NULL);
        r->errors += writers[i].refused;
    }
    if (atomic_load(&first_ns) == 0) {
        complain("no write succeeded within %d s", GIVE_UP_S);
        return -ETIMEDOUT;
    }
    samples_add(&r->samples, start_ns, first_ns - start_ns);
    r->seconds = (double)(first_ns - start_ns) / 1e9;
    return 0;
}

int failover_run(const struct options *o, struct result *r)
{
    struct target targets[BENCH_MAX_TARGETS];
    struct writer writers[BENCH_MAX_TARGETS] = {0};
    int rc = 0;
    unsigned n = 0;
    for (; n < o->n_targets && rc == 0; n++) {
        rc = target_open(&targets[n], o, o->targets[n]);
        if (rc < 0)
            break;
        rc = client_connect(&writers[n].client, &targets[n], n);
        /* One write before, so that what is measured is the failover and no first time. */
        if (rc == 0)
            rc = targets[n].kind->put(&writers[n].client, "failover", "-", 1);
    }
    if (rc == 0)
        rc = break_and_write(o, writers, r);
    while (n-- > 0) {
        client_disconnect(&writers[n].client);
        target_close(&targets[n]);
    }
    return rc;
}

/* ---- Restart -------------------------------------------------------------------------------- */

static bool serves(const struct options *o)
{
    char path[512], byte;
    struct statfs s;
    if (statfs(o->targets[0], &s) < 0 || s.f_type != FUSE_MAGIC)
        return false;
    snprintf(path, sizeof(path), "%s/%s", o->targets[0],
             o->read_key != NULL ? o->read_key : ".status");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool readable = fd >= 0 && read(fd, &byte, 1) == 1;
    if (fd >= 0)
        close(fd);
    return readable;
}

/*
 * The node outlives the bench, and must not hold the pipes that the bench's output goes to. What it
 * says is kept by a command that keeps it (sh -c '… 2>>FILE').
 */
static pid_t start(const struct options *o)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    int null = open("/dev/null", O_RDWR);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    setsid();
    execvp(o->argv[0], o->argv);
    _exit(127);
}

int restart_run(const struct options *o, struct result *r)
{
    uint64_t start_ns = bench_now_ns(), end_ns = give_up_ns();
    r->started_pid = start(o);
    while (r->started_pid > 0 && !serves(o)) {
        if (waitpid(r->started_pid, NULL, WNOHANG) != 0 || bench_now_ns() > end_ns) {
            complain("%s does not serve %s", o->argv[0], o->targets[0]);
            return -ETIMEDOUT;
        }
        usleep(POLL_US);
    }
    uint64_t took_ns = bench_now_ns() - start_ns;
    samples_add(&r->samples, start_ns, took_ns);
    r->seconds = (double)took_ns / 1e9;
    use_take(o, &r->after);
    return r->started_pid > 0 ? 0 : -EAGAIN;
}
