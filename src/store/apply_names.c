/* SPDX-License-Identifier: MIT */
/*
 * CREATE, MKDIR, SYMLINK, UNLINK, RMDIR, RENAME: what changes a directory.
 *
 * A directory's nlink is 2 and one for each directory in it. Its parent is in its own row, so that
 * moving it is one row and that the walk upwards, which keeps a directory from being moved beneath
 * itself, is short.
 */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/apply.h"
#include "store/orphans.h"
#include "store/permit.h"

static struct name name_of(const struct command *c)
{
    return (struct name){.text = c->name, .bytes = c->name_bytes};
}

static struct name new_name_of(const struct command *c)
{
    return (struct name){.text = c->new_name, .bytes = c->new_name_bytes};
}

/* The directory that a command names: -ESTALE if it is gone, -ENOTDIR if it is none. */
static int get_dir(struct txn *t, uint64_t ino, struct inode *dir)
{
    if (!tree_get(t, ino, dir))
        return -ESTALE;
    return S_ISDIR(dir->attr.mode) ? 0 : -ENOTDIR;
}

/* An entry of the directory has come or gone; `links` is by how much its nlink changes. */
static void touch_dir(struct txn *t, struct inode *dir, int links)
{
    struct inode before = *dir;
    dir->attr.nlink += (uint32_t)links;
    dir->attr.mtime_ns = t->stamp;
    dir->attr.ctime_ns = t->stamp;
    tree_update(t, &before, dir);
}

/* ---- New inodes ---- */

/* What the caller makes in `dir`; a sgid directory hands down its group. */
static struct inode new_inode(struct txn *t, const struct command *c, const struct inode *dir,
                              uint32_t mode)
{
    bool inherits = dir->attr.mode & S_ISGID;
    struct inode inode = {.attr = {.ino = c->ino,
                                   .mode = mode,
                                   .uid = c->caller.uid,
                                   .gid = inherits ? dir->attr.gid : c->caller.gid,
                                   .nlink = 1,
                                   .atime_ns = t->stamp,
                                   .mtime_ns = t->stamp,
                                   .ctime_ns = t->stamp,
                                   .version = t->index}};
    if (S_ISDIR(mode)) {
        inode.attr.nlink = 2;
        inode.attr.mode |= inherits ? S_ISGID : 0;
        inode.dotdot = dir->attr.ino;
    } else if (S_ISREG(mode) && (mode & S_ISGID) && (mode & S_IXGRP) && c->caller.uid != 0 &&
               !permit_in_group(&c->caller, inode.attr.gid)) {
        inode.attr.mode &= ~(uint32_t)S_ISGID;
    }
    return inode;
}

/* Checks for making a new name in c->parent; *found says that it is there already. */
static int check_new(struct txn *t, const struct command *c, struct inode *dir,
                     struct dentry *dentry, bool *found)
{
    int error = get_dir(t, c->parent, dir);
    if (error)
        return error;
    *found = tree_find(t, c->parent, name_of(c), dentry);
    return *found ? 0 : permit_access(&c->caller, &dir->attr, PERMIT_WRITE | PERMIT_EXECUTE);
}

static void add_new(struct txn *t, const struct command *c, struct inode *dir,
                    const struct inode *inode, struct store_result *r)
{
    tree_add(t, inode);
    tree_link(t, c->parent, name_of(c), c->ino);
    touch_dir(t, dir, S_ISDIR(inode->attr.mode) ? 1 : 0);
    r->attr = inode->attr;
}

/* The name is there: made by somebody else since the caller looked. */
static int create_found(struct txn *t, const struct command *c, uint64_t ino,
                        struct store_result *r)
{
    struct inode inode;
    if (c->flags & COMMAND_EXCLUSIVE)
        return -EEXIST;
    if (!tree_get(t, ino, &inode))
        return -EUCLEAN;
    if (S_ISDIR(inode.attr.mode))
        return -EISDIR;
    if (!S_ISREG(inode.attr.mode))
        return -ESTALE; /* a symlink: whoever walks the path again follows it */
    r->attr = inode.attr;
    if (!(c->flags & (COMMAND_WITH_DATA | COMMAND_TRUNCATE)))
        return 0;
    int error = permit_access(&c->caller, &inode.attr, PERMIT_WRITE);
    return error ? error : apply_data(t, &inode, c, r);
}

int apply_create(struct txn *t, const struct command *c, struct store_result *r)
{
    struct inode dir;
    struct dentry dentry;
    bool found;
    int error = check_new(t, c, &dir, &dentry, &found);
    if (error)
        return error;
    if (found)
        return create_found(t, c, dentry.ino, r);
    struct inode inode = new_inode(t, c, &dir, S_IFREG | (c->mode & 07777));
    uint64_t offset = c->flags & COMMAND_APPEND ? 0 : c->offset;
    if (offset > STORE_MAX_FILE_BYTES || c->data_bytes > STORE_MAX_FILE_BYTES - offset)
        return -EFBIG;
    if (c->data_bytes)
        tree_write(t, &inode, offset, c->data, c->data_bytes);
    r->offset = offset;
    add_new(t, c, &dir, &inode, r);
    return 0;
}

