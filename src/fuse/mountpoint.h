/* SPDX-License-Identifier: MIT */
/*
 * mountpoint.h - the directory beneath a mount: looked at before, detached at the end.
 *
 * mount_prepare() of mount.h is here too. Any thread; they may wait for the kernel.
 */
#ifndef RAFTFS_FUSE_MOUNTPOINT_H
#define RAFTFS_FUSE_MOUNTPOINT_H

/* Takes the topmost mount away from its path; files open in it stay open. A negative errno, or 0.
 */
int mountpoint_detach(const char *mountpoint);

/*
 * Looks the special names up once, so that the kernel keeps them: in a child process, because this
 * one would wait for itself if the mount did not answer.
 */
void mountpoint_look_up_special(const char *mountpoint);

#endif
