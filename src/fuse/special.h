/* SPDX-License-Identifier: MIT */
/*
 * special.h - the files and directories that tell of the cluster and are in no replica.
 *
 *     .status  .leader        in the root; listed there unless hidden
 *     .raft/                  in the root, never listed: no tar, grep -r or rsync wanders into it
 *     .raft/members/NAME      one for each member
 *     .raft/snapshot          the newest snapshot
 *     .raft/local/            the root of the local tree (tree.h)
 *
 * They answer without a quorum and without a lock of the kernel: their names are valid for a day,
 * and mount_open() has them looked up once. Their text is made at open and again by each read at
 * offset 0, so that no reader sees a torn one. What is written to .leader, .raft/snapshot or a
 * member is an order, each write one, and so is a member's removal: write(2) and unlink(2) return
 * when it has been carried out. A file that is created in .raft/members is a member once an address
 * has been written to it, and nothing before. Nobody may create others, or rename any.
 *
 * poll(2) works as for sysfs attributes: POLLPRI|POLLERR once something has changed since the
 * descriptor last read at offset 0 (or if it has not read yet). Any thread.
 */
#ifndef RAFTFS_FUSE_SPECIAL_H
#define RAFTFS_FUSE_SPECIAL_H

#include <fuse_lowlevel.h>
#include <limits.h>

#include "fuse/handle.h"
#include "fuse/mount_state.h"

struct request;

/* 0, -ENOENT, or 1 if the name is no special one. */
int special_lookup(struct mount *m, uint64_t parent, const char *name,
                   struct fuse_entry_param *entry);

/* -ESTALE: a member that is none any more. */
int special_getattr(struct mount *m, uint64_t nodeid, struct stat *stat);

/* Why it cannot be opened with these flags, or 0 and a handle. */
int special_open(struct mount *m, uint64_t nodeid, int flags, struct handle **out);
void special_close(struct handle *handle);

/* The same of a name that is to be made; what the kernel is to know of it goes into *entry. */
int special_create(struct mount *m, uint64_t parent, const char *name, int flags,
                   struct handle **out, struct fuse_entry_param *entry);

/* A copy of up to `bytes` bytes at `offset` into `out`; returns their number. */
size_t special_read(struct handle *handle, uint64_t offset, size_t bytes, void *out);

/* Carries out what r writes, and replies. */
void special_write(struct request *r);

/* Carries out the removal of r->name from the directory r->nodeid, and replies; false: it must not
 * be removed. */
bool special_unlink(struct request *r);

/* truncate(2) says that all will be written anew: it changes nothing. 0 or -EACCES. */
int special_truncate(struct mount *m, uint64_t nodeid, struct stat *stat);

/* Answers a POLL; takes `ph` over, which may be NULL. */
unsigned special_poll(struct handle *handle, struct fuse_pollhandle *ph);

/* Entry k of a special directory; those of the root are .status and .leader. False: no more. */
bool special_entry(struct mount *m, uint64_t dir, unsigned k, char name[NAME_MAX + 1],
                   struct fuse_entry_param *entry);

/* Prepares mount_state_changed(). */
void special_init(struct mount *m);

#endif
