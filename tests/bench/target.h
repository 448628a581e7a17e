/* SPDX-License-Identifier: MIT */
/*
 * target.h - what can be measured: one small table of functions for each kind of system.
 *
 *   DIR            files of a directory: a raftfs mount, ext4, bindfs …
 *   etcd:H:P       etcd's own gRPC interface                     (target_etcd.c)
 *   raft:P[,P…]    the server on canonical's libraft, loopback   (target_libraft.c)
 *   disk:DIR       the limit of a disk: fdatasync                (target_limits.c)
 *   tcp:           the limit of a network: ping-pong             (target_limits.c)
 *   fuse:[WHICH]   the limit of FUSE: an empty filesystem        (target_fuse.c)
 *
 * A target is opened once by the main thread; each client thread then connects to it and is the
 * only one to use its connection. Functions give 0 (get: the number of bytes) or a negative errno;
 * those that a system does not have are NULL.
 */
#ifndef BENCH_TARGET_H
#define BENCH_TARGET_H

#include <sys/types.h>

#include "bench.h"

struct target;
struct client;

struct target_kind {
    const char *prefix;
    int (*open)(struct target *t);
    void (*close)(struct target *t);
    int (*connect)(struct client *c);
    void (*disconnect)(struct client *c);
    int (*put)(struct client *c, const char *key, const void *value, size_t bytes);
    ssize_t (*get)(struct client *c, const char *key, void *value, size_t room);
    int (*stat)(struct client *c, const char *key);
    int (*list)(struct client *c);
    int (*create)(struct client *c, const char *key);
    int (*remove)(struct client *c, const char *key);
    int (*rename)(struct client *c, const char *from, const char *to);
};

struct target {
    const struct target_kind *kind;
    const struct options *options;
    const char *where; /* behind the prefix */
    char path[256];    /* of a directory: the target itself, or one that the target made */
    pid_t child;       /* a process of the target's own, or 0 */
    int port;
};

struct client {
    struct target *target;
    unsigned number;
    int fd;
    uint64_t count; /* of operations, for a kind that needs it */
    void *own;
};

extern const struct target_kind target_files, target_etcd, target_libraft, target_disk, target_tcp,
    target_fuse;

/* Finds the kind by its prefix, and opens the target. Complains. */
int target_open(struct target *t, const struct options *o, const char *name);
void target_close(struct target *t);

/* Connects to an open target. Complains. */
int client_connect(struct client *c, struct target *t, unsigned number);
void client_disconnect(struct client *c);

/* A TCP connection without delay to a numeric IPv4 address, or a negative errno. */
int tcp_connect(const char *host, int port);
int send_all(int fd, const void *data, size_t bytes);
int recv_all(int fd, void *data, size_t bytes);

#endif
