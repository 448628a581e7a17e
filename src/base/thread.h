/* SPDX-License-Identifier: MIT */
/*
 * thread.h - how a thread begins: with a name, which top -H, perf and a debugger show.
 */
#ifndef RAFTFS_BASE_THREAD_H
#define RAFTFS_BASE_THREAD_H

#include <pthread.h>

/*
 * Starts a thread, to be joined by the caller. `name` has at most 15 bytes. A node that cannot have
 * its threads ends (report.h): none of them can be done without. Any thread.
 */
void thread_start(pthread_t *thread, const char *name, void *(*run)(void *arg), void *arg);

#endif
