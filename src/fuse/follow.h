/* SPDX-License-Identifier: MIT */
/*
 * follow.h - a worker moves to the processor of the caller that it serves.
 *
 * A caller sleeps while his request is served. If the worker runs on the processor where he went to
 * sleep, the two take turns there; on another one each answer is an interrupt between processors,
 * and each request waits for a look from over there. For a virtual machine that is most of what a
 * request costs, and one that overwrites a file is four. The scheduler sees two threads that want
 * to run, and parts them.
 *
 * So a worker that has served nobody but one thread for a while asks where that was last, and moves
 * there. He stays free to be moved again: his affinity is set for that moment only.
 */
#ifndef RAFTFS_FUSE_FOLLOW_H
#define RAFTFS_FUSE_FOLLOW_H

#include <stdint.h>
#include <sys/types.h>

enum { FOLLOW_REQUESTS = 64 };

struct follow {
    pid_t caller;
    uint32_t in_a_row; /* of his requests */
};

/* The calling thread has served a request of `caller`, a thread; 0: nobody's. */
void follow_caller(struct follow *follow, pid_t caller);

#endif
