/* SPDX-License-Identifier: MIT */
/*
 * Locks: one word holds all eight slots, a byte each: how many connections share it, or 0xff if one
 * has it for itself. So whatever is locked or unlocked, a range of slots too, is one atomic
 * operation, and all of them have one order, as they have under the mutex of SQLite's own VFS.
 * They are what orders the accesses to the index, too, with shm_barrier().
 *
 * Others: SQLite's own VFS holds a byte of PATH-shm, its "dead man's switch", shared for as long as
 * a connection lives, and whoever finds it free makes the file anew; the bytes before it are the
 * slots. To take all of them proves that nobody else has the database open. From then on the slots
 * are kept, so others get no lock, and the switch is shared, so that they look at the slots at all:
 * a switch that is taken makes them try again for ten seconds and then fail obscurely. For the same
 * reason PATH-shm is as long as the first region, zeroes, of which they can make nothing. What is
 * left of it after a crash is worth nothing to anybody: both this and SQLite make it anew, and
 * recover the index from the log.
 *
 * These are locks of the open file (F_OFD_SETLK). Those of the process would not keep out SQLite's
 * own VFS in this process; worse, whoever closes any descriptor of PATH-shm drops them, and that
 * VFS opens and closes one whenever it finds the database locked.
 */
#include "store/shm.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/report.h"

enum {
    SLOT_BITS = 8,
    MOST_SHARES = 0xfe, /* of a slot; far more than there are connections */
    /* In PATH-shm, as SQLite has them. */
    SLOTS_AT = 120,
    SWITCH_AT = SLOTS_AT + SQLITE_SHM_NLOCK,
};

struct shm {
    struct shm *next;
    char *path;
    char *file; /* PATH-shm */
    int fd;     /* holds the locks on it */
    unsigned links;
    void **regions;
    int region_count;
    _Atomic(uint64_t) locks;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the list, and all but `locks` */
static struct shm *all;

/* ---- The file ---- */

static int lock_bytes(int fd, short type, off_t at, off_t bytes)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = bytes};
    return fcntl(fd, F_OFD_SETLK, &l);
}

/* 0; -EAGAIN: others are in; or another negative errno. */
static int keep_others_out(struct shm *s, int region_bytes)
{
    s->fd = open(s->file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->fd < 0 || lock_bytes(s->fd, F_WRLCK, SLOTS_AT, SQLITE_SHM_NLOCK + 1) < 0 ||
        ftruncate(s->fd, 0) < 0 || ftruncate(s->fd, region_bytes) < 0 ||
        lock_bytes(s->fd, F_RDLCK, SWITCH_AT, 1) < 0)
        return -errno;
    return 0;
}

static void free_shm(struct shm *s)
{
    if (s->fd >= 0)
        close(s->fd);
    for (int i = 0; i < s->region_count; i++)
        memory_free(s->regions[i]);
    memory_free(s->regions);
    memory_free(s->file);
    memory_free(s->path);
    memory_free(s);
}

/* ---- Links and regions; under the lock ---- */

static int make(const char *path, int region_bytes, struct shm **out)
{
    struct shm *s = memory_zalloc(sizeof(*s));
    size_t file_bytes = strlen(path) + sizeof("-shm");
    s->path = memory_strdup(path);
    s->file = memory_alloc(file_bytes);
    snprintf(s->file, file_bytes, "%s-shm", path);
    int status = keep_others_out(s, region_bytes);
    if (status < 0 && status != -EAGAIN)
        report_error("%s: cannot be made and locked: %s; check this node's disk", s->file,
                     strerror(-status));
    if (status < 0) {
        free_shm(s);
        return status == -EAGAIN ? SQLITE_IOERR_SHMLOCK : SQLITE_IOERR_SHMOPEN;
    }
    s->next = all;
    all = s;
    *out = s;
    return SQLITE_OK;
}

