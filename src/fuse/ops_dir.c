/* SPDX-License-Identifier: MIT */
/*
 * ops_dir.c - listing.
 *
 * OPENDIR is behind a barrier (recent.h) and waits for the files that this node is about to create
 * there; READDIR then lists what the replica has. An offset is a place in this order, and stays one
 * while entries come and go, since the store's cookies do:
 *
 *     1 "."   2 ".."   3.. special entries   FIRST_COOKIE + cookie: the store's
 */
#include <errno.h>
#include <string.h>

#include "base/memory.h"
#include "fuse/deferred.h"
#include "fuse/ops.h"
#include "fuse/request.h"
#include "fuse/special.h"
#include "fuse/tree.h"

enum {
    DOT = 1,
    DOT_DOT = 2,
    FIRST_COOKIE = 1 << 10, /* more special entries than a directory has */
    MAX_LISTING_BYTES = 1024 * 1024,
};

/* ---- Opening ---- */

static void opendir_query(struct request *r)
{
    struct store_attr attr;
    int status = store_getattr(r->mount->store, r->nodeid & ~TREE_LOCAL, &attr);
    if (status == 0 && !S_ISDIR(attr.mode))
        status = -ENOTDIR;
    if (status < 0)
        request_reply(r, status);
    else
        request_reply_open(r);
}

static void opendir_start(struct request *r)
{
    if (tree_is_local(r->nodeid) || !deferred_hold_name(r, r->nodeid, "", opendir_start))
        request_look_on(r, opendir_query);
}

void op_opendir(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi)
{
    if (tree_is_special(nodeid)) {
        fuse_reply_open(req, fi);
        return;
    }
    struct request *r = request_new(req, nodeid);
    r->fi = *fi;
    opendir_start(r);
}

void op_releasedir(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi)
{
    (void)nodeid;
    (void)fi;
    fuse_reply_err(req, 0);
}

/* Whatever was acknowledged is durable. */
void op_fsyncdir(fuse_req_t req, fuse_ino_t nodeid, int datasync, struct fuse_file_info *fi)
{
    (void)nodeid;
    (void)datasync;
    (void)fi;
    fuse_reply_err(req, 0);
}

/* ---- Listing ---- */

struct listing {
    fuse_req_t req;
    struct mount *mount;
    uint64_t dir;
    bool plus; /* with attributes */
    char *out;
    size_t bytes;
    size_t used;
};

/* False when it is full. `offset` is where the listing goes on behind this entry. */
static bool list(struct listing *l, const char *name, const struct fuse_entry_param *entry,
                 off_t offset)
{
    char *at = l->out + l->used;
    size_t room = l->bytes - l->used;
    size_t need = l->plus ? fuse_add_direntry_plus(l->req, at, room, name, entry, offset)
                          : fuse_add_direntry(l->req, at, room, name, &entry->attr, offset);
    if (need > room)
        return false;
    l->used += need;
    return true;
}

/* "." and ".." only have a type and a number; the kernel takes no reference to them. */
static bool list_dot(struct listing *l, const char *name, uint64_t ino, off_t offset)
{
    struct fuse_entry_param entry = {.attr = {.st_ino = ino, .st_mode = S_IFDIR}};
    return list(l, name, &entry, offset);
}

static uint64_t parent_of(struct listing *l)
{
    uint64_t parent;
    if (tree_is_special(l->dir) || store_parent(l->mount->store, l->dir & ~TREE_LOCAL, &parent) < 0)
        return STORE_ROOT_INO;
    return parent | (l->dir & TREE_LOCAL);
}

static bool list_special(struct listing *l, off_t from)
{
    char name[NAME_MAX + 1];
    struct fuse_entry_param entry;
    for (off_t offset = from; offset < FIRST_COOKIE; offset++) {
        unsigned k = (unsigned)(offset - DOT_DOT);
        if (!special_entry(l->mount, l->dir, k, name, &entry))
            return true;
        if (!list(l, name, &entry, offset + 1))
            return false;
    }
    return true;
}

static bool list_stored(void *ctx, const char *name, size_t name_bytes, uint64_t cookie,
                        const struct store_attr *attr)
{
    struct listing *l = ctx;
    char text[NAME_MAX + 1];
    struct fuse_entry_param entry;
    memcpy(text, name, name_bytes);
    text[name_bytes] = '\0';
    attr_to_entry(attr, l->dir & TREE_LOCAL, &entry);
    if (l->plus)
        entry.entry_timeout = notify_told(l->mount, l->dir, text, attr->ino);
    bool listed = list(l, text, &entry, FIRST_COOKIE + (off_t)cookie);
    if (l->plus && !listed)
        notify_forgotten(l->mount, attr->ino, 1);
    return listed;
}

static int list_from(struct listing *l, off_t offset)
{
    if (offset < DOT && !list_dot(l, ".", l->dir, DOT))
        return 0;
    if (offset < DOT_DOT && !list_dot(l, "..", parent_of(l), DOT_DOT))
        return 0;
    bool has_special = tree_is_special(l->dir) || l->dir == STORE_ROOT_INO;
    if (has_special && offset < FIRST_COOKIE &&
        !list_special(l, offset < DOT_DOT ? DOT_DOT : offset))
        return 0;
    if (tree_is_special(l->dir))
        return 0;
    uint64_t cookie = offset > FIRST_COOKIE ? (uint64_t)(offset - FIRST_COOKIE) : 0;
    return store_readdir(l->mount->store, l->dir & ~TREE_LOCAL, cookie, list_stored, l);
}

static void read_directory(fuse_req_t req, uint64_t dir, size_t bytes, off_t offset, bool plus)
{
    if (bytes > MAX_LISTING_BYTES)
        bytes = MAX_LISTING_BYTES;
    struct listing l = {.req = req,
                        .mount = fuse_req_userdata(req),
                        .dir = dir,
                        .plus = plus,
                        .out = memory_alloc(bytes),
                        .bytes = bytes};
    int status = list_from(&l, offset);
    if (status < 0)
        fuse_reply_err(req, -status);
    else
        fuse_reply_buf(req, l.out, l.used);
    memory_free(l.out);
}

void op_readdir(fuse_req_t req, fuse_ino_t nodeid, size_t bytes, off_t offset,
                struct fuse_file_info *fi)
{
    (void)fi;
    read_directory(req, nodeid, bytes, offset, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t nodeid, size_t bytes, off_t offset,
                    struct fuse_file_info *fi)
{
    (void)fi;
    read_directory(req, nodeid, bytes, offset, true);
}
