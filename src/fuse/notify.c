/* SPDX-License-Identifier: MIT */
/*
 * notify.c - the thread that takes back what the kernel has cached.
 *
 *     whoever applies: it is visible -> mount_touched() -> queue -> notifier -> /dev/fuse
 *
 * A notification waits in the kernel: one of an entry for its directory's lock, which a running
 * mkdir holds until we answer it; one of pages for a running READ. So it has a thread of its own
 * that holds no lock meanwhile, and nobody ever waits for it. The queue is bounded: one that runs
 * over becomes "everything".
 *
 * An answer computed before a change may reach the kernel after the change's notification, and
 * would then stay for ever. So only those answers may be kept that the kernel itself orders:
 *
 *     entries     a first LOOKUP and READDIRPLUS hold the directory's lock until their answer is
 *                 in the cache, and the notification takes it; a repeated LOOKUP confirms a name
 *                 that the notification has unhashed
 *     attributes  of GETATTR alone: the kernel drops an answer that was asked for before the last
 *                 notification. Those of LOOKUP, SETATTR … are kept for no time
 *     absence     is never kept, nor is CREATE's entry, which may come to nothing
 *
 * The root's attributes are kept in any mode: every path walk needs them, and they are the one
 * thing that is shown as this replica has it. They are taken back by whoever applies, before he
 * answers the changes, so that their callers see them changed. He can, since this one notification
 * waits for nothing: for attributes alone the kernel (fuse_reverse_inval_inode) takes the inode's
 * spin lock, and shared the lock under which a superblock ends, when no request runs.
 */
#include "fuse/notify.h"

#include <errno.h>
#include <string.h>

#include "base/memory.h"
#include "base/thread.h"
#include "fuse/deferred.h"
#include "fuse/handle.h"
#include "fuse/mount_state.h"
#include "fuse/tree.h"

enum { QUEUE_MAX = 16 * 1024, CACHE_SECONDS = 24 * 3600 };

/* A name that the kernel was told; an inode has one, because there are no hard links. */
struct told {
    struct map_link link; /* by inode */
    uint64_t lookups;     /* to be forgotten */
    uint64_t parent;
    char *name;
};

static struct told *find_told(struct notifier *n, uint64_t ino)
{
    return map_entry(map_find(&n->told, ino), struct told, link);
}

static void rename_told(struct told *told, uint64_t parent, const char *name)
{
    if (told->name && told->parent == parent && strcmp(told->name, name) == 0)
        return;
    memory_free(told->name);
    told->parent = parent;
    told->name = memory_strdup(name);
}

/* ---- What the kernel knows ---- */

double notify_told(struct mount *m, uint64_t parent, const char *name, uint64_t ino)
{
    struct notifier *n = &m->notifier;
    bool dots = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
    if (!n->caches_names || tree_is_local(parent) || dots)
        return 0;
    pthread_mutex_lock(&n->lock);
    struct told *told = find_told(n, ino);
    if (!told) {
        told = memory_zalloc(sizeof(*told));
        map_insert(&n->told, ino, &told->link);
    }
    told->lookups++;
    rename_told(told, parent, name);
    pthread_mutex_unlock(&n->lock);
    return CACHE_SECONDS;
}

void notify_forgotten(struct mount *m, uint64_t nodeid, uint64_t lookups)
{
    struct notifier *n = &m->notifier;
    if (!n->caches_names)
        return;
    pthread_mutex_lock(&n->lock);
    struct told *told = find_told(n, nodeid);
    bool gone = told && told->lookups <= lookups;
    if (gone)
        map_remove(&n->told, &told->link);
    else if (told)
        told->lookups -= lookups;
    pthread_mutex_unlock(&n->lock);
    if (gone) {
        memory_free(told->name);
        memory_free(told);
    }
}

/* Not of what only this node has: a pending change, an alias, a private copy. */
double notify_attr_timeout(struct mount *m, uint64_t nodeid, const struct store_attr *attr)
{
    if (nodeid == STORE_ROOT_INO)
        return CACHE_SECONDS;
    bool cacheable = m->notifier.caches_names && nodeid == attr->ino && attr->nlink > 0;
    if (!cacheable)
        return 0;
    pthread_mutex_lock(&m->lock);
    struct inode *inode = inode_find(m, nodeid);
    bool pending = inode && inode->pending;
    pthread_mutex_unlock(&m->lock);
    return pending ? 0 : CACHE_SECONDS;
}

/* ---- What was touched (whoever applies) ---- */

/* Under the lock, so that the session is not closed meanwhile. */
static void take_back_root(struct mount *m)
{
    struct notifier *n = &m->notifier;
    pthread_mutex_lock(&n->lock);
    if (!n->closing)
        (void)fuse_lowlevel_notify_inval_inode(m->session, STORE_ROOT_INO, -1, 0);
    pthread_mutex_unlock(&n->lock);
}

static bool is_root(const struct store_touched *item)
{
    return item->ino == STORE_ROOT_INO && item->name_bytes == 0;
}

/* Nobody has been told of a new inode. */
static bool is_unknown(const struct store_touched *item)
{
    return item->name_bytes == 0 && item->added && !item->data;
}

/* Without cached names only the pages of open files matter. The root has none. */
static bool matters(struct mount *m, const struct store_touched *item)
{
    if (is_root(item) || is_unknown(item))
        return false;
    if (m->notifier.caches_names)
        return true;
    if (!item->data || item->name_bytes)
        return false;
    pthread_mutex_lock(&m->lock);
    struct inode *inode = inode_find(m, item->ino);
    bool paged = inode && inode->paged;
    pthread_mutex_unlock(&m->lock);
    return paged;
}

