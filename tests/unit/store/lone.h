/* SPDX-License-Identifier: MIT */
/*
 * lone.h - lone entries to the harness's store, that are saved later or at once.
 *
 * Their sequence numbers and inode numbers are the same ones, which lone_seq counts: it is set by
 * the test, out of the way of the harness's own.
 */
#ifndef RAFTFS_TESTS_STORE_LONE_H
#define RAFTFS_TESTS_STORE_LONE_H

#include "harness.h"

enum { LONE_FIRST_SEQ = 1000000 };

extern uint64_t lone_seq; /* the last one's */

struct command put_of(const char *name, const char *value);
struct command mkdir_of(const char *name);
struct command removal_of(enum command_op op, const char *name);
struct command write_of(uint64_t ino, uint64_t offset, const char *data);

/* As session 1's next command. */
struct buf *encode(struct command c);

struct store_entry next_entry(enum store_entry_kind kind, const void *data, uint32_t bytes);

typedef int apply_fn(struct store *store, const struct store_entry *entry,
                     struct store_result *result);
int apply_saved(struct store *s, const struct store_entry *entry, struct store_result *r);

/* The store's error, or 0 and the command's status in `result`. */
int apply_by(apply_fn *apply_entry, struct command c);
int unsaved(struct command c); /* by store_apply_unsaved() */

/* The file's inode number; it is written, whatever the test. */
uint64_t put_unsaved(const char *name, const char *value);
uint64_t put_saved(const char *name, const char *value);

/* The applied index that SQLite shows. */
uint64_t index_on_disk(void);

#endif
