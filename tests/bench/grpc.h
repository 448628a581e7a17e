/* SPDX-License-Identifier: MIT */
/*
 * grpc.h - unary gRPC calls over one HTTP/2 connection, one at a time.
 *
 * etcd's native interface, with as little client as there can be: no thread, no queue, two system
 * calls for a call. A Go client would add a fifth to etcd's times, its JSON gateway (which proxies
 * to gRPC inside the server) a third; a comparison should not live off that.
 */
#ifndef BENCH_GRPC_H
#define BENCH_GRPC_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct grpc {
    int fd;             /* not owned */
    uint32_t stream;    /* the next call's; odd numbers */
    int64_t may_send;   /* bytes of DATA that the server has room for */
    char authority[64]; /* HOST:PORT */
};

int grpc_start(struct grpc *g, int fd, const char *authority);

/*
 * Calls `path` with a protobuf message of at most 16,000 bytes. Gives the length of the reply's
 * message, of which up to `room` bytes are kept; -EIO when the server answered with an error.
 */
ssize_t grpc_call(struct grpc *g, const char *path, const void *message, size_t bytes, void *reply,
                  size_t room);

#endif
