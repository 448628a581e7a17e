/* SPDX-License-Identifier: MIT */
/*
 * segment.h - the log's files: made whole and zeroed, found again, removed.
 *
 * DIR/NUMBER.seg, eight digits or more; the number says only the order, everything else stands in
 * the header. A segment is made as DIR/new, filled with zeroes, synced and renamed, so that under
 * its name it is always whole. Directory entries are synced. Any one thread at a time.
 */
#ifndef RAFTFS_RAFT_LOG_SEGMENT_H
#define RAFTFS_RAFT_LOG_SEGMENT_H

#include "raft/log/format.h"

enum { SEGMENT_PATH_BYTES = 4096 };

void segment_path(const char *dir, uint64_t number, char path[SEGMENT_PATH_BYTES]);

/* Makes segment header->number and opens it read-write: a descriptor or a negative errno. */
int segment_create(const char *dir, const struct format_header *header, uint32_t bytes);

/* The numbers of the segments in dir, ascending; the caller frees them. -errno, or 0. */
int segment_list(const char *dir, uint64_t **numbers, uint32_t *count);

int segment_remove(const char *dir, uint64_t number);

/* pread(2) and pwrite(2) of all the bytes; 0 or a negative errno (-EUCLEAN: the file is short). */
int segment_read(int fd, void *out, uint32_t bytes, uint32_t offset);
int segment_write(int fd, const void *data, uint32_t bytes, uint32_t offset);

#endif
