/* SPDX-License-Identifier: MIT */
/*
 * The last 8 bytes of a page are XXH3-64 over its other bytes, seeded with its page number: a
 * flipped bit, a page of zeroes and a page written to the wrong place are all told from a good one.
 *
 * Checksums are made when a page is written to the database file (by the checkpoint, and when the
 * file is created) and checked when it is read from there. SQLite reads and writes that file in
 * whole pages, but for a few bytes of the header that it peeks at; those it reads again with page
 * one. Pages on their way through the write-ahead log bear no checksum of ours, since SQLite has
 * summed up their frames before the VFS sees them; SQLite's own are checked (wal.h). The frames of
 * one transaction are written together (gather.h).
 *
 * All other files go straight through.
 */
#include "store/vfs.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/report.h"
#include "store/gather.h"
#include "store/pace.h"
#include "store/shm.h"
#include "store/wal.h"

struct vfs_file {
    sqlite3_file base;
    const char *path;     /* SQLite's own; lives as long as the file */
    sqlite3_file *system; /* stands right behind this struct */
    bool blind;
    const atomic_bool *hurry; /* NULL: not paced */
    int unsynced_bytes;       /* while paced */
    struct shm_link shm;
    struct wal_watch wal;
    struct gather gather; /* of the write-ahead log's */
};

/* Numbers of our own for xFileControl; SQLite leaves those above 100 to applications. */
enum { CONTROL_BLIND = 7401, CONTROL_PACE };

static sqlite3_vfs *system_vfs;

static uint64_t page_checksum(const uint8_t *page, uint64_t number)
{
    return XXH3_64bits_withSeed(page, VFS_PAGE_BYTES - VFS_RESERVED_BYTES, number);
}

static uint64_t page_number(sqlite3_int64 offset)
{
    return (uint64_t)offset / VFS_PAGE_BYTES + 1;
}

void vfs_seal_page(uint8_t page[VFS_PAGE_BYTES], uint64_t number)
{
    uint64_t sum = page_checksum(page, number);
    memcpy(page + VFS_PAGE_BYTES - VFS_RESERVED_BYTES, &sum, sizeof(sum));
}

/* SQLite's locks stand for the byte at 1 GiB, so it never writes the page that holds it. */
static bool is_never_written(const uint8_t page[VFS_PAGE_BYTES], uint64_t number)
{
    static const uint8_t zeroes[VFS_PAGE_BYTES];
    return number == VFS_LOCK_PAGE && memcmp(page, zeroes, VFS_PAGE_BYTES) == 0;
}

bool vfs_page_is_good(const uint8_t page[VFS_PAGE_BYTES], uint64_t number)
{
    uint64_t want;
    if (is_never_written(page, number))
        return true;
    memcpy(&want, page + VFS_PAGE_BYTES - VFS_RESERVED_BYTES, sizeof(want));
    return page_checksum(page, number) == want;
}

static bool is_page(int bytes, sqlite3_int64 offset)
{
    return bytes == VFS_PAGE_BYTES && offset % VFS_PAGE_BYTES == 0;
}

static sqlite3_file *system_of(sqlite3_file *file)
{
    return ((struct vfs_file *)file)->system;
}

static int file_read(sqlite3_file *file, void *out, int bytes, sqlite3_int64 offset)
{
    sqlite3_file *sys = system_of(file);
    if (((struct vfs_file *)file)->blind && is_page(bytes, offset) && offset > 0) {
        memset(out, 0, VFS_PAGE_BYTES);
        return SQLITE_OK;
    }
    int rc = sys->pMethods->xRead(sys, out, bytes, offset);
    if (rc != SQLITE_OK || !is_page(bytes, offset))
        return rc;
    if (vfs_page_is_good(out, page_number(offset)))
        return SQLITE_OK;
    report_error("%s: page %lld does not match its checksum; the disk has changed it",
                 ((struct vfs_file *)file)->path, (long long)page_number(offset));
    return SQLITE_IOERR_DATA;
}

