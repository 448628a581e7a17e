/* SPDX-License-Identifier: MIT */
/*
 * WRITE and SETATTR. A write needs no permission here: the handle was opened with it. suid and sgid
 * go with any write or truncation of an ordinary user and with any change of owner (as Linux's own
 * file systems do it).
 */
#include <errno.h>
#include <sys/stat.h>

#include "store/apply.h"
#include "store/permit.h"

void apply_touch_data(struct txn *t, struct store_attr *attr)
{
    attr->mtime_ns = attr->mtime_ns == t->stamp ? t->stamp + 1 : t->stamp;
    attr->ctime_ns = t->stamp;
    attr->version = t->index;
}

static void kill_suid(struct store_attr *attr)
{
    attr->mode &= ~(uint32_t)S_ISUID;
    if (attr->mode & S_IXGRP) /* without x, sgid means mandatory locking */
        attr->mode &= ~(uint32_t)S_ISGID;
}

int apply_data(struct txn *t, const struct inode *inode, const struct command *c,
               struct store_result *r)
{
    uint64_t end = c->flags & COMMAND_TRUNCATE ? 0 : inode->attr.size_bytes;
    uint64_t offset = c->flags & COMMAND_APPEND ? end : c->offset;
    if (offset > STORE_MAX_FILE_BYTES || c->data_bytes > STORE_MAX_FILE_BYTES - offset)
        return -EFBIG;

    struct inode after = *inode;
    tree_resize(t, &after, end);
    tree_write(t, &after, offset, c->data, c->data_bytes);
    if (c->flags & COMMAND_KILL_SUID)
        kill_suid(&after.attr);
    apply_touch_data(t, &after.attr);
    tree_update(t, inode, &after);
    r->attr = after.attr;
    r->offset = offset;
    return 0;
}

int apply_write(struct txn *t, const struct command *c, struct store_result *r)
{
    struct inode inode;
    if (!tree_get(t, c->ino, &inode))
        return -ESTALE;
    if (!S_ISREG(inode.attr.mode))
        return S_ISDIR(inode.attr.mode) ? -EISDIR : -EINVAL;
    return apply_data(t, &inode, c, r);
}

/* ---- SETATTR ---- */

static int check_size(const struct command *c, const struct store_attr *attr)
{
    if (!(c->set & COMMAND_SET_SIZE))
        return 0;
    if (!S_ISREG(attr->mode))
        return S_ISDIR(attr->mode) ? -EISDIR : -EINVAL;
    if (c->size > STORE_MAX_FILE_BYTES)
        return -EFBIG;
    return c->flags & COMMAND_CHECK_WRITE ? permit_access(&c->caller, attr, PERMIT_WRITE) : 0;
}

static int check_owner(const struct command *c, const struct store_attr *attr)
{
    const struct command_caller *who = &c->caller;
    if (who->uid == 0)
        return 0;
    bool owns = permit_is_owner(who, attr);
    if ((c->set & COMMAND_SET_MODE) && !owns)
        return -EPERM;
    if ((c->set & COMMAND_SET_UID) && (!owns || c->uid != attr->uid))
        return -EPERM;
    if ((c->set & COMMAND_SET_GID) &&
        (!owns || (c->gid != attr->gid && !permit_in_group(who, c->gid))))
        return -EPERM;
    return 0;
}

static int check_times(const struct command *c, const struct store_attr *attr)
{
    const uint32_t given = COMMAND_SET_ATIME | COMMAND_SET_MTIME;
    const uint32_t now = COMMAND_SET_ATIME_NOW | COMMAND_SET_MTIME_NOW;
    if (!(c->set & (given | now)) || permit_is_owner(&c->caller, attr))
        return 0;
    /* A truncation sets mtime to now by itself; that needs no right of its own. */
    if ((c->set & COMMAND_SET_SIZE) && !(c->set & given))
        return 0;
    if ((c->set & (given | now)) == now)
        return permit_access(&c->caller, attr, PERMIT_WRITE);
    return -EPERM;
}

static void set_owner_and_mode(const struct command *c, struct store_attr *attr)
{
    if (c->set & (COMMAND_SET_UID | COMMAND_SET_GID)) {
        if (!S_ISDIR(attr->mode))
            kill_suid(attr);
        if (c->set & COMMAND_SET_UID)
            attr->uid = c->uid;
        if (c->set & COMMAND_SET_GID)
            attr->gid = c->gid;
    }
    if (c->set & COMMAND_SET_MODE) {
        attr->mode = (attr->mode & S_IFMT) | (c->mode & 07777);
        if (c->caller.uid != 0 && !permit_in_group(&c->caller, attr->gid))
            attr->mode &= ~(uint32_t)S_ISGID;
    }
}

static void set_times(struct txn *t, const struct command *c, struct store_attr *attr)
{
    if (c->set & COMMAND_SET_ATIME)
        attr->atime_ns = c->atime_ns;
    else if (c->set & COMMAND_SET_ATIME_NOW)
        attr->atime_ns = t->stamp;
    if (c->set & COMMAND_SET_MTIME)
        attr->mtime_ns = c->mtime_ns;
    else if (c->set & COMMAND_SET_MTIME_NOW)
        attr->mtime_ns = t->stamp;
    attr->ctime_ns = t->stamp;
}

int apply_setattr(struct txn *t, const struct command *c, struct store_result *r)
{
    struct inode before;
    if (!tree_get(t, c->ino, &before))
        return -ESTALE;
    r->attr = before.attr;
    if (c->if_version && c->if_version != before.attr.version)
        return 0; /* somebody wrote since; a late truncation must not destroy that */
    int error = check_size(c, &before.attr);
    if (error == 0)
        error = check_owner(c, &before.attr);
    if (error == 0)
        error = check_times(c, &before.attr);
    if (error)
        return error;

    struct inode after = before;
    if (c->set & COMMAND_SET_SIZE) {
        tree_resize(t, &after, c->size);
        if (c->flags & COMMAND_KILL_SUID)
            kill_suid(&after.attr);
        apply_touch_data(t, &after.attr);
    }
    set_owner_and_mode(c, &after.attr);
    set_times(t, c, &after.attr);
    tree_update(t, &before, &after);
    r->attr = after.attr;
    return 0;
}
