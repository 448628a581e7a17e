/* SPDX-License-Identifier: MIT */
/*
 * ops_open.c - descriptors: open, create, close, fsync, poll.
 *
 *     open(2)                        replicated when
 *     O_WRONLY|O_TRUNC               with the first write (deferred.h)
 *     O_WRONLY|O_CREAT, new name     with the first write
 *     O_EXCL, or O_RDWR with either  at once
 *     anything else                  nothing to replicate
 *
 * Small values are read and written by direct I/O: the kernel's page cache fetches sizes and pages
 * separately, so it cannot show one version. O_RDWR descriptors and large files use the page cache,
 * because MAP_SHARED needs it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "fuse/caller.h"
#include "fuse/deferred.h"
#include "fuse/handle.h"
#include "fuse/ops.h"
#include "fuse/request.h"
#include "fuse/special.h"
#include "fuse/tree.h"

static bool is_write_only(int flags)
{
    return (flags & O_ACCMODE) == O_WRONLY;
}

static void prepare(struct request *r, uint64_t size_bytes)
{
    bool small = size_bytes <= PINS_VALUE_BYTES && (r->fi.flags & O_ACCMODE) != O_RDWR;
    r->fi.fh = (uint64_t)(uintptr_t)r->handle;
    r->fi.direct_io = small;
    /* close(2) need not ask us anything. Not so once the mount has POSIX locks, which it drops. */
    r->fi.noflush = true;
    r->handle->pinned = small;
    if (!small)
        handle_set_paged(r->handle);
}

static void fail_open(struct request *r, int status)
{
    deferred_abandon(r->handle);
    request_reply(r, status);
}

/* ---- OPEN ---- */

static void reply_open(struct request *r, const struct store_attr *attr)
{
    struct handle *handle = r->handle;
    prepare(r, attr->size_bytes);
    if (!request_reply_open(r))
        deferred_abandon(handle); /* the caller died: no RELEASE will come */
}

static void open_truncated(struct request *r, int status, const struct store_result *result)
{
    if (status < 0)
        fail_open(r, status);
    else
        reply_open(r, &result->attr);
}

static void truncate_now(struct request *r, const struct store_attr *attr)
{
    uint32_t uid = fuse_req_ctx(r->fuse)->uid;
    struct command command = {.op = COMMAND_SETATTR,
                              .flags = uid ? COMMAND_KILL_SUID : 0,
                              .ino = attr->ino,
                              .set = COMMAND_SET_SIZE};
    request_change(r, &command, open_truncated);
}

static void open_query(struct request *r)
{
    struct store_attr attr;
    int status = store_getattr(r->mount->store, handle_ino(r->handle), &attr);
    if (status < 0) {
        fail_open(r, status); /* ESTALE, on which the kernel walks the path again */
        return;
    }
    if (attr.nlink == 0)
        handle_set_orphan(r->handle);
    bool truncate = r->fi.flags & O_TRUNC;
    if (truncate && !is_write_only(r->fi.flags)) {
        truncate_now(r, &attr);
        return;
    }
    if (truncate)
        deferred_truncation(r->handle, attr.version, fuse_req_ctx(r->fuse)->uid);
    reply_open(r, &attr);
}

static void open_start(struct request *r)
{
    bool change = (r->fi.flags & O_TRUNC) && !is_write_only(r->fi.flags);
    enum deferred_need need = change ? DEFERRED_CHANGE : DEFERRED_LOOK;
    if (tree_is_local(r->nodeid) || !deferred_hold(r, need, handle_ino(r->handle), open_start))
        request_look_on(r, open_query);
}

static void open_special(fuse_req_t req, uint64_t nodeid, struct fuse_file_info *fi)
{
    struct handle *handle;
    int status = special_open(fuse_req_userdata(req), nodeid, fi->flags, &handle);
    if (status < 0) {
        fuse_reply_err(req, -status);
        return;
    }
    fi->fh = (uint64_t)(uintptr_t)handle;
    fi->direct_io = true;
    fi->noflush = true;
    if (fuse_reply_open(req, fi) != 0)
        special_close(handle);
}

void op_open(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi)
{
    if (tree_is_special(nodeid)) {
        open_special(req, nodeid, fi);
        return;
    }
    bool writes = (fi->flags & O_ACCMODE) != O_RDONLY || (fi->flags & O_TRUNC);
    if (tree_is_local(nodeid) && writes) {
        fuse_reply_err(req, EROFS);
        return;
    }
    struct request *r = request_new(req, nodeid);
    r->fi = *fi;
    /* Counted before anything is asked, so that an unlink in between keeps the content. */
    r->handle = handle_open(r->mount, nodeid, fi->flags, r->caller);
    open_start(r);
}

/* ---- CREATE ---- */