/* After each written page: syncs what has come together, and rests. */
static int keep_pace(struct vfs_file *f)
{
    f->unsynced_bytes += VFS_PAGE_BYTES;
    if (f->unsynced_bytes < PACE_PIECE_BYTES || *f->hurry)
        return SQLITE_OK;
    uint64_t since_us = clock_mono_us();
    int rc = f->system->pMethods->xSync(f->system, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);
    f->unsynced_bytes = 0;
    pace_rest(since_us);
    return rc;
}

static int file_write(sqlite3_file *file, const void *data, int bytes, sqlite3_int64 offset)
{
    sqlite3_file *sys = system_of(file);
    if (!is_page(bytes, offset))
        return sys->pMethods->xWrite(sys, data, bytes, offset);
    uint8_t page[VFS_PAGE_BYTES];
    memcpy(page, data, VFS_PAGE_BYTES);
    vfs_seal_page(page, page_number(offset));
    int rc = sys->pMethods->xWrite(sys, page, bytes, offset);
    return rc == SQLITE_OK && ((struct vfs_file *)file)->hurry ? keep_pace((struct vfs_file *)file)
                                                               : rc;
}

static int file_close(sqlite3_file *file)
{
    sqlite3_file *sys = system_of(file);
    return sys->pMethods->xClose(sys);
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 bytes)
{
    sqlite3_file *sys = system_of(file);
    return sys->pMethods->xTruncate(sys, bytes);
}

static int file_sync(sqlite3_file *file, int flags)
{
    sqlite3_file *sys = system_of(file);
    return sys->pMethods->xSync(sys, flags);
}

static int file_size(sqlite3_file *file, sqlite3_int64 *bytes)
{
    sqlite3_file *sys = system_of(file);
    return sys->pMethods->xFileSize(sys, bytes);
}

static int file_lock(sqlite3_file *file, int level)
{
    sqlite3_file *sys = system_of(file);
    return sys->pMethods->xLock(sys, level);
}

static int file_unlock(sqlite3_file *file, int level)
{
    sqlite3_file *sys = system_of(file);
    return sys->pMethods->xUnlock(sys, level);
}

static int file_check_reserved_lock(sqlite3_file *file, int *taken)
{
    sqlite3_file *sys = system_of(file);
    return sys->pMethods->xCheckReservedLock(sys, taken);
}

static int file_control(sqlite3_file *file, int op, void *arg)
{
    struct vfs_file *f = (struct vfs_file *)file;
    switch (op) {
    case CONTROL_BLIND:
        f->blind = *(bool *)arg;
        return SQLITE_OK;
    case CONTROL_PACE:
        f->hurry = arg;
        f->unsynced_bytes = 0;
        return SQLITE_OK;
    default:
        return f->system->pMethods->xFileControl(f->system, op, arg);
    }
}

static int file_sector_size(sqlite3_file *file)
{
    sqlite3_file *sys = system_of(file);
    return sys->pMethods->xSectorSize(sys);
}

static int file_device_characteristics(sqlite3_file *file)
{
    sqlite3_file *sys = system_of(file);
    return sys->pMethods->xDeviceCharacteristics(sys);
}

static int file_shm_map(sqlite3_file *file, int region, int bytes, int extend, void volatile **out)
{
    struct vfs_file *f = (struct vfs_file *)file;
    (void)extend;
    return shm_map(&f->shm, f->path, region, bytes, out);
}

static int file_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    return shm_lock(&((struct vfs_file *)file)->shm, offset, n, flags);
}

static void file_shm_barrier(sqlite3_file *file)
{
    (void)file;
    shm_barrier();
}

static int file_shm_unmap(sqlite3_file *file, int delete)
{
    return shm_unmap(&((struct vfs_file *)file)->shm, delete);
}

/* Version 2: an index of the write-ahead log, but no mapped pages, which nobody could check. */
static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_reserved_lock,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_device_characteristics,
    .xShmMap = file_shm_map,
    .xShmLock = file_shm_lock,
    .xShmBarrier = file_shm_barrier,
    .xShmUnmap = file_shm_unmap,
};

/* ---- The write-ahead log ---- */

/* Before anything else is done with it. */
static int wal_flush(sqlite3_file *file)
{
    struct vfs_file *f = (struct vfs_file *)file;
    return gather_flush(&f->gather, f->system);
}

