/* SPDX-License-Identifier: MIT */
#include "store/unsaved.h"

#include <assert.h>
#include <string.h>
#include <xxhash.h>

#include "base/memory.h"

enum { WORD_BITS = 64 };

bool unsaved_has_room(const struct unsaved *u, const struct store_entry *entry)
{
    return u->count < UNSAVED_ENTRIES && entry->bytes <= UNSAVED_ENTRY_BYTES;
}

uint64_t unsaved_inode(uint64_t ino)
{
    return XXH3_64bits(&ino, sizeof(ino));
}

uint64_t unsaved_name(uint64_t dir, const char *name, size_t name_bytes)
{
    return XXH3_64bits_withSeed(name, name_bytes, dir);
}

static unsigned word_of(uint64_t what)
{
    return what / WORD_BITS % UNSAVED_FILTER_WORDS;
}

static uint64_t bit_of(uint64_t what)
{
    return (uint64_t)1 << what % WORD_BITS;
}

static void add_to_filter(struct unsaved *u, const struct store_touched *item)
{
    uint64_t what = item->name_bytes ? unsaved_name(item->dir, item->name, item->name_bytes)
                                     : unsaved_inode(item->ino);
    atomic_fetch_or(&u->filter[word_of(what)], bit_of(what));
}

void unsaved_add(struct unsaved *u, const struct store_entry *entry,
                 const struct store_touched *items, uint32_t count)
{
    assert(unsaved_has_room(u, entry));
    void *data = NULL;
    if (entry->bytes) {
        data = memory_alloc(entry->bytes);
        memcpy(data, entry->data, entry->bytes);
    }
    u->entries[u->count] = *entry;
    u->entries[u->count++].data = data;
    for (uint32_t i = 0; i < count; i++)
        add_to_filter(u, &items[i]);
}

void unsaved_clear(struct unsaved *u)
{
    for (uint32_t i = 0; i < u->count; i++)
        memory_free((void *)u->entries[i].data);
    for (unsigned i = 0; i < UNSAVED_FILTER_WORDS && u->count; i++)
        atomic_store(&u->filter[i], 0);
    u->count = 0;
}

bool unsaved_touches(const struct unsaved *u, uint64_t what)
{
    return atomic_load(&u->filter[word_of(what)]) & bit_of(what);
}
