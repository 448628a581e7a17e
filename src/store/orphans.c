/* SPDX-License-Identifier: MIT */
/*
 * Orphans are few and short-lived, so they stand in a list under one lock. I/O on their files is
 * done under it too: only programs that hold an unlinked file open ever wait for it.
 */
#include "store/orphans.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "store/permit.h"

enum { SETTLE_MOST = 64 }; /* looked at after one batch */

struct orphan {
    struct orphan *next;
    struct store_attr attr;
    int fd;
};

struct orphans {
    pthread_mutex_t lock;
    int dir_fd;
    struct orphan *first;
};

static void file_name(uint64_t ino, char name[24])
{
    snprintf(name, 24, "%" PRIu64, ino);
}

static int empty_dir(int dir_fd)
{
    DIR *d = fdopendir(dup(dir_fd));
    if (!d)
        return -errno;
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            unlinkat(dir_fd, e->d_name, 0);
    closedir(d);
    return 0;
}

int orphans_open(struct orphans **out, const char *dir)
{
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return -errno;
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return -errno;
    int error = empty_dir(dir_fd);
    if (error) {
        close(dir_fd);
        return error;
    }
    struct orphans *o = memory_zalloc(sizeof(*o));
    pthread_mutex_init(&o->lock, NULL);
    o->dir_fd = dir_fd;
    *out = o;
    return 0;
}

static void drop(struct orphans *o, struct orphan **at)
{
    struct orphan *gone = *at;
    *at = gone->next;
    if (gone->fd >= 0) {
        char name[24];
        file_name(gone->attr.ino, name);
        unlinkat(o->dir_fd, name, 0);
        close(gone->fd);
    }
    memory_free(gone);
}

void orphans_close(struct orphans *o)
{
    if (!o)
        return;
    while (o->first)
        drop(o, &o->first);
    close(o->dir_fd);
    pthread_mutex_destroy(&o->lock);
    memory_free(o);
}

/* Under the lock: where the orphan hangs; *result is NULL if there is no such one. */
static struct orphan **find(struct orphans *o, uint64_t ino)
{
    struct orphan **at = &o->first;
    while (*at && (*at)->attr.ino != ino)
        at = &(*at)->next;
    return at;
}

