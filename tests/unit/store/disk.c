/* SPDX-License-Identifier: MIT */
#include "disk.h"

#include <assert.h>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_FDS = 256, MOST_FILES = 64, PATH_BYTES = 256, SECTOR_BYTES = 512, WRITE_BYTES = 4096 };

enum step_kind {
    STEP_WRITE,
    STEP_CUT,
    STEP_SYNC,
    STEP_LINK,
    STEP_UNLINK,
    STEP_RENAME,
    STEP_SYNC_DIR
};

struct step {
    enum step_kind kind;
    int file;
    size_t offset; /* CUT: the size */
    size_t bytes;
    uint8_t *data;
    char path[PATH_BYTES]; /* below the directory; SYNC_DIR: of the directory, "" for the top */
    char to[PATH_BYTES];
    unsigned synced_at; /* the later step that makes it durable */
};

struct name {
    char path[PATH_BYTES];
    int file; /* -1: free */
};

struct content {
    uint8_t *data;
    size_t bytes;
};

/* What a disk holds, or would hold if all were synced. */
struct disk {
    struct name names[MOST_FILES];
    struct content files[MOST_FILES];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool recording;
static char top[PATH_BYTES];
static struct step *steps;
static unsigned step_count, step_room;
static struct disk base; /* at the start; files made later are empty in it */
static struct name current[MOST_FILES];
static int file_count;
static struct {
    int file; /* -1: not ours, -2: a directory */
    char path[PATH_BYTES];
} fds[MOST_FDS];

/* ---- Disks ---- */

static struct name *find(struct name names[MOST_FILES], const char *path)
{
    for (int i = 0; i < MOST_FILES; i++)
        if (names[i].file >= 0 && strcmp(names[i].path, path) == 0)
            return &names[i];
    return NULL;
}

static void set_name(struct name names[MOST_FILES], const char *path, int file)
{
    struct name *at = find(names, path);
    for (int i = 0; !at && i < MOST_FILES; i++)
        if (names[i].file < 0)
            at = &names[i];
    assert(at);
    snprintf(at->path, sizeof(at->path), "%s", path);
    at->file = file;
}

static void resize(struct content *c, size_t bytes)
{
    c->data = realloc(c->data, bytes + 1);
    if (bytes > c->bytes)
        memset(c->data + c->bytes, 0, bytes - c->bytes);
    c->bytes = bytes;
}

static void put(struct content *c, size_t offset, const uint8_t *data, size_t bytes)
{
    if (c->bytes < offset + bytes)
        resize(c, offset + bytes);
    if (bytes > 0)
        memcpy(c->data + offset, data, bytes);
}

static void do_step(struct disk *d, const struct step *s)
{
    switch (s->kind) {
    case STEP_WRITE:
        put(&d->files[s->file], s->offset, s->data, s->bytes);
        break;
    case STEP_CUT:
        resize(&d->files[s->file], s->offset);
        break;
    case STEP_LINK:
        set_name(d->names, s->path, s->file);
        break;
    case STEP_UNLINK:
        if (find(d->names, s->path))
            find(d->names, s->path)->file = -1;
        break;
    case STEP_RENAME:
        if (find(d->names, s->path)) {
            int file = find(d->names, s->path)->file;
            find(d->names, s->path)->file = -1;
            set_name(d->names, s->to, file);
        }
        break;
    case STEP_SYNC:
    case STEP_SYNC_DIR:
        break;
    }
}

static bool is_name(const struct step *s)
{
    return s->kind == STEP_LINK || s->kind == STEP_UNLINK || s->kind == STEP_RENAME;
}

static bool is_in(const char *path, const char *dir)
{
    const char *slash = strrchr(path, '/');
    size_t bytes = slash ? (size_t)(slash - path) : 0;
    return strlen(dir) == bytes && memcmp(path, dir, bytes) == 0;
}

static bool syncs(const struct step *later, const struct step *s)
{
    if (is_name(s))
        return later->kind == STEP_SYNC_DIR && is_in(s->path, later->path);
    return later->kind == STEP_SYNC && later->file == s->file;
}

static void find_syncs(void)
{
    for (unsigned i = 0; i < step_count; i++) {
        unsigned at = i + 1;
        while (at < step_count && !syncs(&steps[at], &steps[i]))
            at++;
        steps[i].synced_at = at;
    }
}

static uint64_t seed;

static unsigned draw(unsigned below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed % below);
}

/* What a power cut leaves of a write: any of its sectors. */
static void scatter(struct disk *d, const struct step *s, unsigned tenths)
{
    size_t at = s->offset, end = s->offset + s->bytes;
    while (at < end) {
        size_t stop = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
        stop = stop < end ? stop : end;
        if (draw(10) < tenths)
            put(&d->files[s->file], at, s->data + (at - s->offset), stop - at);
        at = stop;
    }
}

