/* SPDX-License-Identifier: MIT */
/*
 * mount.h - the mount: a FUSE session over a backend, served by a few threads of its own.
 *
 * Requests are read by the workers; who finishes a request replies to it, on whatever thread that
 * happens. No thread is parked for a request.
 */
#ifndef RAFTFS_FUSE_MOUNT_H
#define RAFTFS_FUSE_MOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "fuse/backend.h"

struct mount;

enum { MOUNT_WHY_BYTES = 512 };

struct mount_options {
    const char *mountpoint;   /* absolute */
    const char *fuse_options; /* comma-separated, handed to libfuse; "" for none */
    bool cache_names;         /* the kernel may keep names and attributes (consistency=local) */
    bool special_hidden;      /* readdir does not list .status and .leader */
    bool no_spin;             /* the workers sleep whenever they wait (base/spin.h) */
    const struct backend *backend;
    /* The mount was taken away (umount, fusermount3 -u): the node should leave. Any thread. */
    void (*on_unmounted)(void *ctx);
    void *ctx;
};

/* Whether libfuse knows these options: 0, or -EINVAL with a line in `why`. Mounts nothing. */
int mount_check_options(const char *fuse_options, char why[MOUNT_WHY_BYTES]);

/*
 * Refuses a live mount at the mount point and detaches a dead one (statfs gives ENOTCONN). Called
 * before mount_open(), and before daemonizing so that the message reaches the user. 0, or a
 * negative errno with a line in `why`.
 */
int mount_prepare(const char *mountpoint, char why[MOUNT_WHY_BYTES]);

/*
 * Mounts, starts the workers and waits until INIT is answered; then looks the special names up
 * once, through a child process, so that they answer while the root is locked.
 */
int mount_open(const struct mount_options *options, struct mount **out, char why[MOUNT_WHY_BYTES]);

/* Something that .status or .leader shows has changed: wakes their pollers. Any thread. */
void mount_state_changed(struct mount *mount);

/* What a batch, visible to queries now, has touched (store_options.touched): the kernel forgets it.
 * Any thread, which waits for nothing. */
void mount_touched(struct mount *mount, const struct store_touched *items, uint32_t count);

/* The store's whole tree is another now: the kernel forgets all that it has cached. Likewise. */
void mount_tree_replaced(struct mount *mount);

/* Whether a handle is open on the inode, or soon may be (store_options.is_open). Any thread. */
bool mount_is_open(struct mount *mount, uint64_t ino);

/*
 * Takes the mount away, commits what is pending, waits for running requests (each within the
 * backend's timeout), and joins its threads. The backend must still answer. What is above can be
 * called until mount_free().
 */
void mount_close(struct mount *mount);

/* Once no other thread knows it. The store must still be there. */
void mount_free(struct mount *mount);

#endif