int orphans_make_file(struct orphans *o, uint64_t ino)
{
    char name[24];
    file_name(ino, name);
    int fd = openat(o->dir_fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : fd;
}

void orphans_add(struct orphans *o, const struct store_attr *attr, int fd)
{
    struct orphan *orphan = memory_zalloc(sizeof(*orphan));
    orphan->attr = *attr;
    orphan->fd = fd;
    pthread_mutex_lock(&o->lock);
    struct orphan **old = find(o, attr->ino);
    if (*old) { /* the batch was rolled back and is applied again, into the same file */
        close((*old)->fd);
        (*old)->fd = -1;
        drop(o, old);
    }
    orphan->next = o->first;
    o->first = orphan;
    pthread_mutex_unlock(&o->lock);
}

void orphans_settle(struct orphans *o, bool (*is_open)(void *ctx, uint64_t ino), void *ctx)
{
    /* Asked without the lock: the mount may be releasing an orphan under a lock of its own. */
    uint64_t inos[SETTLE_MOST];
    unsigned count = 0;
    pthread_mutex_lock(&o->lock);
    for (struct orphan *orphan = o->first; orphan && count < SETTLE_MOST; orphan = orphan->next)
        inos[count++] = orphan->attr.ino;
    pthread_mutex_unlock(&o->lock);
    for (unsigned i = 0; i < count; i++)
        if (!is_open(ctx, inos[i]))
            orphans_release(o, inos[i]);
}

bool orphans_getattr(struct orphans *o, uint64_t ino, struct store_attr *attr)
{
    pthread_mutex_lock(&o->lock);
    struct orphan *orphan = *find(o, ino);
    if (orphan)
        *attr = orphan->attr;
    pthread_mutex_unlock(&o->lock);
    return orphan != NULL;
}

int orphans_read(struct orphans *o, uint64_t ino, uint64_t offset, size_t bytes, void *out,
                 size_t *got, struct store_attr *attr)
{
    int error = -ESTALE;
    *got = 0;
    pthread_mutex_lock(&o->lock);
    struct orphan *orphan = *find(o, ino);
    if (orphan && orphan->fd >= 0) {
        ssize_t n = pread(orphan->fd, out, bytes, (off_t)offset);
        error = n < 0 ? -errno : 0;
        *got = n < 0 ? 0 : (size_t)n;
        *attr = orphan->attr;
    }
    pthread_mutex_unlock(&o->lock);
    return error;
}

/* Under the lock: the content has changed; returns what the write returned, as an error. */
static int changed(struct orphan *orphan)
{
    struct stat st;
    if (fstat(orphan->fd, &st) != 0)
        return -errno;
    orphan->attr.size_bytes = (uint64_t)st.st_size;
    orphan->attr.mtime_ns = orphan->attr.ctime_ns = (int64_t)clock_real_ns();
    orphan->attr.version++;
    return 0;
}

int orphans_write(struct orphans *o, uint64_t ino, uint64_t offset, bool append, const void *data,
                  size_t bytes, struct store_attr *attr)
{
    int error = -ESTALE;
    pthread_mutex_lock(&o->lock);
    struct orphan *orphan = *find(o, ino);
    if (orphan && orphan->fd >= 0) {
        uint64_t at = append ? orphan->attr.size_bytes : offset;
        ssize_t n = pwrite(orphan->fd, data, bytes, (off_t)at);
        if (n == (ssize_t)bytes)
            error = changed(orphan);
        else
            error = n < 0 ? -errno : -ENOSPC;
        *attr = orphan->attr;
    }
    pthread_mutex_unlock(&o->lock);
    return error;
}

static int set_size(struct orphan *orphan, uint64_t size)
{
    if (orphan->fd < 0)
        return -EISDIR;
    if (size > STORE_MAX_FILE_BYTES)
        return -EFBIG;
    if (ftruncate(orphan->fd, (off_t)size) != 0)
        return -errno;
    return changed(orphan);
}

/* Under the lock. Nobody else sees an orphan, so the caller's rights are those of its handle. */
static int set_attr(struct orphan *orphan, const struct command *c)
{
    struct store_attr *a = &orphan->attr;
    if ((c->set & COMMAND_SET_SIZE)) {
        int error = set_size(orphan, c->size);
        if (error)
            return error;
    }
    bool owns = permit_is_owner(&c->caller, a);
    if (!owns && (c->set & (COMMAND_SET_MODE | COMMAND_SET_UID | COMMAND_SET_GID)))
        return -EPERM;
    if (c->set & COMMAND_SET_MODE)
        a->mode = (a->mode & S_IFMT) | (c->mode & 07777);
    if (c->set & COMMAND_SET_UID)
        a->uid = c->uid;
    if (c->set & COMMAND_SET_GID)
        a->gid = c->gid;
    int64_t now_ns = (int64_t)clock_real_ns();
    if (c->set & (COMMAND_SET_ATIME | COMMAND_SET_ATIME_NOW))
        a->atime_ns = c->set & COMMAND_SET_ATIME ? c->atime_ns : now_ns;
    if (c->set & (COMMAND_SET_MTIME | COMMAND_SET_MTIME_NOW))
        a->mtime_ns = c->set & COMMAND_SET_MTIME ? c->mtime_ns : now_ns;
    a->ctime_ns = now_ns;
    return 0;
}

int orphans_setattr(struct orphans *o, const struct command *c, struct store_attr *attr)
{
    pthread_mutex_lock(&o->lock);
    struct orphan *orphan = *find(o, c->ino);
    int error = orphan ? set_attr(orphan, c) : -ESTALE;
    if (orphan)
        *attr = orphan->attr;
    pthread_mutex_unlock(&o->lock);
    return error;
}

void orphans_release(struct orphans *o, uint64_t ino)
{
    pthread_mutex_lock(&o->lock);
    struct orphan **at = find(o, ino);
    if (*at)
        drop(o, at);
    pthread_mutex_unlock(&o->lock);
}
