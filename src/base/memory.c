/* SPDX-License-Identifier: MIT */
#include "base/memory.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/report.h"

enum { LARGE_BYTES = 256 * 1024 };

void memory_init(void)
{
    /* Setting it also stops glibc from raising it to the size of what was freed last. */
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
}

static void *present(void *p, size_t bytes)
{
    if (!p && bytes)
        report_fatal("out of memory asking for %zu bytes: give the machine more, then restart",
                     bytes);
    return p;
}

void *memory_alloc(size_t bytes)
{
    return present(malloc(bytes), bytes);
}

void *memory_zalloc(size_t bytes)
{
    return present(calloc(1, bytes), bytes);
}

void *memory_alloc_pages(size_t bytes)
{
    return present(aligned_alloc(MEMORY_PAGE_BYTES, bytes), bytes);
}

void *memory_realloc(void *p, size_t bytes)
{
    return present(realloc(p, bytes), bytes);
}

char *memory_strdup(const char *s)
{
    return present(strdup(s), strlen(s) + 1);
}

void memory_free(void *p)
{
    free(p);
}
