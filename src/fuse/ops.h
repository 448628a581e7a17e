/* SPDX-License-Identifier: MIT */
/*
 * ops.h - the operations of the mount, as libfuse calls them: on a FUSE worker, which must not wait
 * for the network. Each answers its request, now or later, on whatever thread has the answer.
 */
#ifndef RAFTFS_FUSE_OPS_H
#define RAFTFS_FUSE_OPS_H

#include <fuse_lowlevel.h>

/* ops_look.c: names and attributes */
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t nodeid, uint64_t lookups);
void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void op_getattr(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi);
void op_readlink(fuse_req_t req, fuse_ino_t nodeid);
void op_statfs(fuse_req_t req, fuse_ino_t nodeid);

/* ops_dir.c: listing */
void op_opendir(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t nodeid, size_t bytes, off_t offset,
                struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t nodeid, size_t bytes, off_t offset,
                    struct fuse_file_info *fi);
void op_releasedir(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi);
void op_fsyncdir(fuse_req_t req, fuse_ino_t nodeid, int datasync, struct fuse_file_info *fi);

/* ops_open.c: descriptors */
void op_open(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi);
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
               struct fuse_file_info *fi);
void op_flush(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t nodeid, int datasync, struct fuse_file_info *fi);
void op_poll(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi,
             struct fuse_pollhandle *ph);

/* ops_data.c: content */
void op_read(fuse_req_t req, fuse_ino_t nodeid, size_t bytes, off_t offset,
             struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t nodeid, const char *data, size_t bytes, off_t offset,
              struct fuse_file_info *fi);

/* ops_change.c: the tree and attributes */
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_link(fuse_req_t req, fuse_ino_t nodeid, fuse_ino_t parent, const char *name);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
               const char *new_name, unsigned flags);
void op_setattr(fuse_req_t req, fuse_ino_t nodeid, struct stat *stat, int to_set,
                struct fuse_file_info *fi);

#endif