static void crash(struct disk *d, unsigned end, enum disk_crash how)
{
    unsigned tenths = 1 + 4 * draw(3);
    bool names_kept = true;
    for (unsigned i = 0; i < end; i++) {
        const struct step *s = &steps[i];
        if (how == DISK_KILLED || s->synced_at < end || (how == DISK_NAMES && is_name(s)))
            do_step(d, s);
        else if (how == DISK_SCATTERED && s->kind == STEP_WRITE)
            scatter(d, s, tenths);
        else if (how == DISK_SCATTERED && is_name(s) && (names_kept &= draw(10) < tenths))
            do_step(d, s);
        else if (how == DISK_SCATTERED && s->kind == STEP_CUT && draw(10) < tenths)
            do_step(d, s);
    }
}

static void write_out(const struct disk *d, const char *to)
{
    for (int i = 0; i < MOST_FILES; i++) {
        const struct name *n = &d->names[i];
        if (n->file < 0)
            continue;
        char path[2 * PATH_BYTES];
        snprintf(path, sizeof(path), "%s/%s", to, n->path);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        const struct content *c = &d->files[n->file];
        if (fd < 0 || (c->bytes && pwrite(fd, c->data, c->bytes, 0) != (ssize_t)c->bytes))
            abort();
        close(fd);
    }
}

void disk_image(unsigned end, enum disk_crash how, const char *to)
{
    struct disk d = base;
    for (int i = 0; i < MOST_FILES; i++) {
        d.files[i] = (struct content){0};
        put(&d.files[i], 0, base.files[i].data, base.files[i].bytes);
    }
    seed = (uint64_t)end * 4 + how + 88172645463325252u;
    crash(&d, end, how);
    write_out(&d, to);
    for (int i = 0; i < MOST_FILES; i++)
        free(d.files[i].data);
}

/* ---- Recording ---- */

unsigned disk_steps(void)
{
    pthread_mutex_lock(&lock);
    unsigned n = step_count;
    pthread_mutex_unlock(&lock);
    return n;
}

bool disk_step_is_special(unsigned step)
{
    return steps[step].kind != STEP_WRITE;
}

/* Under the lock. */
static struct step *add(enum step_kind kind)
{
    if (step_count == step_room) {
        step_room = step_room ? 2 * step_room : 1024;
        steps = realloc(steps, step_room * sizeof(*steps));
    }
    steps[step_count] = (struct step){.kind = kind};
    return &steps[step_count++];
}

/* The path below the recorded directory; NULL if it is of no interest. */
static const char *below(const char *path)
{
    size_t n = strlen(top), bytes = strlen(path);
    if (strncmp(path, top, n) != 0 || (path[n] != '/' && path[n] != '\0'))
        return NULL;
    if (strstr(path + n, "/orphans") || (bytes > 4 && strcmp(path + bytes - 4, "-shm") == 0))
        return NULL;
    return path[n] ? path + n + 1 : "";
}

static void load(const char *dir)
{
    char path[2 * PATH_BYTES];
    snprintf(path, sizeof(path), "%s/%s", top, dir);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        char name[PATH_BYTES];
        snprintf(name, sizeof(name), "%s%s%s", dir, *dir ? "/" : "", e->d_name);
        snprintf(path, sizeof(path), "%s/%s", top, name);
        if (e->d_name[0] == '.' || stat(path, &st) < 0 || !below(path))
            continue;
        if (S_ISDIR(st.st_mode)) {
            load(name);
            continue;
        }
        struct content *c = &base.files[file_count];
        resize(c, (size_t)st.st_size);
        int fd = open(path, O_RDONLY);
        if (pread(fd, c->data, c->bytes, 0) != (ssize_t)c->bytes)
            abort();
        close(fd);
        set_name(base.names, name, file_count++);
    }
    closedir(d);
}

void disk_record(const char *dir)
{
    disk_forget();
    snprintf(top, sizeof(top), "%s", dir);
    for (int i = 0; i < MOST_FILES; i++)
        base.names[i].file = -1;
    for (int i = 0; i < MOST_FDS; i++)
        fds[i].file = -1;
    load("");
    memcpy(current, base.names, sizeof(current));
    recording = true;
}

void disk_stop(void)
{
    pthread_mutex_lock(&lock);
    recording = false;
    find_syncs();
    pthread_mutex_unlock(&lock);
}

void disk_forget(void)
{
    for (unsigned i = 0; i < step_count; i++)
        free(steps[i].data);
    free(steps);
    steps = NULL;
    step_count = step_room = 0;
    for (int i = 0; i < MOST_FILES; i++)
        free(base.files[i].data);
    memset(base.files, 0, sizeof(base.files));
    file_count = 0;
}

