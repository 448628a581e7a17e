/* SPDX-License-Identifier: MIT */
/*
 * recent.h - the look that a thread's system call has just had, behind a barrier.
 *
 * Attributes that may not be kept make the kernel ask for them whenever it checks a permission, and
 * with default_permissions it checks one right before it sends
 *
 *     OPEN, OPENDIR   may_open()     of the same inode; also for /proc/self/fd/N and execve(2)
 *     LOOKUP          may_lookup()   of the directory
 *
 * So these follow a GETATTR of the same nodeid, by the same thread, in one system call. That
 * GETATTR was answered behind a barrier, which was asked for during the call: whatever the replica
 * shows from then on is new enough for all that the call still looks at. They need no barrier of
 * their own, which is a round trip saved on each follower.
 *
 * Not so the other way round: a GETATTR may come by itself (fstat), long after the LOOKUP of its
 * inode (open with O_PATH). Hence a thread's record is taken by its next request, whatever that is,
 * and only one that says so makes use of it.
 *
 * Who opens inside the kernel without a check of the permission (fanotify for its listener, nfsd)
 * or looks up by a handle (open_by_handle_at) may come upon the record of an earlier call, as may a
 * thread whose number was used before. So a record is good for RECENT_US only: that is as old as
 * what they see may be.
 *
 * A table of fixed size by thread id; of two threads in one place the later stays. The nodeid of
 * the root is never noted: its attributes are kept, and nobody waits for them. Guarded by the
 * mount's lock.
 */
#ifndef RAFTFS_FUSE_RECENT_H
#define RAFTFS_FUSE_RECENT_H

#include <stdint.h>
#include <sys/types.h>

enum { RECENT_THREADS = 1024, RECENT_US = 20 * 1000 };

struct recent_look {
    pid_t thread;
    uint64_t nodeid;
    uint64_t at_us;
};

struct recent {
    struct recent_look looks[RECENT_THREADS];
};

/* The thread's GETATTR of `nodeid` is about to be answered. Thread 0 is one that cannot be told. */
void recent_note(struct recent *recent, pid_t thread, uint64_t nodeid, uint64_t now_us);

/* The nodeid that the thread's last request was such a GETATTR of, or 0. Forgets it. */
uint64_t recent_take(struct recent *recent, pid_t thread, uint64_t now_us);

#endif