static int join(struct shm_link *l, const char *path, int region_bytes)
{
    struct shm *s = all;
    while (s && strcmp(s->path, path) != 0)
        s = s->next;
    int rc = s ? SQLITE_OK : make(path, region_bytes, &s);
    if (rc != SQLITE_OK)
        return rc;
    s->links++;
    *l = (struct shm_link){.shm = s};
    return SQLITE_OK;
}

static void *region(struct shm *s, int number, int bytes)
{
    if (number >= s->region_count)
        s->regions = memory_realloc(s->regions, (size_t)(number + 1) * sizeof(*s->regions));
    while (s->region_count <= number)
        s->regions[s->region_count++] = memory_zalloc((size_t)bytes);
    return s->regions[number];
}

int shm_map(struct shm_link *l, const char *path, int number, int bytes, void volatile **out)
{
    pthread_mutex_lock(&lock);
    int rc = l->shm ? SQLITE_OK : join(l, path, bytes);
    *out = rc == SQLITE_OK ? region(l->shm, number, bytes) : NULL;
    pthread_mutex_unlock(&lock);
    return rc;
}

/* SQLite asks for `delete` only while it has the database itself for its own: nobody comes now. */
static void end(struct shm *s, bool delete)
{
    struct shm **at = &all;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    if (delete)
        unlink(s->file);
    free_shm(s);
}

int shm_unmap(struct shm_link *l, bool delete)
{
    assert(l->shared == 0 && l->exclusive == 0);
    pthread_mutex_lock(&lock);
    if (l->shm && --l->shm->links == 0)
        end(l->shm, delete);
    pthread_mutex_unlock(&lock);
    l->shm = NULL;
    return SQLITE_OK;
}

/* ---- Locks ---- */

static uint64_t bits_of(int first, int count)
{
    return UINT64_MAX >> (64 - count * SLOT_BITS) << (first * SLOT_BITS);
}

static uint64_t share_of(int slot)
{
    return UINT64_C(1) << (slot * SLOT_BITS);
}

static bool lock_shared(struct shm *s, int slot)
{
    uint64_t seen = atomic_load(&s->locks);
    do {
        if ((seen & bits_of(slot, 1)) >= share_of(slot) * MOST_SHARES)
            return false;
    } while (!atomic_compare_exchange_weak(&s->locks, &seen, seen + share_of(slot)));
    return true;
}

static bool lock_exclusive(struct shm *s, uint64_t bits)
{
    uint64_t seen = atomic_load(&s->locks);
    do {
        if (seen & bits)
            return false;
    } while (!atomic_compare_exchange_weak(&s->locks, &seen, seen | bits));
    return true;
}

/* A lock that the connection has is given again, and one that it has not is let go, at no cost. */
int shm_lock(struct shm_link *l, int first, int count, int flags)
{
    uint8_t slots = (uint8_t)(((1u << count) - 1) << first);
    uint64_t bits = bits_of(first, count);
    switch (flags) {
    case SQLITE_SHM_LOCK | SQLITE_SHM_SHARED:
        if (!(l->shared & slots) && !lock_shared(l->shm, first))
            return SQLITE_BUSY;
        l->shared |= slots;
        return SQLITE_OK;
    case SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE:
        if (!lock_exclusive(l->shm, bits))
            return SQLITE_BUSY;
        l->exclusive |= slots;
        return SQLITE_OK;
    case SQLITE_SHM_UNLOCK | SQLITE_SHM_SHARED:
        if (l->shared & slots)
            atomic_fetch_sub(&l->shm->locks, share_of(first));
        l->shared &= (uint8_t)~slots;
        return SQLITE_OK;
    default:
        if (l->exclusive & slots)
            atomic_fetch_and(&l->shm->locks, ~bits);
        l->exclusive &= (uint8_t)~slots;
        return SQLITE_OK;
    }
}

/* The builtin, because ThreadSanitizer knows no fences and the compiler would say so. */
void shm_barrier(void)
{
    __sync_synchronize();
}
