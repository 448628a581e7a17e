/* SPDX-License-Identifier: MIT */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/memory.h"

int __real_open64(const char *path, int flags, ...);
int __real_fallocate64(int fd, int mode, off_t offset, off_t bytes);
ssize_t __real_pwrite64(int fd, const void *data, size_t bytes, off_t offset);
int __real_statvfs64(const char *path, struct statvfs *out);
int __real_unlink(const char *path);
int __real_rename(const char *from, const char *to);
int __real_fsync(int fd);
int __real_fdatasync(int fd);

int __wrap_open64(const char *path, int flags, ...);
int __wrap_fallocate64(int fd, int mode, off_t offset, off_t bytes);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t bytes, off_t offset);
int __wrap_statvfs64(const char *path, struct statvfs *out);
int __wrap_unlink(const char *path);
int __wrap_rename(const char *from, const char *to);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);

static struct {
    pthread_mutex_t lock;
    enum disk_kind kind;
    uint32_t room;
    uint64_t changes;
    uint32_t most_bytes; /* of a write */
    uint64_t failures;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER, .room = UINT32_MAX, .most_bytes = UINT32_MAX};

void disk_set_room(enum disk_kind kind, uint32_t files)
{
    pthread_mutex_lock(&disk.lock);
    disk.kind = kind;
    disk.room = files;
    pthread_mutex_unlock(&disk.lock);
}

void disk_fail_writes(uint32_t bytes)
{
    pthread_mutex_lock(&disk.lock);
    disk.most_bytes = bytes;
    disk.failures = 0;
    pthread_mutex_unlock(&disk.lock);
}

uint64_t disk_failures(void)
{
    pthread_mutex_lock(&disk.lock);
    uint64_t failures = disk.failures;
    pthread_mutex_unlock(&disk.lock);
    return failures;
}

static bool fails(size_t bytes)
{
    pthread_mutex_lock(&disk.lock);
    bool yes = bytes > disk.most_bytes;
    disk.failures += yes;
    pthread_mutex_unlock(&disk.lock);
    return yes;
}

uint64_t disk_changes(void)
{
    pthread_mutex_lock(&disk.lock);
    uint64_t changes = disk.changes;
    pthread_mutex_unlock(&disk.lock);
    return changes;
}

/* Takes room for a file if there is any. */
static bool take_room(void)
{
    pthread_mutex_lock(&disk.lock);
    bool taken = disk.room > 0;
    if (taken && disk.room != UINT32_MAX)
        disk.room--;
    disk.changes++;
    pthread_mutex_unlock(&disk.lock);
    return taken;
}

static enum disk_kind kind_now(bool *room)
{
    pthread_mutex_lock(&disk.lock);
    enum disk_kind kind = disk.kind;
    *room = disk.room > 0;
    pthread_mutex_unlock(&disk.lock);
    return kind;
}

static void count_change(bool frees)
{
    pthread_mutex_lock(&disk.lock);
    disk.changes++;
    if (frees && disk.room != UINT32_MAX)
        disk.room++;
    pthread_mutex_unlock(&disk.lock);
}

/* ---- Steps ---- */

enum { MAX_FDS = 1024, NO_FILE = -1, THE_DIR = -2 };

static struct {
    pthread_mutex_t lock; /* held during a call, too: steps are in the order of their effects */
    char dir[256];        /* "": nothing is recorded */
    struct disk_name names[DISK_MAX_NAMES];
    uint32_t name_count;
    uint32_t next_file;
    int64_t fds[MAX_FDS];
    struct disk_step *steps;
    uint32_t count;
    uint32_t capacity;
} tape = {.lock = PTHREAD_MUTEX_INITIALIZER};

void disk_record(const char *dir, const struct disk_name *names, uint32_t count)
{
    pthread_mutex_lock(&tape.lock);
    snprintf(tape.dir, sizeof(tape.dir), "%s", dir);
    tape.name_count = count;
    tape.next_file = 0;
    for (uint32_t i = 0; i < count; i++) {
        tape.names[i] = names[i];
        if (names[i].file >= tape.next_file)
            tape.next_file = names[i].file + 1;
    }
    for (uint32_t i = 0; i < MAX_FDS; i++)
        tape.fds[i] = NO_FILE;
    pthread_mutex_unlock(&tape.lock);
}

static void add_step(const struct disk_step *step)
{
    if (tape.count == tape.capacity) {
        tape.capacity = tape.capacity ? 2 * tape.capacity : 256;
        tape.steps = memory_realloc(tape.steps, tape.capacity * sizeof(*tape.steps));
    }
    tape.steps[tape.count++] = *step;
}

void disk_note(uint32_t kind, uint64_t note)
{
    pthread_mutex_lock(&tape.lock);
    if (tape.dir[0])
        add_step(&(struct disk_step){.kind = DISK_NOTE, .note_kind = kind, .note = note});
    pthread_mutex_unlock(&tape.lock);
}

struct disk_step *disk_recorded(uint32_t *count)
{
    pthread_mutex_lock(&tape.lock);
    struct disk_step *steps = tape.steps;
    *count = tape.count;
    tape.steps = NULL;
    tape.count = tape.capacity = 0;
    tape.dir[0] = '\0';
    pthread_mutex_unlock(&tape.lock);
    return steps;
}

void disk_free(struct disk_step *steps, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        memory_free(steps[i].data);
    memory_free(steps);
}

/* The name within the directory that is recorded, or NULL. */
static const char *name_in_dir(const char *path)
{
    size_t n = strlen(tape.dir);
    if (n == 0 || strncmp(path, tape.dir, n) != 0 || path[n] != '/')
        return NULL;
    return path + n + 1;
}

