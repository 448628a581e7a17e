/* SPDX-License-Identifier: MIT */
/* file.h - what the disk must be told besides the bytes. Any thread. */
#ifndef RAFTFS_BASE_FILE_H
#define RAFTFS_BASE_FILE_H

/*
 * Syncs a directory, so that the names made, renamed and removed in it survive a power cut. 0 or a
 * negative errno.
 */
int file_sync_dir(const char *path);

#endif
