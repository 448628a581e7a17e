/* SPDX-License-Identifier: MIT */
/*
 * harness.h - a store in a directory of its own, and commands to it in one line each.
 *
 * apply() gives the command the next sequence number of session 1, a time that grows, and returns
 * its status; `result` holds the rest. Everything is global: one store a test.
 *
 * With RAFTFS_TEST_UNSAVED in the environment each entry for which that can be done is applied
 * without being saved, until something needs it to be: nothing may come out differently.
 */
#ifndef RAFTFS_TESTS_STORE_HARNESS_H
#define RAFTFS_TESTS_STORE_HARNESS_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "store/store.h"

#define INCARNATION 77u

extern char top[64];
extern struct store *store;
extern struct store_result result;
extern uint64_t open_ino; /* the one that this node has open */
extern struct command_caller root_user, alice, bob;

int harness_setup(void **state); /* a new store with session 1 */
int harness_teardown(void **state);
void harness_reopen(void);
void harness_remove_top(void);
void harness_open_options(struct store_options *options, const char *dir, bool create);

/* The status of the command, applied alone. */
int apply(struct command c);
int apply_as_is(const struct command *c); /* session and seq as given */
int apply_bytes(const void *data, uint32_t bytes, enum store_entry_kind kind);

int do_create(uint64_t parent, const char *name, struct command_caller who, unsigned mode);
int do_put(uint64_t parent, const char *name, const char *value); /* create or replace, as root */
int do_mkdir(uint64_t parent, const char *name, struct command_caller who, unsigned mode);
int do_write(uint64_t ino, uint64_t offset, const void *data, size_t bytes, unsigned flags);
int do_unlink(uint64_t parent, const char *name, struct command_caller who);
int do_rmdir(uint64_t parent, const char *name, struct command_caller who);
int do_rename(uint64_t parent, const char *name, uint64_t new_parent, const char *new_name,
              unsigned flags, struct command_caller who);

uint64_t ino_of(uint64_t parent, const char *name); /* 0 if it is not there */
struct store_attr attr_of(uint64_t ino);
/* The content as a string. */
const char *content_of(uint64_t ino);
uint64_t fingerprint(void);

/* Saves; the fingerprint computed anew from the tables must then be the one that was kept. */
void check_fingerprint(void);

#endif
