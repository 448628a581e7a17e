/* SPDX-License-Identifier: MIT */
/*
 * apply.h - what each command does to the tree.
 *
 * apply_command() finds out whether the command is new and hands it to the rule of its op:
 * apply_names.c has the ones that change directories, apply_data.c those that change a file. Each
 * rule first checks everything, in the order in which POSIX's errors take precedence, and only then
 * changes rows: so a command that fails has changed nothing. Nothing here reads a clock, a random
 * number or this node's state: the same log gives the same rows everywhere.
 */
#ifndef RAFTFS_STORE_APPLY_H
#define RAFTFS_STORE_APPLY_H

#include "store/command.h"
#include "store/tree.h"

/* Applies one command; what it came to is in `result`. The transaction's errors stay in t->sql. */
void apply_command(struct txn *t, const struct command *command, struct store_result *result);

/* The rules: 0 or a negative errno, result->attr and ->offset filled in. */
int apply_create(struct txn *t, const struct command *c, struct store_result *r);
int apply_mkdir(struct txn *t, const struct command *c, struct store_result *r);
int apply_symlink(struct txn *t, const struct command *c, struct store_result *r);
int apply_unlink(struct txn *t, const struct command *c, struct store_result *r);
int apply_rmdir(struct txn *t, const struct command *c, struct store_result *r);
int apply_rename(struct txn *t, const struct command *c, struct store_result *r);
int apply_write(struct txn *t, const struct command *c, struct store_result *r);
int apply_setattr(struct txn *t, const struct command *c, struct store_result *r);

/* Writes c's data to a regular file that was read as `inode`, by WRITE's flags. */
int apply_data(struct txn *t, const struct inode *inode, const struct command *c,
               struct store_result *r);

/*
 * The inode leaves the tree, but this node has it open: its content, as the transaction sees it, is
 * kept for those handles. That is this node's own affair and changes nothing in the tree. A copy
 * that cannot be made (its disk is full) costs those handles their file, which then reads as
 * ESTALE.
 */
void apply_keep_orphan(struct txn *t, const struct inode *inode);

/* The inode's data has changed: mtime, which differs from the one before, ctime, version. */
void apply_touch_data(struct txn *t, struct store_attr *attr);

#endif
