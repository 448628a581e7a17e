/* SPDX-License-Identifier: MIT */
/*
 * ops_change.c - changes of the tree and of attributes.
 *
 * Each is one command, decided when it is applied: whether a name is there, and who may do what.
 * The kernel has looked at both before, with this node's eyes of that moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "fuse/deferred.h"
#include "fuse/handle.h"
#include "fuse/ops.h"
#include "fuse/request.h"
#include "fuse/special.h"
#include "fuse/tree.h"

/* A request to change `name` in `parent`; NULL if it was refused already. */
static struct request *request_for_name(fuse_req_t req, uint64_t parent, const char *name)
{
    int refusal = tree_refusal(parent, name);
    if (refusal) {
        fuse_reply_err(req, -refusal);
        return NULL;
    }
    struct request *r = request_new(req, parent);
    return request_set_name(r, name) ? r : NULL;
}

static struct command command_for_name(const struct request *r, enum command_op op)
{
    return (struct command){
        .op = op, .parent = r->nodeid, .name = r->name, .name_bytes = (uint8_t)strlen(r->name)};
}

/* ---- New names ---- */

static void made(struct request *r, int status, const struct store_result *result)
{
    if (status < 0)
        request_reply(r, status);
    else
        request_reply_entry(r, &result->attr);
}

static void send_new(struct request *r, struct command *command)
{
    command->ino = r->ino;
    command->mode = r->mode & 07777;
    request_change(r, command, made);
}

static void mknod_send(struct request *r)
{
    struct command command = command_for_name(r, COMMAND_CREATE);
    command.flags = COMMAND_EXCLUSIVE;
    send_new(r, &command);
}

static void mkdir_send(struct request *r)
{
    struct command command = command_for_name(r, COMMAND_MKDIR);
    send_new(r, &command);
}

static void symlink_send(struct request *r)
{
    struct command command = command_for_name(r, COMMAND_SYMLINK);
    command.data = r->data;
    command.data_bytes = (uint32_t)r->bytes;
    send_new(r, &command);
}

/* Regular files only: devices, sockets and pipes mean nothing on another node. */
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
    (void)device;
    if (!S_ISREG(mode) && !tree_is_local(parent)) {
        fuse_reply_err(req, EPERM);
        return;
    }
    struct request *r = request_for_name(req, parent, name);
    if (!r)
        return;
    r->mode = mode;
    request_number(r, mknod_send);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct request *r = request_for_name(req, parent, name);
    if (!r)
        return;
    r->mode = mode;
    request_number(r, mkdir_send);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    struct request *r = request_for_name(req, parent, name);
    if (!r)
        return;
    r->mode = 0777;
    r->data = target;
    r->bytes = strlen(target);
    request_keep_data(r);
    if (r->bytes > COMMAND_TARGET_BYTES)
        request_reply(r, -ENAMETOOLONG);
    else
        request_number(r, symlink_send);
}

/* There are no hard links; between two trees there never are. */
void op_link(fuse_req_t req, fuse_ino_t nodeid, fuse_ino_t parent, const char *name)
{
    bool across = tree_is_local(nodeid) != tree_is_local(parent);
    int refusal = tree_refusal(parent, name);
    fuse_reply_err(req, across ? EXDEV : refusal ? -refusal : EPERM);
}

/* ---- Names that go ---- */

static void changed(struct request *r, int status, const struct store_result *result)
{
    (void)result;
    request_reply(r, status);
}

static void unlink_special(fuse_req_t req, uint64_t dir, const char *name)
{
    struct request *r = request_new(req, dir);
    if (request_set_name(r, name) && !special_unlink(r))
        request_reply(r, -EPERM);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    if (tree_is_special(parent)) {
        unlink_special(req, parent, name);
        return;
    }
    struct request *r = request_for_name(req, parent, name);
    if (!r)
        return;
    struct command command = command_for_name(r, COMMAND_UNLINK);
    request_change(r, &command, changed);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct request *r = request_for_name(req, parent, name);
    if (!r)
        return;
    struct command command = command_for_name(r, COMMAND_RMDIR);
    request_change(r, &command, changed);
}

static int rename_refusal(uint64_t parent, const char *name, uint64_t new_parent,
                          const char *new_name, unsigned flags)
{
    int refusal = tree_refusal(parent, name);
    if (refusal == -EPERM || tree_refusal(new_parent, new_name) == -EPERM)
        return -EPERM;
    if (tree_is_local(parent) != tree_is_local(new_parent))
        return -EXDEV;
    return flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE) ? -EINVAL : refusal;
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
               const char *new_name, unsigned flags)
{
    int refusal = rename_refusal(parent, name, new_parent, new_name, flags);
    if (refusal) {
        fuse_reply_err(req, -refusal);
        return;
    }
    struct request *r = request_new(req, parent);
    if (!request_set_name(r, name) || !request_set_new_name(r, new_name))
        return;
    struct command command = command_for_name(r, COMMAND_RENAME);
    command.flags = (flags & RENAME_NOREPLACE ? COMMAND_NOREPLACE : 0) |
                    (flags & RENAME_EXCHANGE ? COMMAND_EXCHANGE : 0);
    command.new_parent = new_parent;
    command.new_name = r->new_name;
    command.new_name_bytes = (uint8_t)strlen(r->new_name);
    request_change(r, &command, changed);
}

