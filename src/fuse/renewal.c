/* SPDX-License-Identifier: MIT */
/*
 * renewal.c - the tree was replaced as a whole: what the kernel has cached of open files goes.
 *
 * Names and attributes are never cached, so the next look at each finds the new tree. Pages are:
 * those of O_RDWR descriptors, of large files and of mappings. The kernel drops them by itself when
 * it meets another mtime, but a mapping that is only read asks nobody, and utimens(2) may have put
 * back the mtime.
 *
 * A notification waits for pages that requests have locked, and such a request may wait for the
 * apply thread, which is who calls here: so each renewal has a thread of its own, and shares no
 * lock with it. It counts as a running request, which mount_close() waits for.
 */
#include "base/memory.h"
#include "base/report.h"
#include "fuse/mount_state.h"

/* The numbers of all open inodes, as the kernel knows them; the caller frees them. */
static uint64_t *list_open(struct mount *m, size_t *count)
{
    pthread_mutex_lock(&m->lock);
    uint64_t *numbers = memory_alloc((m->inodes.count + m->aliases.count + 1) * sizeof(*numbers));
    *count = 0;
    for (size_t i = 0; i < m->inodes.bucket_count; i++)
        for (struct map_link *link = m->inodes.buckets[i]; link; link = link->next)
            numbers[(*count)++] = link->key;
    for (size_t i = 0; i < m->aliases.bucket_count; i++)
        for (struct map_link *link = m->aliases.buckets[i]; link; link = link->next)
            numbers[(*count)++] = link->key;
    pthread_mutex_unlock(&m->lock);
    return numbers;
}

static void *renew(void *arg)
{
    struct mount *m = arg;
    size_t count;
    uint64_t *numbers = list_open(m, &count);
    for (size_t i = 0; i < count; i++) /* one that the kernel has forgotten is none to drop */
        (void)fuse_lowlevel_notify_inval_inode(m->session, numbers[i], 0, 0);
    memory_free(numbers);
    pthread_mutex_lock(&m->lock);
    if (--m->running == 0)
        pthread_cond_signal(&m->idle);
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

void mount_tree_replaced(struct mount *m)
{
    pthread_t thread;
    pthread_mutex_lock(&m->lock);
    m->running++;
    pthread_mutex_unlock(&m->lock);
    if (pthread_create(&thread, NULL, renew, m) != 0) {
        report_warn("no more threads: programs that have files mapped may see old content; raise "
                    "ulimit -u");
        pthread_mutex_lock(&m->lock);
        m->running--;
        pthread_mutex_unlock(&m->lock);
        return;
    }
    pthread_detach(thread);
}
