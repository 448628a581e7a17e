/* SPDX-License-Identifier: MIT */
/*
 * notify.h - telling the kernel that what it has cached is no longer so.
 *
 * With consistency=local the kernel keeps names and attributes for CACHE_SECONDS, which is for
 * ever; as a change is applied here, wherever it was made, they are taken back. In any mode the
 * root's attributes are, and the page cache of open files. notify.c says why no answer can come too
 * late.
 *
 * Whoever answers a request says what the kernel is told (notify_told), and what it forgets, so
 * that all of it can be taken back when the whole tree was replaced.
 */
#ifndef RAFTFS_FUSE_NOTIFY_H
#define RAFTFS_FUSE_NOTIFY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "fuse/map.h"
#include "store/store.h"

struct mount;

struct notifier {
    bool caches_names; /* consistency=local */
    bool started;
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows; held for microseconds, under no other */
    pthread_cond_t added;
    struct store_touched *queue;
    uint32_t count;
    uint32_t capacity;
    bool everything; /* the tree was replaced, or the queue ran over */
    atomic_bool closing;
    struct map told; /* names that the kernel may have cached, by inode */
};

void notify_init(struct mount *m, bool caches_names);
void notify_start(struct mount *m);

/*
 * Joins the thread. The workers must still serve: what the thread waits for is an answer of theirs.
 * From then on nothing is taken back any more.
 */
void notify_stop(struct mount *m);
void notify_free(struct mount *m);

/* How long the kernel may keep an entry; and that it is told of it, once more. */
double notify_told(struct mount *m, uint64_t parent, const char *name, uint64_t ino);

/* How long it may keep the attributes that GETATTR is about to answer with. */
double notify_attr_timeout(struct mount *m, uint64_t nodeid, const struct store_attr *attr);

void notify_forgotten(struct mount *m, uint64_t nodeid, uint64_t lookups);

#endif