int apply_mkdir(struct txn *t, const struct command *c, struct store_result *r)
{
    struct inode dir;
    struct dentry dentry;
    bool found;
    int error = check_new(t, c, &dir, &dentry, &found);
    if (error || found)
        return error ? error : -EEXIST;
    struct inode inode = new_inode(t, c, &dir, S_IFDIR | (c->mode & 07777));
    add_new(t, c, &dir, &inode, r);
    return 0;
}

int apply_symlink(struct txn *t, const struct command *c, struct store_result *r)
{
    struct inode dir;
    struct dentry dentry;
    bool found;
    int error = check_new(t, c, &dir, &dentry, &found);
    if (error || found)
        return error ? error : -EEXIST;
    struct inode inode = new_inode(t, c, &dir, S_IFLNK | 0777);
    tree_write(t, &inode, 0, c->data, c->data_bytes);
    add_new(t, c, &dir, &inode, r);
    return 0;
}

/* ---- Removing ---- */

void apply_keep_orphan(struct txn *t, const struct inode *inode)
{
    struct store_attr attr = inode->attr;
    attr.nlink = 0;
    attr.ctime_ns = t->stamp;
    int fd = -1;
    if (!S_ISDIR(attr.mode)) {
        fd = orphans_make_file(t->orphans, attr.ino);
        if (fd < 0)
            return;
        if (tree_copy_out(t, inode, fd) != 0) {
            close(fd);
            return;
        }
    }
    orphans_add(t->orphans, &attr, fd);
}

static void drop_inode(struct txn *t, struct inode *inode)
{
    if (t->is_open(t->is_open_ctx, inode->attr.ino))
        apply_keep_orphan(t, inode);
    tree_remove(t, inode);
}

/* One name of a file or symlink, or the name of an empty directory, goes. */
static void remove_name(struct txn *t, uint64_t parent, struct name name,
                        const struct dentry *dentry, struct inode *victim)
{
    tree_unlink(t, parent, name, dentry);
    if (S_ISDIR(victim->attr.mode) || victim->attr.nlink == 1) {
        drop_inode(t, victim);
        victim->attr.nlink = 0;
        return;
    }
    struct inode before = *victim;
    victim->attr.nlink--;
    victim->attr.ctime_ns = t->stamp;
    tree_update(t, &before, victim);
}

/* What a removal starts with: the directory, the name in it and what it stands for. */
static int find_victim(struct txn *t, const struct command *c, struct inode *dir,
                       struct dentry *dentry, struct inode *victim)
{
    int error = get_dir(t, c->parent, dir);
    if (error)
        return error;
    if (!tree_find(t, c->parent, name_of(c), dentry))
        return -ENOENT;
    if (!tree_get(t, dentry->ino, victim))
        return -EUCLEAN;
    return permit_delete(&c->caller, &dir->attr, &victim->attr);
}

int apply_unlink(struct txn *t, const struct command *c, struct store_result *r)
{
    struct inode dir, victim;
    struct dentry dentry;
    int error = find_victim(t, c, &dir, &dentry, &victim);
    if (error)
        return error;
    if (S_ISDIR(victim.attr.mode))
        return -EISDIR;
    remove_name(t, c->parent, name_of(c), &dentry, &victim);
    touch_dir(t, &dir, 0);
    r->attr = victim.attr;
    return 0;
}

int apply_rmdir(struct txn *t, const struct command *c, struct store_result *r)
{
    struct inode dir, victim;
    struct dentry dentry;
    int error = find_victim(t, c, &dir, &dentry, &victim);
    if (error)
        return error;
    if (!S_ISDIR(victim.attr.mode))
        return -ENOTDIR;
    if (!tree_is_empty(t, victim.attr.ino))
        return -ENOTEMPTY;
    remove_name(t, c->parent, name_of(c), &dentry, &victim);
    touch_dir(t, &dir, -1);
    r->attr = victim.attr;
    return 0;
}

/* ---- Rename ---- */

/* One end of a rename: a name, the directory it is in, and what it stands for, if anything. */
struct rename_end {
    struct inode dir;
    struct name name;
    struct dentry dentry;
    struct inode inode;
    bool exists;
};

static int rename_end(struct txn *t, uint64_t parent, struct name name, struct rename_end *end)
{
    int error = get_dir(t, parent, &end->dir);
    if (error)
        return error;
    end->name = name;
    end->exists = tree_find(t, parent, name, &end->dentry);
    if (end->exists && !tree_get(t, end->dentry.ino, &end->inode))
        return -EUCLEAN;
    return 0;
}

/* Whether `dir` is `ancestor` or lies beneath it. A tree deeper than this cannot be addressed. */
static bool is_beneath(struct txn *t, uint64_t dir, uint64_t ancestor)
{
    struct inode inode;
    while (dir != ancestor) {
        if (dir == STORE_ROOT_INO || !tree_get(t, dir, &inode))
            return false;
        dir = inode.dotdot;
    }
    return true;
}

