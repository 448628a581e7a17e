/* SPDX-License-Identifier: MIT */
/*
 * memory.h - heap memory that is there or the process is not.
 *
 * A replica that cannot allocate cannot keep its promises, and every path that pretends otherwise
 * is a path nobody tests. The limits elsewhere bound what is asked for; here running out ends the
 * process with a message, and the log brings it back. Any thread.
 */
#ifndef RAFTFS_BASE_MEMORY_H
#define RAFTFS_BASE_MEMORY_H

#include <stddef.h>

enum { MEMORY_PAGE_BYTES = 4096 };

/*
 * Large blocks go back to the system as soon as they are freed: an idle node does not keep the room
 * of its largest values. Once, before any other thread runs.
 */
void memory_init(void);

void *memory_alloc(size_t bytes);            /* not zeroed */
void *memory_zalloc(size_t bytes);           /* zeroed */
void *memory_alloc_pages(size_t bytes);      /* not zeroed; whole pages, for O_DIRECT */
void *memory_realloc(void *p, size_t bytes); /* as realloc(3) */
char *memory_strdup(const char *s);
void memory_free(void *p);

#endif
