/* SPDX-License-Identifier: MIT */
/*
 * target_libraft.c - raft:PORT[,PORT…]: libraft-server on loopback, by its protocol.
 *
 * The target is whichever of the ports leads: each is asked to store a value until one does.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libraft_protocol.h"
#include "target.h"

enum { ELECTION_S = 15 };

static int put(int fd, const char *key, const void *value, size_t bytes)
{
    uint8_t out[sizeof(struct libraft_request) + LIBRAFT_MAX_BYTES];
    struct libraft_request request = {.key_bytes = (uint32_t)strlen(key),
                                      .value_bytes = (uint32_t)bytes};
    if (request.key_bytes + bytes > LIBRAFT_MAX_BYTES)
        return -EMSGSIZE;
    memcpy(out, &request, sizeof(request));
    memcpy(out + sizeof(request), key, request.key_bytes);
    memcpy(out + sizeof(request) + request.key_bytes, value, bytes);
    struct libraft_reply reply;
    int rc = send_all(fd, out, sizeof(request) + request.key_bytes + bytes);
    if (rc == 0)
        rc = recv_all(fd, &reply, sizeof(reply));
    return rc < 0 ? rc : reply.status;
}

static int try_leader(int port)
{
    int fd = tcp_connect("127.0.0.1", port);
    if (fd < 0)
        return fd;
    int rc = put(fd, "leader", "?", 1);
    close(fd);
    return rc;
}

static int libraft_open(struct target *t)
{
    uint64_t end = bench_now_ns() + (uint64_t)ELECTION_S * 1000000000;
    int rc = -EINVAL;
    while (bench_now_ns() < end) {
        for (const char *at = t->where; at != NULL; at = strchr(at, ',')) {
            at += *at == ',';
            t->port = atoi(at);
            rc = try_leader(t->port);
            if (rc == 0)
                return 0;
        }
        usleep(100000);
    }
    return rc;
}

static int libraft_connect(struct client *c)
{
    c->fd = tcp_connect("127.0.0.1", c->target->port);
    return c->fd < 0 ? c->fd : 0;
}

static int libraft_put(struct client *c, const char *key, const void *value, size_t bytes)
{
    return put(c->fd, key, value, bytes);
}

const struct target_kind target_libraft = {
    .prefix = "raft:",
    .open = libraft_open,
    .connect = libraft_connect,
    .put = libraft_put,
};
