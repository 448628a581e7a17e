/* SPDX-License-Identifier: MIT */
/*
 * spin.h - waits for a descriptor without going to sleep, while that is worth it.
 *
 * A processor with nothing to do halts, and to wake one up takes longer than most of what a node
 * does for a change: on a virtual machine, half of a round trip. A change has five such waits, of
 * up to 200 us. So for a moment after each commit that others, or callers of its own, have waited
 * for this node about, its loop stays awake: it looks again and again whether something has come,
 * and in between leaves the processor to whoever else wants it.
 *
 * Where somebody does, for long, there is nothing to gain, since that processor does not halt, and
 * much to lose: who yields goes to the end of the queue, who wakes up goes near its head. So a
 * yield that took a time slice ends it for a while.
 *
 * The price is processor time that would have been idle, for as long as changes come; where that is
 * rationed, as by a container's limit, it would be missing later (-o spin=off).
 */
#ifndef RAFTFS_NODE_SPIN_H
#define RAFTFS_NODE_SPIN_H

#include <stdint.h>

/* Zeroed: goes to sleep. One thread's. */
struct spin {
    uint64_t until_us;      /* more is expected until then; CLOCK_MONOTONIC */
    uint64_t not_before_us; /* the processors are crowded */
};

/* Something has come, and more of its kind may soon. */
void spin_stay_awake(struct spin *spin);

/* Waits for the descriptor to be readable, or in_ms milliseconds (-1: for ever), as poll(2). */
void spin_wait(struct spin *spin, int fd, int in_ms);

#endif
