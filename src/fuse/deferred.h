/* SPDX-License-Identifier: MIT */
/*
 * deferred.h - truncations and creations that wait for the first write of their handle.
 *
 * `echo value > key` is open(O_TRUNC or O_CREAT), and then a write. Replicated as they come, they
 * would show everybody an empty file in between. So the open replicates nothing: the handle keeps
 * the change, and its first write carries it in the same command. deferred.c says when it is
 * committed without a write, and who waits for that.
 *
 * Every operation passes deferred_hold() before it looks at an inode or changes it, and
 * deferred_hold_name() before it looks at a name. True means that the request is held: it goes on
 * at `again`, on another thread, which asks again. Functions may be called from any thread, without
 * a lock.
 */
#ifndef RAFTFS_FUSE_DEFERRED_H
#define RAFTFS_FUSE_DEFERRED_H

#include "fuse/handle.h"
#include "fuse/request.h"

/* What a request is about to do with an inode. */
enum deferred_need {
    DEFERRED_READ,   /* GETATTR, READ: of what is there now */
    DEFERRED_LOOK,   /* LOOKUP, OPEN: as one who was not there before */
    DEFERRED_CHANGE, /* SETATTR, a WRITE of another handle: behind what is pending */
};

void deferred_init(struct mount *m);

/* ---- Opening ---- */

/* The handle was opened O_WRONLY|O_TRUNC by `uid`, on an inode whose data has this version. */
void deferred_truncation(struct handle *handle, uint64_t version, uint32_t uid);

/*
 * The handle was opened to create `name` in `parent`, and is that of the number attr->ino. `flags`
 * are open(2)'s; `attr` is shown until it is there. Takes the caller's groups over.
 */
void deferred_creation(struct handle *handle, uint64_t parent, const char *name, int flags,
                       const struct command_caller *caller, const struct store_attr *attr);

/* ---- Waiting ---- */

bool deferred_hold(struct request *r, enum deferred_need need, uint64_t ino, request_fn *again);

/* For a creation of `name` in `parent`; with "", of any name there. */
bool deferred_hold_name(struct request *r, uint64_t parent, const char *name, request_fn *again);

/*
 * What GETATTR shows: an inode that is not there yet (status is -ESTALE) as it will be; an empty
 * file to those who have truncated it, whom lseek(SEEK_END) would otherwise send behind a hole. To
 * others a pending truncation stays hidden.
 */
int deferred_overlay(struct request *r, uint64_t ino, int status, struct store_attr *attr);

/* ---- A write ---- */

/*
 * The handle is about to write. Unless held, *command (a complete COMMAND_WRITE) becomes one that
 * also does what is pending; then r->carries is set, the command's pointers stay valid until
 * deferred_written(), and that must follow.
 */
bool deferred_hold_write(struct request *r, struct command *command, request_fn *again);
void deferred_written(struct handle *handle, int status, const struct store_result *result);

/* ---- fsync, close ---- */

/* fsync: true if the request is held until the commit, and answered with what it came to. */
bool deferred_hold_sync(struct request *r);

/* RELEASE: closes the handle, now or once its change is committed. */
void deferred_release(struct handle *handle);

/* The open was never answered: closes the handle; nothing was asked for. */
void deferred_abandon(struct handle *handle);

/* The mount goes: commits whatever is pending; it counts as running until then. */
void deferred_commit_all(struct mount *m);

#endif
