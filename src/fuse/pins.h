/* SPDX-License-Identifier: MIT */
/*
 * pins.h - versions of small values, kept in memory for those who are reading them.
 *
 * `cat` reads until it is told end of file, in several read(2) calls, and must never print the head
 * of one value and the tail of the next. So a descriptor that reads at offset 0 pins what it finds
 * there, and goes on reading that until it has been told end of file. Descriptors that meet the
 * same version share one pin. All pins together hold at most PINS_MAX_BYTES; beyond that a view has
 * no copy, and a reader whose value changes half way gets ESTALE instead of a mixture.
 *
 * Threads: any. pins_..() lock for themselves; a view belongs to a descriptor and is locked with
 * the pins.
 */
#ifndef RAFTFS_FUSE_PINS_H
#define RAFTFS_FUSE_PINS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fuse/map.h"
#include "store/store.h"

enum {
    PINS_VALUE_BYTES = 1024 * 1024, /* the largest value that is read in one version */
    PINS_MAX_BYTES = 64 * 1024 * 1024,
};

struct pin;

struct pins {
    pthread_mutex_t lock;
    struct map map; /* by inode number */
    size_t bytes;
};

/* What a descriptor is looking at. All zero: nothing. */
struct view {
    bool active;
    uint64_t version;
    uint64_t size_bytes;
    struct pin *pin; /* NULL: there was no room */
};

void pins_init(struct pins *pins);
void pins_close(struct pins *pins);

/*
 * read(2) through `view`: up to `bytes` bytes at `offset` into `out`, their number in *got. 0, or a
 * negative errno of the store's.
 */
int pins_read(struct pins *pins, struct view *view, struct store *store, uint64_t ino,
              uint64_t offset, size_t bytes, void *out, size_t *got);

/* The descriptor is closed. */
void pins_drop(struct pins *pins, struct view *view);

#endif
