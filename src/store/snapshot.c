/* SPDX-License-Identifier: MIT */
#include "store/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/report.h"
#include "store/internal.h"
#include "store/vfs.h"

enum { PATH_BYTES = 4096, PIECE_PAGES = 128, MOST_LISTED = 64 };

/* SQLite's own: 1 is a rollback journal, 2 a write-ahead log, which nobody may leave beside it. */
enum { HEADER_WRITE_VERSION_AT = 18, HEADER_READ_VERSION_AT = 19, HEADER_ROLLBACK = 1 };

static void path_of(char path[PATH_BYTES], const char *dir, const char *name)
{
    snprintf(path, PATH_BYTES, "%s/%s", dir, name);
}

/* ---- What is there ---- */

/* Begins a read transaction and says what it shows; the caller ends it. */
static void begin_reading(struct sql *sql, struct snapshot *out)
{
    struct store_state state = {0};
    sql_begin(sql, false);
    tree_load_state(sql, &state);
    out->term = state.applied_term;
    out->index = state.applied_index;
}

static int look_at(const char *dir, const char *name, struct snapshot *out)
{
    char path[PATH_BYTES];
    struct sql sql;
    struct stat st;
    path_of(path, dir, name);
    *out = (struct snapshot){0};
    int status = stat(path, &st) < 0 ? -errno : sql_open(&sql, path, SQLITE_OPEN_READONLY);
    if (status < 0)
        return status;
    begin_reading(&sql, out);
    status = sql_end(&sql);
    sql_close(&sql);
    out->bytes = (uint64_t)st.st_size;
    out->made_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    snprintf(out->name, sizeof(out->name), "%s", name);
    return status;
}

static bool is_snapshot(const char *name)
{
    size_t n = strlen(name);
    return n > 3 && n < SNAPSHOT_NAME_BYTES && strcmp(name + n - 3, ".db") == 0;
}

static int newest_first(const void *a, const void *b)
{
    const struct snapshot *x = a, *y = b;
    return (x->index < y->index) - (x->index > y->index);
}

/* All that can be read, newest first: their number or a negative errno. */
static int list(const char *dir, struct snapshot out[MOST_LISTED])
{
    DIR *d = opendir(dir);
    if (!d)
        return -errno;
    int count = 0;
    for (struct dirent *e; count < MOST_LISTED && (e = readdir(d));) {
        if (!is_snapshot(e->d_name))
            continue;
        int status = look_at(dir, e->d_name, &out[count]);
        if (status == 0)
            count++;
        else
            report_warn("%s/%s cannot be read as a snapshot: %s; it is left alone, remove it", dir,
                        e->d_name, strerror(-status));
    }
    closedir(d);
    qsort(out, (size_t)count, sizeof(*out), newest_first);
    return count;
}

int snapshot_open_dir(const char *dir, struct snapshot out[SNAPSHOT_KEPT],
                      char why[STORE_WHY_BYTES])
{
    char path[PATH_BYTES];
    struct snapshot all[MOST_LISTED];
    path_of(path, dir, "new");
    int status = mkdir(dir, 0700) < 0 && errno != EEXIST ? -errno : 0;
    if (status == 0 && unlink(path) < 0 && errno != ENOENT)
        status = -errno;
    if (status == 0)
        status = list(dir, all);
    if (status < 0) {
        snprintf(why, STORE_WHY_BYTES, "%s cannot be used: %s; check its owner and mode", dir,
                 strerror(-status));
        return status;
    }
    int count = status < SNAPSHOT_KEPT ? status : SNAPSHOT_KEPT;
    memcpy(out, all, (size_t)count * sizeof(*out));
    return count;
}

/* ---- Taking one ---- */

/* Syncs what the piece wrote, then leaves the disk to the log for as long as that took. */
static int rest(int fd, uint64_t since_us)
{
    if (fdatasync(fd) < 0)
        return -errno;
    uint64_t took_us = clock_mono_us() - since_us;
    nanosleep(&(struct timespec){.tv_sec = (time_t)(took_us / 1000000),
                                 .tv_nsec = (long)(took_us % 1000000) * 1000},
              NULL);
    return 0;
}

