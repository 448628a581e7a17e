/* SPDX-License-Identifier: MIT */
/*
 * orphans.h - files that are gone from the replicated tree, but open on this node.
 *
 * The private copy is a plain file, DIR/orphans/INO, that dies with the last local handle or with
 * the process. Adding is the apply thread's; everything else is any thread's.
 */
#ifndef RAFTFS_STORE_ORPHANS_H
#define RAFTFS_STORE_ORPHANS_H

#include "store/command.h"
#include "store/store.h"

struct orphans;

/* Empties DIR/orphans, or makes it. 0 or a negative errno. */
int orphans_open(struct orphans **out, const char *dir);
void orphans_close(struct orphans *o);

/* A new empty file for the copy of an inode; its descriptor or a negative errno. */
int orphans_make_file(struct orphans *o, uint64_t ino);

/* From now on the orphan is found. Takes over `fd`, which is -1 for a directory. */
void orphans_add(struct orphans *o, const struct store_attr *attr, int fd);

/*
 * After each batch, or soon: drops those that are not open any more and were not released, because
 * their last handle was closed before they were added, or because nobody came to open them.
 */
void orphans_settle(struct orphans *o, bool (*is_open)(void *ctx, uint64_t ino), void *ctx);

bool orphans_getattr(struct orphans *o, uint64_t ino, struct store_attr *attr);

/* As the functions of store.h with these names. */
int orphans_read(struct orphans *o, uint64_t ino, uint64_t offset, size_t bytes, void *out,
                 size_t *got, struct store_attr *attr);
int orphans_write(struct orphans *o, uint64_t ino, uint64_t offset, bool append, const void *data,
                  size_t bytes, struct store_attr *attr);
int orphans_setattr(struct orphans *o, const struct command *c, struct store_attr *attr);
void orphans_release(struct orphans *o, uint64_t ino);

#endif
