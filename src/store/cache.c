/* SPDX-License-Identifier: MIT */
#include "store/cache.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <xxhash.h>

#include "base/memory.h"

enum { LOCKS = 256 };

struct cached_name {
    uint64_t ino;
    uint64_t dir;
    uint8_t bytes;
    char text[CACHE_NAME_BYTES];
};

union place {
    uint64_t ino; /* 0: it is free; all begin with it */
    struct store_attr attr;
    struct cached_name name;
};

struct set {
    union place places[CACHE_WAYS]; /* newest first */
};

_Static_assert(CACHE_SETS * sizeof(struct set) == 2 << 20, "as cache.h says");

struct cache {
    pthread_mutex_t locks[LOCKS]; /* of the sets with that number modulo LOCKS, in both tables */
    _Atomic(uint64_t) epoch;      /* odd: there is none */
    struct set *attrs;            /* by inode */
    struct set *names;            /* by directory and name */
};

struct cache *cache_open(void)
{
    struct cache *c = memory_zalloc(sizeof(*c));
    for (int i = 0; i < LOCKS; i++)
        pthread_mutex_init(&c->locks[i], NULL);
    c->attrs = memory_zalloc(CACHE_SETS * sizeof(*c->attrs));
    c->names = memory_zalloc(CACHE_SETS * sizeof(*c->names));
    return c;
}

void cache_close(struct cache *c)
{
    if (!c)
        return;
    for (int i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&c->locks[i]);
    memory_free(c->attrs);
    memory_free(c->names);
    memory_free(c);
}

static bool is_epoch(uint64_t epoch)
{
    return epoch % 2 == 0;
}

uint64_t cache_epoch(const struct cache *c)
{
    return atomic_load(&c->epoch);
}

/* ---- Sets ---- */

static unsigned lock_set(struct cache *c, uint64_t hash)
{
    unsigned set = (unsigned)(hash % CACHE_SETS);
    pthread_mutex_lock(&c->locks[set % LOCKS]);
    return set;
}

static void unlock_set(struct cache *c, unsigned set)
{
    pthread_mutex_unlock(&c->locks[set % LOCKS]);
}

static unsigned lock_attrs(struct cache *c, uint64_t ino)
{
    return lock_set(c, XXH3_64bits(&ino, sizeof(ino)));
}

static unsigned lock_names(struct cache *c, uint64_t dir, const char *text, size_t bytes)
{
    return lock_set(c, XXH3_64bits_withSeed(text, bytes, dir));
}

/* NULL: it is not there. */
static union place *find_attr(struct set *set, uint64_t ino)
{
    for (union place *p = set->places; p < set->places + CACHE_WAYS; p++)
        if (p->ino == ino)
            return p;
    return NULL;
}

static union place *find_name(struct set *set, uint64_t dir, const char *text, size_t bytes)
{
    for (union place *p = set->places; p < set->places + CACHE_WAYS; p++)
        if (p->ino && p->name.dir == dir && p->name.bytes == bytes &&
            memcmp(p->name.text, text, bytes) == 0)
            return p;
    return NULL;
}

/* The first place, for a newcomer; the others move up to a free one, or the oldest goes. */
static union place *make_room(struct set *set)
{
    size_t n = 0;
    while (n < CACHE_WAYS - 1 && set->places[n].ino)
        n++;
    memmove(set->places + 1, set->places, n * sizeof(set->places[0]));
    return set->places;
}

/* ---- One entry; what is put is as it is in `epoch` ---- */

static bool get_attr(struct cache *c, uint64_t ino, struct store_attr *attr)
{
    unsigned set = lock_attrs(c, ino);
    const union place *found = find_attr(&c->attrs[set], ino);
    if (found)
        *attr = found->attr;
    unlock_set(c, set);
    return found;
}

static void put_attr(struct cache *c, uint64_t epoch, const struct store_attr *attr)
{
    unsigned set = lock_attrs(c, attr->ino);
    if (cache_epoch(c) == epoch) {
        union place *p = find_attr(&c->attrs[set], attr->ino);
        if (!p)
            p = make_room(&c->attrs[set]);
        p->attr = *attr;
    }
    unlock_set(c, set);
}