static void reply_create(struct request *r, const struct store_attr *attr)
{
    struct handle *handle = r->handle;
    prepare(r, attr->size_bytes);
    if (!request_reply_create(r, attr))
        deferred_abandon(handle);
}

/* What a new file will look like; the group is that of a setgid directory. */
static int attr_of_new(struct request *r, struct store_attr *attr)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(r->fuse);
    struct store_attr parent;
    int status = store_getattr(r->mount->store, r->nodeid, &parent);
    if (status < 0)
        return status;
    int64_t now_ns = (int64_t)clock_real_ns();
    *attr = (struct store_attr){.ino = r->ino,
                                .mode = S_IFREG | (r->mode & 07777),
                                .uid = ctx->uid,
                                .gid = parent.mode & S_ISGID ? parent.gid : ctx->gid,
                                .nlink = 1,
                                .atime_ns = now_ns,
                                .mtime_ns = now_ns,
                                .ctime_ns = now_ns};
    return 0;
}

static void create_deferred(struct request *r)
{
    struct store_attr attr;
    struct command_caller caller;
    int status = attr_of_new(r, &attr);
    if (status < 0) {
        request_reply(r, status);
        return;
    }
    caller_init(&caller, r->fuse);
    r->handle = handle_open(r->mount, r->ino, r->fi.flags, r->caller);
    deferred_creation(r->handle, r->nodeid, r->name, r->fi.flags, &caller, &attr);
    reply_create(r, &attr);
}

static void created(struct request *r, int status, const struct store_result *result)
{
    if (status < 0) {
        fail_open(r, status);
        return;
    }
    if (result->attr.ino != r->ino) { /* it was there already */
        handle_close(r->handle);
        r->handle = handle_open(r->mount, result->attr.ino, r->fi.flags, r->caller);
    }
    reply_create(r, &result->attr);
}

static void create_now(struct request *r)
{
    struct command command = {.op = COMMAND_CREATE,
                              .flags = (r->fi.flags & O_EXCL ? COMMAND_EXCLUSIVE : 0) |
                                       (r->fi.flags & O_TRUNC ? COMMAND_TRUNCATE : 0),
                              .parent = r->nodeid,
                              .name = r->name,
                              .name_bytes = (uint8_t)strlen(r->name),
                              .ino = r->ino,
                              .mode = r->mode & 07777};
    r->handle = handle_open(r->mount, r->ino, r->fi.flags, r->caller);
    request_change(r, &command, created);
}

static void create_special(fuse_req_t req, uint64_t parent, const char *name,
                           struct fuse_file_info *fi)
{
    struct handle *handle;
    struct fuse_entry_param entry;
    int status = special_create(fuse_req_userdata(req), parent, name, fi->flags, &handle, &entry);
    if (status < 0) {
        fuse_reply_err(req, -status);
        return;
    }
    fi->fh = (uint64_t)(uintptr_t)handle;
    fi->direct_io = true;
    if (fuse_reply_create(req, &entry, fi) != 0)
        special_close(handle);
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
               struct fuse_file_info *fi)
{
    if (tree_is_special(parent)) {
        create_special(req, parent, name, fi);
        return;
    }
    int refusal = tree_refusal(parent, name);
    if (refusal) {
        fuse_reply_err(req, -refusal);
        return;
    }
    struct request *r = request_new(req, parent);
    r->fi = *fi;
    r->mode = mode;
    bool deferred = is_write_only(fi->flags) && !(fi->flags & O_EXCL);
    if (request_set_name(r, name))
        request_number(r, deferred ? create_deferred : create_now);
}

/* ---- Closing ---- */

/* Before Linux 5.16 noflush is unknown. Never ENOSYS: the kernel would take it for ever. */
void op_flush(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi)
{
    (void)nodeid;
    (void)fi;
    fuse_reply_err(req, 0);
}

void op_release(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi)
{
    (void)nodeid;
    struct handle *handle = handle_of(fi);
    if (handle->special)
        special_close(handle);
    else
        deferred_release(handle);
    fuse_reply_err(req, 0);
}

/* Whatever was acknowledged is durable on a majority; only what is pending remains. */
void op_fsync(fuse_req_t req, fuse_ino_t nodeid, int datasync, struct fuse_file_info *fi)
{
    (void)datasync;
    struct request *r = request_new(req, nodeid);
    r->handle = handle_of(fi);
    if (!deferred_hold_sync(r))
        request_reply(r, 0);
}

/* Never ENOSYS: it would end polling of the special files too. */
void op_poll(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi,
             struct fuse_pollhandle *ph)
{
    (void)nodeid;
    struct handle *handle = handle_of(fi);
    if (handle->special) {
        fuse_reply_poll(req, special_poll(handle, ph));
        return;
    }
    if (ph)
        fuse_pollhandle_destroy(ph);
    fuse_reply_poll(req, POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM);
}
