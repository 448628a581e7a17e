/* SPDX-License-Identifier: MIT */
/*
 * handle.h - what this node has open: descriptors, the inodes beneath them, and aliases.
 *
 * A handle is one open(2); FUSE carries its address in fi->fh. It is counted on its inode before
 * the store is asked anything about it, so that an unlink in between is seen: the store asks
 * mount_is_open() and then keeps the content aside. That private copy goes a second after the last
 * close, because the apply thread may ask just before a close and make the copy just after it.
 *
 * A small file counts as open for a moment after its lookup too. open(2) is LOOKUP, then OPEN; if a
 * rename replaces the file in between, again and again, the kernel gives up after one more try and
 * the caller sees ESTALE, which no local file system would give (readers of a file that is replaced
 * in a loop get there). With the copy kept aside OPEN finds what LOOKUP has found.
 *
 * An alias is a nodeid that the kernel got for a file which was to be created, but which another
 * node created first: it stands for the other's inode until FORGET.
 */
#ifndef RAFTFS_FUSE_HANDLE_H
#define RAFTFS_FUSE_HANDLE_H

#include "fuse/map.h"
#include "fuse/mount_state.h"
#include "fuse/pins.h"
#include "fuse/timer.h"

struct deferred;
struct special_file;

struct inode {
    struct map_link link; /* in mount->inodes, by number */
    struct mount *mount;
    uint32_t opens;
    bool kept;                /* the store was told that it is open */
    bool paged;               /* a descriptor reads it through the page cache */
    bool orphan;              /* it has left the tree: changes go to the private copy */
    struct deferred *pending; /* changes that handles keep (deferred.h) */
    struct timer release;
};

struct handle {
    struct mount *mount;
    struct handle *prev; /* in mount->handles */
    struct handle *next;
    int flags;                    /* open(2)'s */
    pid_t opener;                 /* thread id */
    struct inode *inode;          /* NULL: a special file */
    bool pinned;                  /* reads show one version */
    struct view view;             /* pins.h */
    struct deferred *deferred;    /* its pending change, or NULL (deferred.h) */
    struct special_file *special; /* special.h */
};

/*
 * A handle for what the kernel calls `nodeid` (a number of the replicated or the local tree); for a
 * special file nothing is counted.
 */
struct handle *handle_open(struct mount *m, uint64_t nodeid, int flags, pid_t opener);

/* The kernel is being told of this file. */
void handle_looked_up(struct mount *m, const struct store_attr *attr);

/* Its pending change, if it had one, is settled. */
void handle_close(struct handle *handle);

static inline struct handle *handle_of(const struct fuse_file_info *fi)
{
    return (struct handle *)(uintptr_t)fi->fh;
}

/* The store's number behind a nodeid. */
uint64_t handle_resolve(struct mount *m, uint64_t nodeid);

/* The store's number beneath a handle, which may change once: when it becomes an alias. */
uint64_t handle_ino(struct handle *handle);

/* The handle goes through the page cache. */
void handle_set_paged(struct handle *handle);

/* The inode has left the tree (a change of it gave ESTALE, and its private copy answers). */
void handle_set_orphan(struct handle *handle);
bool handle_is_orphan(struct handle *handle);

/* Under the lock: what the kernel calls by the handle's present number is really `ino`. */
void handle_make_alias(struct handle *handle, uint64_t ino);

/* Under the lock: the open inode of that number, or NULL. */
struct inode *inode_find(struct mount *m, uint64_t ino);

/* The kernel has forgotten the nodeid. */
void handle_forget(struct mount *m, uint64_t nodeid);

/* At the end, when every handle is closed: private copies, and aliases never forgotten. */
void handle_forget_all(struct mount *m);

#endif