static void enqueue(struct notifier *n, const struct store_touched *item)
{
    struct told *told = item->name_bytes && item->added ? find_told(n, item->ino) : NULL;
    if (told)
        rename_told(told, item->dir, item->name);
    if (item->name_bytes && item->added)
        return; /* absence is not cached */
    if (n->closing)
        return;
    if (n->count == QUEUE_MAX) {
        n->everything = true;
        return;
    }
    if (n->count == n->capacity) {
        n->capacity = n->capacity ? 2 * n->capacity : 64;
        n->queue = memory_realloc(n->queue, n->capacity * sizeof(*n->queue));
    }
    n->queue[n->count++] = *item;
}

void mount_touched(struct mount *m, const struct store_touched *items, uint32_t count)
{
    struct notifier *n = &m->notifier;
    bool any = false, root = false;
    for (uint32_t i = 0; i < count; i++) {
        root = root || is_root(&items[i]);
        if (!matters(m, &items[i]))
            continue;
        pthread_mutex_lock(&n->lock);
        enqueue(n, &items[i]);
        any = n->count > 0;
        pthread_mutex_unlock(&n->lock);
    }
    if (any)
        pthread_cond_signal(&n->added);
    if (root)
        take_back_root(m);
}

void mount_tree_replaced(struct mount *m)
{
    struct notifier *n = &m->notifier;
    pthread_mutex_lock(&n->lock);
    n->everything = true;
    pthread_cond_signal(&n->added);
    pthread_mutex_unlock(&n->lock);
    take_back_root(m);
}

/* ---- The notifier (without a lock) ---- */

/* What the kernel does not know (any more) is none to take back: -ENOENT. */
static void notify(struct mount *m, const struct store_touched *item)
{
    struct fuse_session *se = m->session;
    if (item->name_bytes)
        (void)fuse_lowlevel_notify_inval_entry(se, item->dir, item->name, item->name_bytes);
    else
        (void)fuse_lowlevel_notify_inval_inode(se, item->ino, item->data ? 0 : -1, 0);
}

/* Under the lock: all that the kernel was told, as if it had been touched; then open inodes. */
static struct store_touched *list_told(struct notifier *n, uint32_t *count)
{
    struct store_touched *all = memory_alloc((2 * n->told.count + 1) * sizeof(*all));
    *count = 0;
    for (size_t b = 0; b < n->told.bucket_count; b++)
        for (struct map_link *link = n->told.buckets[b]; link; link = link->next) {
            struct told *told = map_entry(link, struct told, link);
            struct store_touched *item = &all[(*count)++];
            *item = (struct store_touched){.dir = told->parent,
                                           .name_bytes = (uint8_t)strlen(told->name)};
            memcpy(item->name, told->name, item->name_bytes);
            all[(*count)++] = (struct store_touched){.ino = link->key, .data = true};
        }
    return all;
}

static void notify_open(struct mount *m)
{
    pthread_mutex_lock(&m->lock);
    const struct map *maps[] = {&m->inodes, &m->aliases};
    uint64_t *numbers = memory_alloc((maps[0]->count + maps[1]->count + 1) * sizeof(*numbers));
    size_t count = 0;
    for (int k = 0; k < 2; k++)
        for (size_t b = 0; b < maps[k]->bucket_count; b++)
            for (struct map_link *link = maps[k]->buckets[b]; link; link = link->next)
                numbers[count++] = link->key;
    pthread_mutex_unlock(&m->lock);
    for (size_t i = 0; i < count; i++)
        (void)fuse_lowlevel_notify_inval_inode(m->session, numbers[i], 0, 0);
    memory_free(numbers);
}

/* Under the lock, which it drops meanwhile: takes back what has come together. */
static void work_off(struct mount *m)
{
    struct notifier *n = &m->notifier;
    bool everything = n->everything;
    struct store_touched *items = n->queue;
    uint32_t count = n->count;
    n->queue = NULL;
    n->count = n->capacity = 0;
    n->everything = false;
    if (everything) {
        memory_free(items);
        items = list_told(n, &count);
    }
    pthread_mutex_unlock(&n->lock);
    for (uint32_t i = 0; i < count && !n->closing; i++)
        notify(m, &items[i]);
    memory_free(items);
    if (everything)
        notify_open(m);
    pthread_mutex_lock(&n->lock);
}

static void *notifier_thread(void *arg)
{
    struct mount *m = arg;
    struct notifier *n = &m->notifier;
    pthread_mutex_lock(&n->lock);
    while (!n->closing) {
        if (n->count == 0 && !n->everything)
            pthread_cond_wait(&n->added, &n->lock);
        else
            work_off(m);
    }
    pthread_mutex_unlock(&n->lock);
    return NULL;
}

/* ---- Beginning and end ---- */

void notify_init(struct mount *m, bool caches_names)
{
    struct notifier *n = &m->notifier;
    n->caches_names = caches_names;
    pthread_mutex_init(&n->lock, NULL);
    pthread_cond_init(&n->added, NULL);
    map_init(&n->told);
}

void notify_start(struct mount *m)
{
    thread_start(&m->notifier.thread, "notifier", notifier_thread, m);
    m->notifier.started = true;
}

void notify_stop(struct mount *m)
{
    struct notifier *n = &m->notifier;
    pthread_mutex_lock(&n->lock);
    n->closing = true;
    pthread_cond_signal(&n->added);
    pthread_mutex_unlock(&n->lock);
    if (n->started)
        pthread_join(n->thread, NULL);
}

void notify_free(struct mount *m)
{
    struct notifier *n = &m->notifier;
    struct map_link *link;
    while ((link = map_any(&n->told)))
        notify_forgotten(m, link->key, UINT64_MAX);
    map_close(&n->told);
    memory_free(n->queue);
    pthread_cond_destroy(&n->added);
    pthread_mutex_destroy(&n->lock);
}
