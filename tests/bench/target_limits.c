/* SPDX-License-Identifier: MIT */
/*
 * target_limits.c - what this machine's disk and network can do at best.
 *
 * disk:DIR  put is a pwrite of 4 KiB into a file that was written with zeroes before, so that the
 *           size, the extents and their states stay, and fdatasync. Each client has its own file.
 * tcp:      put is 64 bytes to another process over loopback and 64 bytes back.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "target.h"

enum { BLOCK_BYTES = 4096, BLOCKS = 2048, PING_BYTES = 64 };

/* ---- The disk ------------------------------------------------------------------------------- */

static int disk_connect(struct client *c)
{
    static const char zeroes[64 * BLOCK_BYTES];
    char path[512];
    snprintf(path, sizeof(path), "%s/bench-disk-%d-%u", c->target->where, (int)getpid(), c->number);
    c->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (c->fd < 0)
        return -errno;
    unlink(path);
    for (size_t done = 0; done < (size_t)BLOCKS * BLOCK_BYTES; done += sizeof(zeroes))
        if (write(c->fd, zeroes, sizeof(zeroes)) != (ssize_t)sizeof(zeroes))
            return -ENOSPC;
    return fsync(c->fd) < 0 ? -errno : 0;
}

static int disk_put(struct client *c, const char *key, const void *value, size_t bytes)
{
    (void)key;
    char block[BLOCK_BYTES];
    memset(block, (int)(c->count + 1) & 0xff, sizeof(block));
    memcpy(block, value, bytes < sizeof(block) ? bytes : sizeof(block));
    off_t at = (off_t)(c->count++ % BLOCKS) * BLOCK_BYTES;
    if (pwrite(c->fd, block, sizeof(block), at) != (ssize_t)sizeof(block))
        return -EIO;
    return fdatasync(c->fd) < 0 ? -errno : 0;
}

const struct target_kind target_disk = {
    .prefix = "disk:",
    .connect = disk_connect,
    .put = disk_put,
};

/* ---- The network ---------------------------------------------------------------------------- */

static void *echo(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char data[PING_BYTES];
    while (recv_all(fd, data, sizeof(data)) == 0 && send_all(fd, data, sizeof(data)) == 0)
        continue;
    close(fd);
    return NULL;
}

static _Noreturn void echo_server(int listener)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            _exit(1);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        pthread_t thread;
        if (pthread_create(&thread, NULL, echo, (void *)(intptr_t)fd) != 0)
            _exit(1);
        pthread_detach(thread);
    }
}

static int tcp_open(struct target *t)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) < 0 ||
        listen(listener, SOMAXCONN) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) < 0)
        return -errno;
    t->port = ntohs(address.sin_port);
    t->child = fork();
    if (t->child == 0)
        echo_server(listener);
    int rc = t->child < 0 ? -errno : 0;
    close(listener);
    return rc;
}

static void tcp_close(struct target *t)
{
    kill(t->child, SIGKILL);
    waitpid(t->child, NULL, 0);
}

static int tcp_client(struct client *c)
{
    c->fd = tcp_connect("127.0.0.1", c->target->port);
    return c->fd < 0 ? c->fd : 0;
}

static int tcp_put(struct client *c, const char *key, const void *value, size_t bytes)
{
    (void)key, (void)value, (void)bytes;
    char data[PING_BYTES] = {0};
    int rc = send_all(c->fd, data, sizeof(data));
    return rc < 0 ? rc : recv_all(c->fd, data, sizeof(data));
}

const struct target_kind target_tcp = {
    .prefix = "tcp:",
    .open = tcp_open,
    .close = tcp_close,
    .connect = tcp_client,
    .put = tcp_put,
};
