/* SPDX-License-Identifier: MIT */
/*
 * segment.h - the log's files: made ahead and zeroed, begun, found again, removed.
 *
 * DIR/NUMBER.seg, eight digits or more; the number says only the order, everything else stands in
 * the header. A file is made as DIR/NAME.new, filled with zeroes, synced and renamed to DIR/NAME, a
 * segment yet without a header; begun, it gets one, is synced and renamed again. So it is whole
 * under either name. Any one thread at a time for each name.
 */
#ifndef RAFTFS_RAFT_LOG_SEGMENT_H
#define RAFTFS_RAFT_LOG_SEGMENT_H

#include "raft/log/format.h"

enum { SEGMENT_PATH_BYTES = 4096 };

void segment_path(const char *dir, uint64_t number, char path[SEGMENT_PATH_BYTES]);

/* The names of segments made ahead. */
#define SEGMENT_SPARE   "spare"   /* the next one */
#define SEGMENT_RESERVE "reserve" /* for when the disk is full: allocated only, if that can be */
#define SEGMENT_FIRST   "first"   /* begun as soon as it is made */

/*
 * Makes DIR/name, zeroed and synced; the name may yet get lost in a power cut. Asks `stop` now and
 * then whether to give up
 * (-ECANCELED); NULL: never. Where it is plain that there is no room nothing is written. 0 or a
 * negative errno.
 */
int segment_make(const char *dir, const char *name, uint32_t bytes, bool (*stop)(void *ctx),
                 void *ctx);

/* Whether DIR/name was made, whole. */
bool segment_is_made(const char *dir, const char *name, uint32_t bytes);

/* Removes what was being made when the process ended. */
void segment_sweep(const char *dir);

/*
 * Makes segment header->number out of DIR/name and opens it read-write: a descriptor or a negative
 * errno; then DIR/name is gone. The caller syncs the directory.
 */
int segment_begin(const char *dir, const char *name, const struct format_header *header);

/* The numbers of the segments in dir, ascending; the caller frees them. -errno, or 0. */
int segment_list(const char *dir, uint64_t **numbers, uint32_t *count);

int segment_remove(const char *dir, uint64_t number);

/* pread(2) and pwrite(2) of all the bytes; 0 or a negative errno (-EUCLEAN: the file is short). */
int segment_read(int fd, void *out, uint32_t bytes, uint32_t offset);
int segment_write(int fd, const void *data, uint32_t bytes, uint32_t offset);

#endif