/* May the caller move what stands at `from` into the other directory? */
static int check_move(struct txn *t, const struct command *c, const struct rename_end *from,
                      const struct rename_end *to)
{
    int error = permit_delete(&c->caller, &from->dir.attr, &from->inode.attr);
    if (error || !S_ISDIR(from->inode.attr.mode) || from->dir.attr.ino == to->dir.attr.ino)
        return error;
    if (is_beneath(t, to->dir.attr.ino, from->inode.attr.ino))
        return -EINVAL;
    /* Its ".." changes, so it is written to. */
    return permit_access(&c->caller, &from->inode.attr, PERMIT_WRITE);
}

static int check_replace(struct txn *t, const struct command *c, const struct rename_end *from,
                         const struct rename_end *to)
{
    if (c->flags & COMMAND_NOREPLACE)
        return -EEXIST;
    int error = permit_delete(&c->caller, &to->dir.attr, &to->inode.attr);
    if (error)
        return error;
    if (S_ISDIR(to->inode.attr.mode)) {
        if (!S_ISDIR(from->inode.attr.mode))
            return -EISDIR;
        return tree_is_empty(t, to->inode.attr.ino) ? 0 : -ENOTEMPTY;
    }
    return S_ISDIR(from->inode.attr.mode) ? -ENOTDIR : 0;
}

/* The inode stands under another directory now. */
static void set_dotdot(struct txn *t, struct inode *inode, uint64_t dir)
{
    struct inode before = *inode;
    if (S_ISDIR(inode->attr.mode))
        inode->dotdot = dir;
    inode->attr.ctime_ns = t->stamp;
    tree_update(t, &before, inode);
}

/* Entries of directories that came to or left the two ends: their nlink, mtime and ctime. */
static void touch_ends(struct txn *t, struct rename_end *from, struct rename_end *to,
                       int from_links, int to_links)
{
    if (from->dir.attr.ino == to->dir.attr.ino) {
        touch_dir(t, &from->dir, from_links + to_links);
        return;
    }
    touch_dir(t, &from->dir, from_links);
    touch_dir(t, &to->dir, to_links);
}

static int exchange(struct txn *t, const struct command *c, struct rename_end *from,
                    struct rename_end *to)
{
    if (!to->exists)
        return -ENOENT;
    int error = check_move(t, c, from, to);
    if (error == 0)
        error = check_move(t, c, to, from);
    if (error)
        return error;
    tree_unlink(t, from->dir.attr.ino, from->name, &from->dentry);
    tree_unlink(t, to->dir.attr.ino, to->name, &to->dentry);
    tree_link(t, from->dir.attr.ino, from->name, to->dentry.ino);
    tree_link(t, to->dir.attr.ino, to->name, from->dentry.ino);
    int moved = S_ISDIR(from->inode.attr.mode) ? 1 : 0;
    int came = S_ISDIR(to->inode.attr.mode) ? 1 : 0;
    touch_ends(t, from, to, came - moved, moved - came);
    set_dotdot(t, &from->inode, to->dir.attr.ino);
    set_dotdot(t, &to->inode, from->dir.attr.ino);
    return 0;
}

static int move(struct txn *t, const struct command *c, struct rename_end *from,
                struct rename_end *to)
{
    int error = check_move(t, c, from, to);
    if (error == 0 && !to->exists)
        error = permit_access(&c->caller, &to->dir.attr, PERMIT_WRITE | PERMIT_EXECUTE);
    if (error == 0 && to->exists)
        error = check_replace(t, c, from, to);
    if (error)
        return error;
    int moved = S_ISDIR(from->inode.attr.mode) ? 1 : 0;
    int replaced = to->exists && S_ISDIR(to->inode.attr.mode) ? 1 : 0;
    if (to->exists)
        remove_name(t, to->dir.attr.ino, to->name, &to->dentry, &to->inode);
    tree_unlink(t, from->dir.attr.ino, from->name, &from->dentry);
    tree_link(t, to->dir.attr.ino, to->name, from->dentry.ino);
    touch_ends(t, from, to, -moved, moved - replaced);
    set_dotdot(t, &from->inode, to->dir.attr.ino);
    return 0;
}

int apply_rename(struct txn *t, const struct command *c, struct store_result *r)
{
    struct rename_end from, to;
    int error = rename_end(t, c->parent, name_of(c), &from);
    if (error == 0)
        error = rename_end(t, c->new_parent, new_name_of(c), &to);
    if (error)
        return error;
    if (!from.exists)
        return -ENOENT;
    r->attr = from.inode.attr;
    if (to.exists && to.dentry.ino == from.dentry.ino)
        return c->flags & COMMAND_NOREPLACE ? -EEXIST : 0; /* two names of one inode: POSIX */
    error = c->flags & COMMAND_EXCHANGE ? exchange(t, c, &from, &to) : move(t, c, &from, &to);
    if (error == 0)
        r->attr = from.inode.attr;
    return error;
}