static void drop_attr(struct cache *c, uint64_t ino)
{
    unsigned set = lock_attrs(c, ino);
    union place *p = find_attr(&c->attrs[set], ino);
    if (p)
        p->ino = 0;
    unlock_set(c, set);
}

/* 0: it is not here. */
static uint64_t get_name(struct cache *c, uint64_t dir, const char *text, size_t bytes)
{
    unsigned set = lock_names(c, dir, text, bytes);
    const union place *found = find_name(&c->names[set], dir, text, bytes);
    uint64_t ino = found ? found->ino : 0;
    unlock_set(c, set);
    return ino;
}

static void put_name(struct cache *c, uint64_t epoch, uint64_t dir, const char *text, size_t bytes,
                     uint64_t ino)
{
    if (bytes > CACHE_NAME_BYTES)
        return;
    unsigned set = lock_names(c, dir, text, bytes);
    if (cache_epoch(c) == epoch) {
        union place *p = find_name(&c->names[set], dir, text, bytes);
        if (!p)
            p = make_room(&c->names[set]);
        p->name = (struct cached_name){.ino = ino, .dir = dir, .bytes = (uint8_t)bytes};
        memcpy(p->name.text, text, bytes);
    }
    unlock_set(c, set);
}

static void drop_name(struct cache *c, uint64_t dir, const char *text, size_t bytes)
{
    unsigned set = lock_names(c, dir, text, bytes);
    union place *p = find_name(&c->names[set], dir, text, bytes);
    if (p)
        p->ino = 0;
    unlock_set(c, set);
}

/* ---- Queries ---- */

bool cache_find(struct cache *c, uint64_t epoch, uint64_t ino, struct store_attr *attr)
{
    return ino && is_epoch(epoch) && get_attr(c, ino, attr) && cache_epoch(c) == epoch;
}

bool cache_find_name(struct cache *c, uint64_t epoch, uint64_t dir, const char *name,
                     size_t name_bytes, struct store_attr *attr)
{
    if (!is_epoch(epoch) || name_bytes > CACHE_NAME_BYTES)
        return false;
    uint64_t ino = get_name(c, dir, name, name_bytes);
    return ino && get_attr(c, ino, attr) && cache_epoch(c) == epoch;
}

void cache_learn(struct cache *c, uint64_t epoch, const struct store_attr *attr)
{
    if (is_epoch(epoch))
        put_attr(c, epoch, attr);
}

void cache_learn_name(struct cache *c, uint64_t epoch, uint64_t dir, const char *name,
                      size_t name_bytes, const struct store_attr *attr)
{
    if (!is_epoch(epoch))
        return;
    put_name(c, epoch, dir, name, name_bytes, attr->ino);
    put_attr(c, epoch, attr);
}

/* ---- The apply thread ---- */

void cache_end_epoch(struct cache *c)
{
    assert(is_epoch(cache_epoch(c)));
    atomic_fetch_add(&c->epoch, 1);
}

static void take_over(struct cache *c, const struct store_touched *item)
{
    uint64_t epoch = cache_epoch(c);
    if (item->name_bytes && item->added)
        put_name(c, epoch, item->dir, item->name, item->name_bytes, item->ino);
    else if (item->name_bytes)
        drop_name(c, item->dir, item->name, item->name_bytes);
    else if (item->attr.ino)
        put_attr(c, epoch, &item->attr);
    else
        drop_attr(c, item->ino);
}

void cache_begin_epoch(struct cache *c, const struct store_touched *items, uint32_t count)
{
    assert(!is_epoch(cache_epoch(c)));
    for (uint32_t i = 0; i < count; i++)
        take_over(c, &items[i]);
    atomic_fetch_add(&c->epoch, 1);
}

/* A free place is not written to, so that it goes on taking no memory. */
static void empty(struct set *set)
{
    for (union place *p = set->places; p < set->places + CACHE_WAYS; p++)
        if (p->ino)
            p->ino = 0;
}

void cache_forget(struct cache *c)
{
    assert(!is_epoch(cache_epoch(c)));
    for (unsigned set = 0; set < CACHE_SETS; set++) {
        lock_set(c, set);
        empty(&c->attrs[set]);
        empty(&c->names[set]);
        unlock_set(c, set);
    }
}
