/* SPDX-License-Identifier: MIT */
/*
 * disk.h - records what this process asks of the disk beneath one directory, and makes images of
 * what a crash at any step would leave there.
 *
 * The calls that change files are defined here in front of the C library's, for SQLite too. While
 * recording, each is done and noted. An image is built from the notes alone, so one run of a
 * workload gives every crash point, and the same one each time. Syncs are noted but not done.
 *
 * Left out: shared memory (-shm), which nobody trusts after a crash, and orphans, which are
 * emptied.
 */
#ifndef RAFTFS_TESTS_STORE_DISK_H
#define RAFTFS_TESTS_STORE_DISK_H

#include <stdbool.h>
#include <stdint.h>

enum disk_crash {
    DISK_KILLED,    /* the process dies: the page cache has everything */
    DISK_LOST,      /* a power cut: all that was not synced is lost, names too */
    DISK_NAMES,     /* a power cut: names are kept, data that was not synced is lost */
    DISK_SCATTERED, /* a power cut: of names the first few, of data any sectors are kept */
    DISK_CRASHES
};

void disk_record(const char *dir); /* what is there now is on disk */
void disk_stop(void);
void disk_forget(void); /* the recording */

unsigned disk_steps(void); /* recorded so far */

/* Whether the step is more than one write among others. */
bool disk_step_is_special(unsigned step);

/* Into the empty directory `to`: what there is after the first `steps` steps. */
void disk_image(unsigned steps, enum disk_crash crash, const char *to);

#endif
