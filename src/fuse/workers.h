/* SPDX-License-Identifier: MIT */
/*
 * workers.h - the threads that read FUSE's requests and serve them.
 *
 * As a rule one of them does, and the others are parked: workers.c says when more do.
 */
#ifndef RAFTFS_FUSE_WORKERS_H
#define RAFTFS_FUSE_WORKERS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct fuse_buf;
struct mount;
struct request;

enum { WORKERS = 4 };

struct workers {
    pthread_t threads[WORKERS];
    unsigned started;
    atomic_bool leaving;
    atomic_bool is_given; /* `given` is set */
    _Atomic(uint64_t) crowded_until_us;

    pthread_mutex_t lock;  /* of the rest; held for microseconds, under no other */
    bool looks_out;        /* one takes over what is given to him */
    struct request *given; /* for him to answer */
    unsigned attending;    /* those who look out for a request, or sleep until one comes */
    unsigned parked;       /* the deputy among them */
    unsigned called;       /* parked ones that shall attend, and have not noticed yet */
    uint64_t served;       /* requests that somebody began to serve */
    bool has_deputy;
    bool deputy_rests;    /* until a request is served */
    pthread_cond_t call;  /* for those parked */
    pthread_cond_t watch; /* for the deputy */
};

/* The calling thread attends, by workers_serve_one(), until they are started. */
void workers_init(struct workers *w);
void workers_start(struct mount *m);

/* Returns when all of them have left; harmless if they were never started. */
void workers_stop(struct mount *m);
void workers_close(struct workers *w);

/*
 * A worker that looks out calls `answer`, at once; false if there is none, or this is a worker.
 * Whom he has served goes to sleep where he runs (follow.h), so he wakes him up sooner.
 */
bool workers_take_over(struct request *r, void (*answer)(struct request *r));

/* Waits for one request and serves it; false when the session has ended. */
bool workers_serve_one(struct mount *m, struct fuse_buf *buf);

#endif
