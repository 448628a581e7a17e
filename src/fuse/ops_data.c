/* SPDX-License-Identifier: MIT */
/*
 * ops_data.c - content.
 *
 * READ needs no barrier: what may be seen was settled by OPEN. One WRITE is one command, with
 * whatever its handle has pending; it returns when that is applied here, because write(2) is the
 * call whose error a shell reports. A file that has left the tree is written to its private copy.
 */
#include <errno.h>
#include <fcntl.h>

#include "base/memory.h"
#include "fuse/deferred.h"
#include "fuse/handle.h"
#include "fuse/ops.h"
#include "fuse/pins.h"
#include "fuse/request.h"
#include "fuse/special.h"
#include "fuse/tree.h"

/* ---- READ ---- */

static void read_query(struct request *r)
{
    struct mount *m = r->mount;
    struct handle *handle = r->handle;
    uint64_t ino = handle_ino(handle);
    size_t got;
    struct store_attr attr;
    char *out = memory_alloc(r->bytes ? r->bytes : 1);
    /* Without a lock owner it is the page cache that reads (mmap, sendfile): it wants no version.
     */
    int status =
        handle->pinned && r->fi.lock_owner != 0
            ? pins_read(&m->pins, &handle->view, m->store, ino, r->offset, r->bytes, out, &got)
            : store_read(m->store, ino, r->offset, r->bytes, out, &got, &attr);
    if (status < 0)
        request_reply(r, status);
    else
        request_reply_data(r, out, got);
    memory_free(out);
}

static void read_start(struct request *r)
{
    if (!deferred_hold(r, DEFERRED_READ, handle_ino(r->handle), read_start))
        read_query(r);
}

static void read_special(fuse_req_t req, size_t bytes, off_t offset, struct handle *handle)
{
    char *out = memory_alloc(bytes ? bytes : 1);
    size_t got = special_read(handle, (uint64_t)offset, bytes, out);
    fuse_reply_buf(req, out, got);
    memory_free(out);
}

void op_read(fuse_req_t req, fuse_ino_t nodeid, size_t bytes, off_t offset,
             struct fuse_file_info *fi)
{
    struct handle *handle = handle_of(fi);
    if (bytes > COMMAND_DATA_BYTES)
        bytes = COMMAND_DATA_BYTES; /* of what INIT agreed on */
    if (handle->special) {
        read_special(req, bytes, offset, handle);
        return;
    }
    struct request *r = request_new(req, nodeid);
    r->handle = handle;
    r->fi = *fi;
    r->bytes = bytes;
    r->offset = (uint64_t)offset;
    if (tree_is_local(nodeid))
        read_query(r);
    else
        read_start(r);
}

/* ---- WRITE ---- */

static int truncate_orphan(struct store *store, uint64_t ino)
{
    struct store_attr attr;
    struct command command = {.op = COMMAND_SETATTR, .ino = ino, .set = COMMAND_SET_SIZE};
    return store_orphan_setattr(store, &command, &attr);
}

/* The file has left the tree: what was to be written goes to its private copy. */
static int write_orphan(struct request *r, const struct command *write)
{
    struct store_attr attr;
    struct store *store = r->mount->store;
    int status = write->flags & COMMAND_TRUNCATE ? truncate_orphan(store, write->ino) : 0;
    if (status == 0)
        status = store_orphan_write(store, write->ino, write->offset, write->flags & COMMAND_APPEND,
                                    write->data, write->data_bytes, &attr);
    if (status == 0)
        handle_set_orphan(r->handle);
    return status;
}

static void reply_write(struct request *r, int status, const struct store_result *result)
{
    if (r->carries)
        deferred_written(r->handle, status, result);
    if (status < 0)
        request_reply(r, status);
    else
        request_reply_written(r);
}

static void written(struct request *r, int status, const struct store_result *result)
{
    struct command command;
    uint32_t groups[COMMAND_MAX_GROUPS];
    if (status == -ESTALE && command_decode(&command, groups, r->sent->data, r->sent->bytes) &&
        command.op == COMMAND_WRITE)
        status = write_orphan(r, &command);
    reply_write(r, status, result);
}

static void write_start(struct request *r)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(r->fuse);
    struct command command = {.op = COMMAND_WRITE,
                              .flags = (ctx->uid ? COMMAND_KILL_SUID : 0) |
                                       (r->fi.flags & O_APPEND ? COMMAND_APPEND : 0),
                              .caller = {.uid = ctx->uid, .gid = ctx->gid},
                              .ino = handle_ino(r->handle),
                              .offset = r->offset,
                              .data = r->data,
                              .data_bytes = (uint32_t)r->bytes};
    if (deferred_hold_write(r, &command, write_start))
        return;
    if (handle_is_orphan(r->handle))
        reply_write(r, write_orphan(r, &command), NULL);
    else
        request_send(r, &command, written);
}

void op_write(fuse_req_t req, fuse_ino_t nodeid, const char *data, size_t bytes, off_t offset,
              struct fuse_file_info *fi)
{
    if (bytes > COMMAND_DATA_BYTES) { /* more than INIT agreed on */
        fuse_reply_err(req, EINVAL);
        return;
    }
    struct request *r = request_new(req, nodeid);
    r->handle = handle_of(fi);
    r->fi = *fi; /* its flags are the descriptor's of now: fcntl(2) may have set O_APPEND */
    r->data = data;
    r->bytes = bytes;
    r->offset = (uint64_t)offset;
    r->keep_sent = true;
    if (r->handle->special)
        special_write(r);
    else
        write_start(r);
}