static struct disk_name *find_name(const char *name)
{
    for (uint32_t i = 0; i < tape.name_count; i++)
        if (strcmp(tape.names[i].name, name) == 0)
            return &tape.names[i];
    return NULL;
}

static void set_name(const char *name, uint32_t file)
{
    struct disk_name *n = find_name(name);
    if (!n)
        n = &tape.names[tape.name_count++];
    snprintf(n->name, sizeof(n->name), "%s", name);
    n->file = file;
}

static void drop_name(const char *name)
{
    struct disk_name *n = find_name(name);
    if (n)
        *n = tape.names[--tape.name_count];
}

static void record_open(const char *path, int flags, int fd)
{
    const char *name = name_in_dir(path);
    if (fd < 0 || fd >= MAX_FDS)
        return;
    tape.fds[fd] = tape.dir[0] && strcmp(path, tape.dir) == 0 ? THE_DIR : NO_FILE;
    if (!name)
        return;
    if (flags & O_CREAT) {
        struct disk_step step = {.kind = DISK_CREATE, .file = tape.next_file++};
        snprintf(step.name, sizeof(step.name), "%s", name);
        add_step(&step);
        set_name(name, step.file);
    }
    struct disk_name *n = find_name(name);
    if (n)
        tape.fds[fd] = n->file;
}

static int64_t file_of(int fd)
{
    return tape.dir[0] && fd >= 0 && fd < MAX_FDS ? tape.fds[fd] : NO_FILE;
}

static void record_sync(int fd)
{
    int64_t file = file_of(fd);
    if (file == THE_DIR)
        add_step(&(struct disk_step){.kind = DISK_SYNC_DIR});
    else if (file >= 0)
        add_step(&(struct disk_step){.kind = DISK_SYNC, .file = (uint32_t)file});
}

static void record_write(int fd, const void *data, size_t bytes, off_t offset)
{
    int64_t file = file_of(fd);
    if (file < 0)
        return;
    struct disk_step step = {.kind = DISK_WRITE,
                             .file = (uint32_t)file,
                             .offset = (uint64_t)offset,
                             .bytes = (uint32_t)bytes,
                             .data = memory_alloc(bytes)};
    memcpy(step.data, data, bytes);
    add_step(&step);
}

static void record_names(enum disk_step_kind kind, const char *from, const char *to)
{
    const char *name = name_in_dir(from), *other = to ? name_in_dir(to) : NULL;
    struct disk_name *n = name ? find_name(name) : NULL;
    if (!n)
        return;
    struct disk_step step = {.kind = kind};
    uint32_t file = n->file;
    snprintf(step.name, sizeof(step.name), "%s", name);
    drop_name(name);
    if (other) {
        snprintf(step.to, sizeof(step.to), "%s", other);
        set_name(other, file);
    }
    add_step(&step);
}

/* ---- Calls ---- */

int __wrap_open64(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (flags & O_CREAT)
        count_change(false);
    pthread_mutex_lock(&tape.lock);
    int fd = __real_open64(path, flags, mode);
    record_open(path, flags, fd);
    pthread_mutex_unlock(&tape.lock);
    return fd;
}

int __wrap_statvfs64(const char *path, struct statvfs *out)
{
    bool room;
    int status = __real_statvfs64(path, out);
    if (kind_now(&room) == DISK_PLAIN && !room)
        out->f_bfree = out->f_bavail = 0;
    return status;
}

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t bytes)
{
    bool room;
    if (kind_now(&room) == DISK_NO_ALLOCATE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    if (take_room())
        return __real_fallocate64(fd, mode, offset, bytes);
    errno = kind_now(&room) == DISK_QUOTA ? EDQUOT : ENOSPC;
    return -1;
}

ssize_t __wrap_pwrite64(int fd, const void *data, size_t bytes, off_t offset)
{
    bool room;
    if (kind_now(&room) == DISK_NO_ALLOCATE && lseek(fd, 0, SEEK_END) == 0 && !take_room()) {
        errno = ENOSPC;
        return -1;
    }
    if (fails(bytes)) {
        errno = EIO;
        return -1;
    }
    count_change(false);
    pthread_mutex_lock(&tape.lock);
    ssize_t n = __real_pwrite64(fd, data, bytes, offset);
    if (n > 0)
        record_write(fd, data, (size_t)n, offset);
    pthread_mutex_unlock(&tape.lock);
    return n;
}

int __wrap_fsync(int fd)
{
    pthread_mutex_lock(&tape.lock);
    int status = __real_fsync(fd);
    record_sync(fd);
    pthread_mutex_unlock(&tape.lock);
    return status;
}

int __wrap_fdatasync(int fd)
{
    pthread_mutex_lock(&tape.lock);
    int status = __real_fdatasync(fd);
    record_sync(fd);
    pthread_mutex_unlock(&tape.lock);
    return status;
}

int __wrap_unlink(const char *path)
{
    pthread_mutex_lock(&tape.lock);
    int status = __real_unlink(path);
    if (status == 0)
        record_names(DISK_UNLINK, path, NULL);
    pthread_mutex_unlock(&tape.lock);
    if (status == 0)
        count_change(strstr(path, ".seg") != NULL);
    return status;
}

int __wrap_rename(const char *from, const char *to)
{
    count_change(false);
    pthread_mutex_lock(&tape.lock);
    int status = __real_rename(from, to);
    if (status == 0)
        record_names(DISK_RENAME, from, to);
    pthread_mutex_unlock(&tape.lock);
    return status;
}
