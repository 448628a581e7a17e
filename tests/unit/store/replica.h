/* SPDX-License-Identifier: MIT */
/*
 * replica.h - the harness's store as a replica that is behind, and a snapshot of one that is ahead.
 *
 * Both states have the files `kept` ("before", "after") and some of old0, old1, …; `gone` ("of
 * old") is only in the old one, new0, new1, … and a configuration only in the new one.
 */
#ifndef RAFTFS_TESTS_STORE_REPLICA_H
#define RAFTFS_TESTS_STORE_REPLICA_H

#include "harness.h"

#include "store/snapshot.h"

enum { REPLICA_PATH_BYTES = 256 };

struct replica {
    struct snapshot snapshot; /* of the new state */
    char dir[64];             /* where it lies */
    char file[REPLICA_PATH_BYTES];
    uint64_t fingerprint; /* of the new state */
    uint64_t gone_ino;
    uint64_t kept_ino;
    uint64_t old_entries; /* of the root directory */
    uint64_t new_entries;
};

extern struct replica replica;

/* `files` of `file_bytes` each in the old state, and as many more in the new one. */
int replica_setup(unsigned files, unsigned file_bytes);
int replica_teardown(void **state);

/* Opens the harness's `store` in this directory, and says so to the harness. */
void replica_open(const char *dir);

void replica_remove_dir(const char *dir);

/* The store or snapshot in this closed file becomes one of format 2; nothing of it is garbage. */
void replica_make_format_2(const char *dir, const char *name);
void replica_copy_store(const char *from, const char *to);

/* The store is open on the new state. */
void replica_check_new(void);

#endif
