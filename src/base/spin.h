/* SPDX-License-Identifier: MIT */
/*
 * spin.h - looks out for a moment before going to sleep.
 *
 * A processor with nothing to do halts, and to wake one up takes longer than most of what is then
 * done: on a virtual machine, half of a round trip. So a thread for which something will come soon
 * looks again and again whether it has, and in between leaves the processor to whoever else wants
 * it.
 *
 * Where somebody does, for long, there is nothing to gain, since that processor does not halt, and
 * much to lose: who yields goes to the end of the queue, who wakes up goes near its head. Whoever
 * looks is told, and sleeps for a while.
 *
 * The price is processor time that would have been idle; where that is rationed, as by a
 * container's limit, it would be missing later (-o spin=off).
 */
#ifndef RAFTFS_BASE_SPIN_H
#define RAFTFS_BASE_SPIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum spin_seen {
    SPIN_NOTHING,
    SPIN_READABLE, /* or an error, or the flag is set */
    SPIN_LATE,     /* likewise, but somebody had the processor for a time slice meanwhile */
    SPIN_CROWDED,  /* somebody had it, or this thread was stopped, and nothing has come */
};

/* Looks for for_us at most whether the descriptor is readable, or `flag` set (NULL: there is none).
 */
enum spin_seen spin_look(int fd, const atomic_bool *flag, uint32_t for_us);

#endif
