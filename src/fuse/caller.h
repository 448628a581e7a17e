/* SPDX-License-Identifier: MIT */
/*
 * caller.h - who sent a request, and what /proc says of them.
 *
 * FUSE sends uid, gid and thread id. The rest is looked up while the caller waits for its answer,
 * so it can neither exit nor change. A thread id of 0 (another PID namespace) tells nothing. Any
 * thread; no lock may be held.
 */
#ifndef RAFTFS_FUSE_CALLER_H
#define RAFTFS_FUSE_CALLER_H

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/command.h"

/* Credentials for a command; give the groups back with caller_close(). */
void caller_init(struct command_caller *caller, fuse_req_t req);
void caller_close(struct command_caller *caller);

/*
 * Whether a fatal signal is on its way to the thread. Any other must not end a request: handlers
 * installed with SA_RESTART expect mkdir to go on. The kernel turns what is fatal for a process
 * into a pending SIGKILL of each of its threads.
 */
bool caller_is_dying(pid_t thread);

/* Whether the thread's process has a descriptor of this inode that can write. */
bool caller_writes_to(pid_t thread, uint64_t nodeid);

#endif
