/* SPDX-License-Identifier: MIT */
/*
 * disk.h - the disk under the log, by way of the system calls that the log makes (linked with
 * --wrap): it can be full, counts what is written to it, and remembers each step, so that a test
 * can tell what a crash before any of them leaves. Any thread.
 */
#ifndef RAFTFS_TESTS_LOG_DISK_H
#define RAFTFS_TESTS_LOG_DISK_H

#include <stdint.h>

enum disk_kind {
    DISK_PLAIN = 0,   /* says how much room there is */
    DISK_QUOTA,       /* says there is room, and refuses to allocate */
    DISK_NO_ALLOCATE, /* cannot allocate: a write finds out */
};

/* So many more files can be made as files are removed; UINT32_MAX: as many as one likes. */
void disk_set_room(enum disk_kind kind, uint32_t files);

/* From now on writes of more than so many bytes fail with EIO. UINT32_MAX: none does. */
void disk_fail_writes(uint32_t bytes);

/* How many did. */
uint64_t disk_failures(void);

/* System calls that change the disk, since the process started. */
uint64_t disk_changes(void);

/* ---- Steps ---- */

enum {
    DISK_NAME_BYTES = 32,
    DISK_MAX_NAMES = 64,
};

enum disk_step_kind {
    DISK_CREATE, /* `name`, a new and empty file */
    DISK_WRITE,
    DISK_SYNC,
    DISK_RENAME, /* `name` to `to` */
    DISK_UNLINK, /* `name` */
    DISK_SYNC_DIR,
    DISK_NOTE, /* of the test */
};

struct disk_step {
    enum disk_step_kind kind;
    uint32_t file; /* CREATE, WRITE, SYNC; its number stays when its name changes */
    char name[DISK_NAME_BYTES];
    char to[DISK_NAME_BYTES];
    uint64_t offset;
    uint32_t bytes;
    uint8_t *data; /* WRITE */
    uint32_t note_kind;
    uint64_t note;
};

struct disk_name {
    char name[DISK_NAME_BYTES];
    uint32_t file;
};

/* From now on remembers what is done in this directory, which holds these files. */
void disk_record(const char *dir, const struct disk_name *names, uint32_t count);

void disk_note(uint32_t kind, uint64_t note);

/* Ends that: the steps, in the order in which they were done. disk_free() gives them back. */
struct disk_step *disk_recorded(uint32_t *count);
void disk_free(struct disk_step *steps, uint32_t count);

#endif