static int copy_pages(sqlite3 *to, sqlite3 *from, int fd, const atomic_bool *cancel)
{
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
    if (!backup)
        return sql_errno(sqlite3_extended_errcode(to));
    int rc = SQLITE_OK, status = 0;
    while (rc == SQLITE_OK && status == 0) {
        uint64_t since_us = clock_mono_us();
        rc = sqlite3_backup_step(backup, PIECE_PAGES);
        if (rc == SQLITE_OK)
            status = *cancel ? -ECANCELED : rest(fd, since_us);
    }
    int end = sqlite3_backup_finish(backup);
    if (status == 0 && rc != SQLITE_DONE)
        status = sql_errno(rc);
    return status == 0 && end != SQLITE_OK ? sql_errno(end) : status;
}

/* Copies inside the read transaction that `from` is in. */
static int copy(struct sql *from, const char *path, int fd, const atomic_bool *cancel)
{
    struct sql to;
    int status = sql_open(&to, path, SQLITE_OPEN_READWRITE);
    if (status < 0)
        return status;
    status = sql_exec(&to, "PRAGMA journal_mode=OFF");
    if (status == 0)
        status = sql_exec(&to, "PRAGMA synchronous=OFF");
    if (status == 0)
        status = copy_pages(to.db, from->db, fd, cancel);
    sql_close(&to);
    return status;
}

/* The copied header says that there is a write-ahead log beside the file: there is none. */
static int forget_wal(int fd)
{
    uint8_t page[VFS_PAGE_BYTES];
    if (pread(fd, page, sizeof(page), 0) != (ssize_t)sizeof(page))
        return -EIO;
    page[HEADER_WRITE_VERSION_AT] = page[HEADER_READ_VERSION_AT] = HEADER_ROLLBACK;
    vfs_seal_page(page, 1);
    if (pwrite(fd, page, sizeof(page), 0) != (ssize_t)sizeof(page))
        return -EIO;
    return fsync(fd) < 0 ? -errno : 0;
}

static int make_new(struct store *s, const char *path, const atomic_bool *cancel,
                    struct snapshot *out)
{
    struct sql from;
    int status = sql_open(&from, s->path, SQLITE_OPEN_READONLY);
    if (status < 0)
        return status;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    status = fd < 0 ? -errno : 0;
    if (status == 0) {
        begin_reading(&from, out);
        status = copy(&from, path, fd, cancel);
        int end = sql_end(&from);
        status = status ? status : end;
    }
    if (status == 0)
        status = forget_wal(fd);
    if (fd >= 0)
        close(fd);
    sql_close(&from);
    return status;
}

static void remove_old(const char *dir)
{
    char path[PATH_BYTES];
    struct snapshot all[MOST_LISTED];
    int count = list(dir, all);
    for (int i = SNAPSHOT_KEPT; i < count; i++) {
        path_of(path, dir, all[i].name);
        unlink(path);
    }
}

static int finish(const char *dir, const char *path, struct snapshot *out)
{
    char final[PATH_BYTES], name[SNAPSHOT_NAME_BYTES];
    snprintf(name, sizeof(name), "%" PRIu64 "-%" PRIu64 ".db", out->term, out->index);
    path_of(final, dir, name);
    if (rename(path, final) < 0)
        return -errno;
    int status = file_sync_dir(dir);
    if (status < 0)
        return status;
    remove_old(dir);
    return look_at(dir, name, out);
}

int snapshot_take(struct store *s, const char *dir, const atomic_bool *cancel, struct snapshot *out)
{
    char path[PATH_BYTES];
    path_of(path, dir, "new");
    checkpoint_hold(s->checkpoint, true);
    int status = make_new(s, path, cancel, out);
    checkpoint_hold(s->checkpoint, false);
    if (status == 0)
        status = finish(dir, path, out);
    if (status < 0) {
        unlink(path);
        if (status != -ECANCELED)
            report_error("a snapshot cannot be taken in %s: %s. Make room or mend the disk; this "
                         "node goes on without it",
                         dir, strerror(-status));
    }
    return status;
}