/* ---- In front of the C library ---- */

/* With large files the headers give some of these functions the names with 64. */
#define REAL(type, name) ((type)dlsym(RTLD_NEXT, name))

typedef int open_fn(const char *, int, ...);
typedef int close_fn(int);
typedef ssize_t pwrite_fn(int, const void *, size_t, off_t);
typedef int ftruncate_fn(int, off_t);
typedef int unlink_fn(const char *);
typedef int rename_fn(const char *, const char *);

static void opened(int fd, const char *path, int flags)
{
    struct stat st;
    const char *name = recording ? below(path) : NULL;
    if (!name || fd < 0 || fd >= MOST_FDS || fstat(fd, &st) < 0)
        return;
    snprintf(fds[fd].path, sizeof(fds[fd].path), "%s", name);
    if (S_ISDIR(st.st_mode)) {
        fds[fd].file = -2;
        return;
    }
    struct name *known = find(current, name);
    if (!known) {
        assert(file_count < MOST_FILES);
        struct step *s = add(STEP_LINK);
        s->file = file_count;
        snprintf(s->path, sizeof(s->path), "%s", name);
        set_name(current, name, file_count++);
        known = find(current, name);
    } else if (flags & O_TRUNC) {
        add(STEP_CUT)->file = known->file;
    }
    fds[fd].file = known->file;
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    pthread_mutex_lock(&lock);
    int fd = REAL(open_fn *, "open64")(path, flags, mode);
    opened(fd, path, flags);
    pthread_mutex_unlock(&lock);
    return fd;
}

int close(int fd)
{
    pthread_mutex_lock(&lock);
    if (fd >= 0 && fd < MOST_FDS)
        fds[fd].file = -1;
    int rc = REAL(close_fn *, "close")(fd);
    pthread_mutex_unlock(&lock);
    return rc;
}

static bool is_ours(int fd)
{
    return recording && fd >= 0 && fd < MOST_FDS && fds[fd].file >= 0;
}

static void written(int file, const uint8_t *data, size_t bytes, size_t offset)
{
    struct step *s = add(STEP_WRITE);
    s->file = file;
    s->offset = offset;
    s->bytes = bytes;
    s->data = malloc(bytes);
    memcpy(s->data, data, bytes);
}

/* A process can die within a call: a long one is several steps. */
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    pthread_mutex_lock(&lock);
    ssize_t n = REAL(pwrite_fn *, "pwrite64")(fd, data, bytes, offset);
    for (size_t at = 0; n > 0 && is_ours(fd) && at < (size_t)n; at += WRITE_BYTES) {
        size_t left = (size_t)n - at;
        written(fds[fd].file, (const uint8_t *)data + at, left < WRITE_BYTES ? left : WRITE_BYTES,
                (size_t)offset + at);
    }
    pthread_mutex_unlock(&lock);
    return n;
}

int ftruncate(int fd, off_t bytes)
{
    pthread_mutex_lock(&lock);
    int rc = REAL(ftruncate_fn *, "ftruncate64")(fd, bytes);
    if (rc == 0 && is_ours(fd)) {
        struct step *s = add(STEP_CUT);
        s->file = fds[fd].file;
        s->offset = (size_t)bytes;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

static int synced(int fd)
{
    pthread_mutex_lock(&lock);
    if (is_ours(fd)) {
        add(STEP_SYNC)->file = fds[fd].file;
    } else if (recording && fd >= 0 && fd < MOST_FDS && fds[fd].file == -2) {
        struct step *s = add(STEP_SYNC_DIR);
        snprintf(s->path, sizeof(s->path), "%s", fds[fd].path);
    }
    pthread_mutex_unlock(&lock);
    return 0;
}

int fsync(int fd)
{
    return synced(fd);
}

int fdatasync(int fd)
{
    return synced(fd);
}

int unlink(const char *path)
{
    pthread_mutex_lock(&lock);
    int rc = REAL(unlink_fn *, "unlink")(path);
    const char *name = rc == 0 && recording ? below(path) : NULL;
    if (name && find(current, name)) {
        snprintf(add(STEP_UNLINK)->path, PATH_BYTES, "%s", name);
        find(current, name)->file = -1;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

int rename(const char *from, const char *to)
{
    pthread_mutex_lock(&lock);
    int rc = REAL(rename_fn *, "rename")(from, to);
    const char *old = rc == 0 && recording ? below(from) : NULL;
    if (old && find(current, old)) {
        int file = find(current, old)->file;
        struct step *s = add(STEP_RENAME);
        snprintf(s->path, sizeof(s->path), "%s", old);
        snprintf(s->to, sizeof(s->to), "%s", below(to));
        find(current, old)->file = -1;
        set_name(current, s->to, file);
    }
    pthread_mutex_unlock(&lock);
    return rc;
}