static int wal_read(sqlite3_file *file, void *out, int bytes, sqlite3_int64 offset)
{
    struct vfs_file *f = (struct vfs_file *)file;
    int64_t frame = wal_frame_of_page(bytes, offset);
    int rc = wal_flush(file);
    if (rc != SQLITE_OK)
        return rc;
    if (frame < 0 || f->blind || !wal_is_settled(&f->wal, frame))
        return f->system->pMethods->xRead(f->system, out, bytes, offset);
    rc = wal_read_page(f->system, frame, out);
    if (rc == SQLITE_IOERR_DATA)
        report_error("%s: frame %lld does not match its checksum; the disk has changed it. Stop "
                     "this node, move its data directory away and let it join again",
                     f->path, (long long)frame + 1);
    return rc;
}

static int wal_write(sqlite3_file *file, const void *data, int bytes, sqlite3_int64 offset)
{
    struct vfs_file *f = (struct vfs_file *)file;
    int rc = gather_write(&f->gather, f->system, data, bytes, offset);
    if (rc == SQLITE_OK)
        wal_watch_write(&f->wal, data, bytes, offset);
    return rc;
}

static int wal_close(sqlite3_file *file)
{
    gather_free(&((struct vfs_file *)file)->gather);
    return file_close(file);
}

static int wal_truncate(sqlite3_file *file, sqlite3_int64 bytes)
{
    int rc = wal_flush(file);
    return rc == SQLITE_OK ? file_truncate(file, bytes) : rc;
}

static int wal_sync(sqlite3_file *file, int flags)
{
    int rc = wal_flush(file);
    return rc == SQLITE_OK ? file_sync(file, flags) : rc;
}

static int wal_size(sqlite3_file *file, sqlite3_int64 *bytes)
{
    int rc = wal_flush(file);
    return rc == SQLITE_OK ? file_size(file, bytes) : rc;
}

static const sqlite3_io_methods wal_methods = {
    .iVersion = 1,
    .xClose = wal_close,
    .xRead = wal_read,
    .xWrite = wal_write,
    .xTruncate = wal_truncate,
    .xSync = wal_sync,
    .xFileSize = wal_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_reserved_lock,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_device_characteristics,
};

static int vfs_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags,
                    int *out_flags)
{
    (void)vfs;
    if (!(flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)))
        return system_vfs->xOpen(system_vfs, path, file, flags, out_flags);
    struct vfs_file *f = (struct vfs_file *)file;
    *f = (struct vfs_file){.path = path, .system = (sqlite3_file *)(f + 1)};
    int rc = system_vfs->xOpen(system_vfs, path, f->system, flags, out_flags);
    if (f->system->pMethods)
        f->base.pMethods = flags & SQLITE_OPEN_WAL ? &wal_methods : &methods;
    wal_watch_init(&f->wal);
    gather_init(&f->gather);
    return rc;
}

void vfs_set_blind(sqlite3 *db, bool on)
{
    sqlite3_file *wal = NULL;
    sqlite3_file_control(db, "main", CONTROL_BLIND, &on);
    sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal);
    if (wal && wal->pMethods)
        wal->pMethods->xFileControl(wal, CONTROL_BLIND, &on);
}

void vfs_set_pace(sqlite3 *db, const atomic_bool *hurry)
{
    sqlite3_file_control(db, "main", CONTROL_PACE, (void *)hurry);
}

static sqlite3_vfs checksum_vfs;
static int register_rc;

static void register_once(void)
{
    /* Its statistics, which nobody asks for, cost a lock for all threads at each allocation. */
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    system_vfs = sqlite3_vfs_find(NULL);
    if (!system_vfs) {
        register_rc = -EIO;
        return;
    }
    checksum_vfs = *system_vfs; /* everything but opening is the system's */
    checksum_vfs.zName = VFS_NAME;
    checksum_vfs.szOsFile = (int)sizeof(struct vfs_file) + system_vfs->szOsFile;
    checksum_vfs.xOpen = vfs_open;
    register_rc = sqlite3_vfs_register(&checksum_vfs, 0) == SQLITE_OK ? 0 : -EIO;
}

int vfs_register(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_once);
    return register_rc;
}
