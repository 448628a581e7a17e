/* SPDX-License-Identifier: MIT */
/*
 * disk.h - the disk under the log, by way of the system calls that the log makes (linked with
 * --wrap): it can be full, and counts what is written to it. Any thread.
 */
#ifndef RAFTFS_TESTS_LOG_DISK_H
#define RAFTFS_TESTS_LOG_DISK_H

#include <stdint.h>

enum disk_kind {
    DISK_PLAIN = 0,   /* says how much room there is */
    DISK_QUOTA,       /* says there is room, and refuses to allocate */
    DISK_NO_ALLOCATE, /* cannot allocate: a write finds out */
};

/* So many more files can be made as files are removed; UINT32_MAX: as many as one likes. */
void disk_set_room(enum disk_kind kind, uint32_t files);

/* System calls that change the disk, since the process started. */
uint64_t disk_changes(void);

#endif
