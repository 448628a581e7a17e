/* SPDX-License-Identifier: MIT */
/*
 * ops_look.c - names and attributes.
 *
 * LOOKUP and GETATTR wait for a barrier, so that they see every change that had returned, anywhere,
 * before they were called; one for a GETATTR and the LOOKUP that the kernel sends right after it
 * (recent.h). Exempt are what no node replicates, the local tree, and the root's own attributes:
 * every path walk needs those, and the special files must answer without a quorum.
 */
#include <errno.h>
#include <string.h>

#include "base/memory.h"
#include "fuse/deferred.h"
#include "fuse/handle.h"
#include "fuse/ops.h"
#include "fuse/request.h"
#include "fuse/special.h"
#include "fuse/tree.h"

enum { BLOCK_BYTES = 4096 };

/* ---- LOOKUP ---- */

static void lookup_start(struct request *r);

static void lookup_query(struct request *r)
{
    struct store_attr attr;
    bool local = tree_is_local(r->nodeid);
    int status =
        store_lookup(r->mount->store, r->nodeid & ~TREE_LOCAL, r->name, strlen(r->name), &attr);
    if (status == 0 && !local)
        handle_looked_up(r->mount, &attr);
    if (status < 0)
        request_reply(r, status);
    else if (local || !deferred_hold(r, DEFERRED_LOOK, attr.ino, lookup_start))
        request_reply_entry(r, &attr);
}

static void lookup_start(struct request *r)
{
    if (tree_is_local(r->nodeid) || !deferred_hold_name(r, r->nodeid, r->name, lookup_start))
        request_look_on(r, lookup_query);
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param entry;
    int special = special_lookup(fuse_req_userdata(req), parent, name, &entry);
    if (special == 0) {
        fuse_reply_entry(req, &entry);
    } else if (special < 0) {
        fuse_reply_err(req, -special);
    } else {
        struct request *r = request_new(req, parent);
        if (request_set_name(r, name))
            lookup_start(r);
    }
}

/* ---- FORGET ---- */

/* Inode numbers need no table; an alias lives as long as the kernel knows it. */
static void forget(struct mount *m, uint64_t nodeid, uint64_t lookups)
{
    handle_forget(m, nodeid); /* an alias was told once, by CREATE */
    notify_forgotten(m, nodeid, lookups);
}

void op_forget(fuse_req_t req, fuse_ino_t nodeid, uint64_t lookups)
{
    forget(fuse_req_userdata(req), nodeid, lookups);
    fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        forget(fuse_req_userdata(req), forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
}

/* ---- GETATTR ---- */

/*
 * Whose the root is comes with the cluster's first command, and may come a moment after the mount:
 * until then it is this node's user's, or the kernel would not let a founder in who is not root.
 */
static void own_new_root(const struct mount *m, struct store_attr *attr)
{
    if (attr->ino != STORE_ROOT_INO || attr->ctime_ns != 0)
        return;
    attr->uid = m->owner_uid;
    attr->gid = m->owner_gid;
}

static void getattr_query(struct request *r)
{
    struct store_attr attr;
    uint64_t ino = handle_resolve(r->mount, r->nodeid);
    int status = store_getattr(r->mount->store, ino, &attr);
    if (status == 0)
        own_new_root(r->mount, &attr);
    double timeout_s = status == 0 ? notify_attr_timeout(r->mount, r->nodeid, &attr) : 0;
    if (!tree_is_local(r->nodeid))
        status = deferred_overlay(r, ino, status, &attr);
    if (status < 0)
        request_reply(r, status);
    else
        request_reply_attr(r, &attr, timeout_s);
}

static void getattr_behind_barrier(struct request *r)
{
    request_note_look(r);
    getattr_query(r);
}

static void getattr_start(struct request *r)
{
    struct store_attr attr;
    uint64_t ino = handle_resolve(r->mount, r->nodeid);
    if (r->nodeid == STORE_ROOT_INO || tree_is_local(r->nodeid))
        getattr_query(r);
    else if (deferred_hold(r, DEFERRED_READ, ino, getattr_start))
        return;
    else if (deferred_overlay(r, ino, -ESTALE, &attr) == 0)
        request_reply_attr(r, &attr, 0); /* only this node knows the inode yet */
    else
        request_look(r, getattr_behind_barrier);
}

void op_getattr(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi)
{
    (void)fi; /* fstat(2) carries none */
    struct stat stat;
    if (!tree_is_special(nodeid)) {
        getattr_start(request_new(req, nodeid));
        return;
    }
    int status = special_getattr(fuse_req_userdata(req), nodeid, &stat);
    if (status < 0)
        fuse_reply_err(req, -status);
    else
        fuse_reply_attr(req, &stat, 0);
}

/* ---- The rest: what never changes, and totals ---- */

void op_readlink(fuse_req_t req, fuse_ino_t nodeid)
{
    struct mount *m = fuse_req_userdata(req);
    struct buf *target;
    char text[COMMAND_TARGET_BYTES + 1];
    int status =
        tree_is_special(nodeid) ? -EINVAL : store_readlink(m->store, nodeid & ~TREE_LOCAL, &target);
    if (status < 0) {
        fuse_reply_err(req, -status);
        return;
    }
    size_t n = target->bytes < sizeof(text) ? target->bytes : sizeof(text) - 1;
    memcpy(text, target->data, n);
    text[n] = '\0';
    buf_unref(target);
    fuse_reply_readlink(req, text);
}

/* There is no quota: what is free is what a file may grow to. */
void op_statfs(fuse_req_t req, fuse_ino_t nodeid)
{
    (void)nodeid;
    struct mount *m = fuse_req_userdata(req);
    struct store_totals totals;
    store_totals(m->store, &totals);
    fsblkcnt_t used = (totals.bytes + BLOCK_BYTES - 1) / BLOCK_BYTES;
    fsblkcnt_t free_blocks = STORE_MAX_FILE_BYTES / BLOCK_BYTES;
    struct statvfs statvfs = {.f_bsize = BLOCK_BYTES,
                              .f_frsize = BLOCK_BYTES,
                              .f_blocks = used + free_blocks,
                              .f_bfree = free_blocks,
                              .f_bavail = free_blocks,
                              .f_files = totals.inodes + UINT32_MAX,
                              .f_ffree = UINT32_MAX,
                              .f_favail = UINT32_MAX,
                              .f_namemax = COMMAND_NAME_BYTES};
    fuse_reply_statfs(req, &statvfs);
}
