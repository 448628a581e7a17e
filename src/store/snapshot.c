/* SPDX-License-Identifier: MIT */
#include "store/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/report.h"
#include "store/internal.h"
#include "store/pace.h"
#include "store/schema.h"
#include "store/snapshot_dir.h"
#include "store/vfs.h"

enum { PIECE_PAGES = PACE_PIECE_BYTES / VFS_PAGE_BYTES };

/* SQLite's own: 1 is a rollback journal, 2 a write-ahead log, which nobody may leave beside it. */
enum { HEADER_WRITE_VERSION_AT = 18, HEADER_READ_VERSION_AT = 19, HEADER_ROLLBACK = 1 };

/* ---- Taking one ---- */

/* Syncs what the piece wrote, then leaves the disk to the log for as long as that took. */
static int rest(int fd, uint64_t since_us)
{
    if (fdatasync(fd) < 0)
        return -errno;
    pace_rest(since_us);
    return 0;
}

/* Why the copy ends before its time: -ECANCELED, or -EAGAIN because another state comes. */
static int must_end(struct store *s, const atomic_bool *cancel)
{
    if (*cancel)
        return -ECANCELED;
    return s->installing ? -EAGAIN : 0;
}

static int copy_pages(struct store *s, sqlite3 *to, sqlite3 *from, int fd,
                      const atomic_bool *cancel)
{
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
    if (!backup)
        return sql_errno(sqlite3_extended_errcode(to));
    int rc = SQLITE_OK, status = 0;
    while (rc == SQLITE_OK && status == 0) {
        uint64_t since_us = clock_mono_us();
        rc = sqlite3_backup_step(backup, PIECE_PAGES);
        if (rc == SQLITE_OK)
            status = must_end(s, cancel);
        if (rc == SQLITE_OK && status == 0)
            status = rest(fd, since_us);
    }
    int end = sqlite3_backup_finish(backup);
    if (status == 0 && rc != SQLITE_DONE)
        status = sql_errno(rc);
    return status == 0 && end != SQLITE_OK ? sql_errno(end) : status;
}

/* Copies inside the read transaction that `from` is in. */
static int copy(struct store *s, struct sql *from, const char *path, int fd,
                const atomic_bool *cancel)
{
    struct sql to;
    int status = sql_open(&to, path, SQLITE_OPEN_READWRITE);
    if (status < 0)
        return status;
    status = sql_exec(&to, "PRAGMA journal_mode=OFF");
    if (status == 0)
        status = sql_exec(&to, "PRAGMA synchronous=OFF");
    if (status == 0)
        status = copy_pages(s, to.db, from->db, fd, cancel);
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
    return 0;
}

/*
 * The copy belongs to no data directory, and gets an id. It has no reader yet and is nothing until
 * it is renamed: no journal.
 */
static int label(const char *path, struct snapshot *out)
{
    struct sql sql;
    while (out->id == 0)
        if (getrandom(&out->id, sizeof(out->id), 0) != sizeof(out->id))
            return -EIO;
    int status = sql_open(&sql, path, SQLITE_OPEN_READWRITE);
    if (status < 0)
        return status;
    status = sql_exec(&sql, "PRAGMA journal_mode=OFF");
    if (status == 0)
        status = sql_exec(&sql, "PRAGMA synchronous=OFF");
    if (status == 0)
        status = schema_make_snapshot(&sql, out->id);
    sql_close(&sql);
    return status;
}

/* One whole state of the store into the file that is open as `fd`. */
static int copy_state(struct store *s, const char *path, int fd, const atomic_bool *cancel,
                      struct snapshot *out)
{
    struct sql from;
    struct store_state state = {0};
    int status = sql_open(&from, s->path, SQLITE_OPEN_READONLY);
    if (status < 0)
        return status;
    sql_begin(&from, false);
    tree_load_state(&from, &state);
    *out = (struct snapshot){.term = state.applied_term, .index = state.applied_index};
    status = copy(s, &from, path, fd, cancel);
    int end = sql_end(&from);
    sql_close(&from);
    return status ? status : end;
}

static int make_new(struct store *s, const char *path, const atomic_bool *cancel,
                    struct snapshot *out)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int status = copy_state(s, path, fd, cancel, out);
    if (status == 0)
        status = forget_wal(fd);
    if (status == 0)
        status = label(path, out);
    if (status == 0 && fsync(fd) < 0)
        status = -errno;
    close(fd);
    return status;
}

int snapshot_take(struct store *s, const char *dir, const atomic_bool *cancel, struct snapshot *out)
{
    char path[SNAPSHOT_PATH_BYTES];
    int status;
    snapshot_path(path, dir, SNAPSHOT_NEW);
    do {
        store_begin_copying(s);
        status = batch_save(s);
        if (status == 0)
            status = make_new(s, path, cancel, out);
        store_end_copying(s);
    } while (status == -EAGAIN);
    if (status == 0)
        status = snapshot_publish(dir, SNAPSHOT_NEW, out);
    if (status < 0) {
        unlink(path);
        if (status != -ECANCELED)
            report_error("a snapshot cannot be taken in %s: %s. Make room or mend the disk; this "
                         "node goes on without it",
                         dir, strerror(-status));
    }
    return status;
}
