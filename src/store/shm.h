/* SPDX-License-Identifier: MIT */
/*
 * shm.h - the index of SQLite's write-ahead log and its locks, in this process's memory.
 *
 * SQLite's connections to one database find the newest pages through an index that they share. Its
 * own VFS keeps that in a mapped file, PATH-shm, and locks bytes of it by fcntl(2), so that other
 * processes may take part: four system calls for each read transaction. A store has one process,
 * so here the index is heap memory and a lock is an atomic operation.
 *
 * All other processes are kept out, and so is SQLite's own VFS in this one: they find the database
 * locked (SQLITE_BUSY) for as long as a connection has the index mapped.
 *
 * The functions are those of sqlite3_io_methods and give SQLite's result codes. Threads: a link as
 * its connection, one thread at a time; links to the same database, any.
 */
#ifndef RAFTFS_STORE_SHM_H
#define RAFTFS_STORE_SHM_H

#include <stdbool.h>
#include <stdint.h>

/* What one connection has of it. Zeroes: nothing. */
struct shm_link {
    struct shm *shm;
    uint8_t shared; /* the slots that it has locked, a bit each */
    uint8_t exclusive;
};

/*
 * Region `number` of the index, which stays where it is until the last connection unmaps it. There
 * always is one: where SQLite does not ask for a new one, zeroes tell it as little as nothing
 * would. The first call makes the link. SQLITE_IOERR_SHMLOCK: another process has the database
 * open; SQLITE_IOERR_SHMOPEN: PATH-shm cannot be made (reported).
 */
int shm_map(struct shm_link *l, const char *path, int number, int bytes, void volatile **out);

/* As xShmLock: never waits; a range of slots is locked whole or not at all. */
int shm_lock(struct shm_link *l, int first, int count, int flags);

void shm_barrier(void);

/* The connection holds no lock. Deletes PATH-shm with the last one's link, if `delete`. */
int shm_unmap(struct shm_link *l, bool delete);

#endif