/* ---- Attributes ---- */

static int64_t to_ns(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint32_t to_set_bits(uint32_t to_set)
{
    static const struct {
        uint32_t fuse;
        uint32_t command;
    } bits[] = {
        {FUSE_SET_ATTR_MODE, COMMAND_SET_MODE},
        {FUSE_SET_ATTR_UID, COMMAND_SET_UID},
        {FUSE_SET_ATTR_GID, COMMAND_SET_GID},
        {FUSE_SET_ATTR_SIZE, COMMAND_SET_SIZE},
        {FUSE_SET_ATTR_ATIME, COMMAND_SET_ATIME},
        {FUSE_SET_ATTR_MTIME, COMMAND_SET_MTIME},
        {FUSE_SET_ATTR_ATIME_NOW, COMMAND_SET_ATIME_NOW},
        {FUSE_SET_ATTR_MTIME_NOW, COMMAND_SET_MTIME_NOW},
    };
    uint32_t set = 0;
    for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
        if (to_set & bits[i].fuse)
            set |= bits[i].command;
    /* FUSE sets the plain bit as well as the one that says "now". */
    if (set & COMMAND_SET_ATIME_NOW)
        set &= ~(uint32_t)COMMAND_SET_ATIME;
    if (set & COMMAND_SET_MTIME_NOW)
        set &= ~(uint32_t)COMMAND_SET_MTIME;
    return set;
}

static void attributes_set(struct request *r, int status, const struct store_result *result)
{
    struct command command;
    struct store_attr attr;
    uint32_t groups[COMMAND_MAX_GROUPS];
    if (status == 0)
        attr = result->attr;
    else if (status == -ESTALE &&
             command_decode(&command, groups, r->sent->data, r->sent->bytes)) /* unlinked, open */
        status = store_orphan_setattr(r->mount->store, &command, &attr);
    if (status < 0)
        request_reply(r, status);
    else
        request_reply_attr(r, &attr, 0);
}

static void setattr_start(struct request *r)
{
    uint64_t ino = handle_resolve(r->mount, r->nodeid);
    if (deferred_hold(r, DEFERRED_CHANGE, ino, setattr_start))
        return;
    bool sets_size = r->flags & FUSE_SET_ATTR_SIZE;
    bool by_path = !r->handle; /* truncate(2), which needs permission, unlike ftruncate(2) */
    bool user = fuse_req_ctx(r->fuse)->uid != 0;
    struct command command = {.op = COMMAND_SETATTR,
                              .flags = (sets_size && user ? COMMAND_KILL_SUID : 0) |
                                       (sets_size && by_path ? COMMAND_CHECK_WRITE : 0),
                              .ino = ino,
                              .set = to_set_bits(r->flags),
                              .mode = r->stat.st_mode & 07777,
                              .uid = r->stat.st_uid,
                              .gid = r->stat.st_gid,
                              .size = (uint64_t)r->stat.st_size,
                              .atime_ns = to_ns(r->stat.st_atim),
                              .mtime_ns = to_ns(r->stat.st_mtim)};
    request_change(r, &command, attributes_set);
}

/* Of a special file nothing can be set; its size may be set in vain. */
static void setattr_special(fuse_req_t req, uint64_t nodeid, int to_set)
{
    struct stat stat;
    bool size_only = to_set & FUSE_SET_ATTR_SIZE;
    int status = size_only ? special_truncate(fuse_req_userdata(req), nodeid, &stat) : -EPERM;
    if (status < 0)
        fuse_reply_err(req, -status);
    else
        fuse_reply_attr(req, &stat, 0);
}

void op_setattr(fuse_req_t req, fuse_ino_t nodeid, struct stat *stat, int to_set,
                struct fuse_file_info *fi)
{
    if (tree_is_special(nodeid)) {
        setattr_special(req, nodeid, to_set);
        return;
    }
    if (tree_is_local(nodeid)) {
        fuse_reply_err(req, EROFS);
        return;
    }
    struct request *r = request_new(req, nodeid);
    r->stat = *stat;
    r->flags = (uint32_t)to_set;
    r->handle = fi ? handle_of(fi) : NULL;
    r->keep_sent = true;
    setattr_start(r);
}
