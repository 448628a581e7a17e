/* SPDX-License-Identifier: MIT */
#include "fuse/handle.h"

#include <assert.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/memory.h"
#include "fuse/tree.h"

enum { LOOKED_UP_US = 250 * 1000, LOOKED_UP_BYTES = 64 * 1024 };

struct alias {
    struct map_link link; /* in mount->aliases, by nodeid */
    uint64_t ino;
};

static void on_release_timer(struct timer *timer);

/* ---- Under the lock ---- */

static struct alias *find_alias(struct mount *m, uint64_t nodeid)
{
    return map_entry(map_find(&m->aliases, nodeid), struct alias, link);
}

static uint64_t resolve(struct mount *m, uint64_t nodeid)
{
    uint64_t ino = nodeid & ~TREE_LOCAL;
    struct alias *alias = find_alias(m, ino);
    return alias ? alias->ino : ino;
}

struct inode *inode_find(struct mount *m, uint64_t ino)
{
    return map_entry(map_find(&m->inodes, ino), struct inode, link);
}

static struct inode *inode_open(struct mount *m, uint64_t ino)
{
    struct inode *inode = inode_find(m, ino);
    if (!inode) {
        inode = memory_zalloc(sizeof(*inode));
        inode->mount = m;
        inode->release.expired = on_release_timer;
        map_insert(&m->inodes, ino, &inode->link);
    }
    inode->opens++;
    return inode;
}

static void inode_free(struct inode *inode)
{
    timer_stop(&inode->release);
    map_remove(&inode->mount->inodes, &inode->link);
    memory_free(inode);
}

static void inode_close(struct inode *inode)
{
    if (--inode->opens > 0)
        return;
    if (inode->kept)
        timer_start(&inode->mount->timers, &inode->release, TIMER_1_S);
    else
        inode_free(inode);
}

static void on_release_timer(struct timer *timer)
{
    struct inode *inode = map_entry(timer, struct inode, release);
    struct mount *m = inode->mount;
    uint64_t ino = inode->link.key;
    if (inode->opens > 0)
        return; /* opened again */
    inode_free(inode);
    pthread_mutex_unlock(&m->lock);
    store_orphan_release(m->store, ino);
    pthread_mutex_lock(&m->lock);
}

void handle_make_alias(struct handle *handle, uint64_t ino)
{
    struct mount *m = handle->mount;
    struct inode *old = handle->inode;
    assert(!find_alias(m, old->link.key));
    struct alias *alias = memory_alloc(sizeof(*alias));
    alias->ino = ino;
    map_insert(&m->aliases, old->link.key, &alias->link);
    handle->inode = inode_open(m, ino);
    inode_close(old);
}

/* ---- Without it ---- */

struct handle *handle_open(struct mount *m, uint64_t nodeid, int flags, pid_t opener)
{
    struct handle *handle = memory_zalloc(sizeof(*handle));
    handle->mount = m;
    handle->flags = flags;
    handle->opener = opener;
    pthread_mutex_lock(&m->lock);
    if (!tree_is_special(nodeid))
        handle->inode = inode_open(m, resolve(m, nodeid));
    handle->next = m->handles;
    if (m->handles)
        m->handles->prev = handle;
    m->handles = handle;
    pthread_mutex_unlock(&m->lock);
    return handle;
}

void handle_close(struct handle *handle)
{
    struct mount *m = handle->mount;
    assert(!handle->deferred);
    pins_drop(&m->pins, &handle->view);
    pthread_mutex_lock(&m->lock);
    if (handle->inode)
        inode_close(handle->inode);
    if (handle->next)
        handle->next->prev = handle->prev;
    *(handle->prev ? &handle->prev->next : &m->handles) = handle->next;
    pthread_mutex_unlock(&m->lock);
    memory_free(handle);
}

uint64_t handle_resolve(struct mount *m, uint64_t nodeid)
{
    pthread_mutex_lock(&m->lock);
    uint64_t ino = resolve(m, nodeid);
    pthread_mutex_unlock(&m->lock);
    return ino;
}

uint64_t handle_ino(struct handle *handle)
{
    pthread_mutex_lock(&handle->mount->lock);
    uint64_t ino = handle->inode->link.key;
    pthread_mutex_unlock(&handle->mount->lock);
    return ino;
}

void handle_set_paged(struct handle *handle)
{
    pthread_mutex_lock(&handle->mount->lock);
    handle->inode->paged = true;
    pthread_mutex_unlock(&handle->mount->lock);
}

void handle_set_orphan(struct handle *handle)
{
    pthread_mutex_lock(&handle->mount->lock);
    handle->inode->orphan = true;
    pthread_mutex_unlock(&handle->mount->lock);
}

bool handle_is_orphan(struct handle *handle)
{
    pthread_mutex_lock(&handle->mount->lock);
    bool orphan = handle->inode->orphan;
    pthread_mutex_unlock(&handle->mount->lock);
    return orphan;
}

void handle_forget(struct mount *m, uint64_t nodeid)
{
    pthread_mutex_lock(&m->lock);
    struct alias *alias = find_alias(m, nodeid);
    if (alias)
        map_remove(&m->aliases, &alias->link);
    pthread_mutex_unlock(&m->lock);
    memory_free(alias);
}

void handle_forget_all(struct mount *m)
{
    struct map_link *link;
    while ((link = map_any(&m->inodes))) {
        uint64_t ino = link->key;
        inode_free(map_entry(link, struct inode, link));
        store_orphan_release(m->store, ino);
    }
    while ((link = map_any(&m->aliases)))
        handle_forget(m, link->key);
}

void handle_looked_up(struct mount *m, const struct store_attr *attr)
{
    if (!S_ISREG(attr->mode) || attr->size_bytes > LOOKED_UP_BYTES)
        return; /* a copy of it would hold up the apply thread */
    pthread_mutex_lock(&m->lock);
    m->looked_up[attr->ino % MOUNT_LOOKED_UP] =
        (struct looked_up){.ino = attr->ino, .at_us = clock_mono_us()};
    pthread_mutex_unlock(&m->lock);
}

/* Under the lock. */
static bool was_just_looked_up(const struct mount *m, uint64_t ino)
{
    const struct looked_up *l = &m->looked_up[ino % MOUNT_LOOKED_UP];
    return l->ino == ino && clock_mono_us() - l->at_us < LOOKED_UP_US;
}

bool mount_is_open(struct mount *m, uint64_t ino)
{
    pthread_mutex_lock(&m->lock);
    struct inode *inode = inode_find(m, ino);
    bool open = inode && inode->opens > 0;
    if (open)
        inode->kept = true;
    bool kept = open || was_just_looked_up(m, ino);
    pthread_mutex_unlock(&m->lock);
    return kept;
}
