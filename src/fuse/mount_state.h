/* SPDX-License-Identifier: MIT */
/*
 * mount_state.h - what the files of this room share about one mount.
 *
 * One lock guards everything that is changed after mount_open(), except the pins, the notifier's
 * and the workers'. It is held for microseconds: never across the store, the backend, a reply or
 * anything else of libfuse.
 */
#ifndef RAFTFS_FUSE_MOUNT_STATE_H
#define RAFTFS_FUSE_MOUNT_STATE_H

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fuse/backend.h"
#include "fuse/map.h"
#include "fuse/mount.h"
#include "fuse/notify.h"
#include "fuse/pins.h"
#include "fuse/recent.h"
#include "fuse/timer.h"
#include "fuse/workers.h"

struct handle;
struct request;
struct special_file;

enum { MOUNT_LOOKED_UP = 256 };

/* A file that the kernel was told of and may be about to open. */
struct looked_up {
    uint64_t ino;
    uint64_t at_us;
};

struct mount {
    const struct backend *backend;
    struct store *store;
    bool special_hidden;
    uint32_t owner_uid; /* of the special files */
    uint32_t owner_gid;
    int64_t mounted_ns;
    struct pins pins;
    struct notifier notifier;
    struct workers workers;

    pthread_mutex_t lock;
    struct timers timers;
    uint32_t running; /* requests not yet answered, changes not yet settled */
    pthread_cond_t idle;
    uint32_t inode_counter; /* the low half of the last inode number given */

    struct recent recent;
    struct looked_up looked_up[MOUNT_LOOKED_UP]; /* by inode number (handle.h) */
    struct handle *handles;
    struct map inodes;       /* open inodes, by number (handle.h) */
    struct map aliases;      /* by the number that the kernel uses (handle.h) */
    struct map creations;    /* pending ones, by parent (deferred.h) */
    struct request *resumed; /* may go on, on the timer thread (deferred.c) */
    struct timer resume_timer;

    uint64_t state_counter; /* grows when .status or .leader change (special.h) */
    struct special_file *special_files;
    struct timer state_timer;

    struct fuse_session *session; /* from here on: mount.c's own */
    char *mountpoint;
    bool no_spin;
    bool ready;    /* INIT is being answered */
    bool answered; /* INIT was answered */
    bool gone;     /* the mount was taken away, or is being so */
    void (*on_unmounted)(void *ctx);
    void *ctx;
};

/* ---- mount.c ---- */

/* The kernel has ended the session: a worker's to say. */
void mount_session_gone(struct mount *m);

#endif
