/* SPDX-License-Identifier: MIT */
#include "store/touched.h"

#include <string.h>

#include "base/memory.h"

enum { FIRST_CAPACITY = 64, LOOK_BACK = 4 };

static struct store_touched *add(struct touched *t)
{
    if (t->count == t->capacity) {
        t->capacity = t->capacity ? 2 * t->capacity : FIRST_CAPACITY;
        t->items = memory_realloc(t->items, t->capacity * sizeof(*t->items));
    }
    return &t->items[t->count++];
}

/* One command touches an inode's content and its attributes: that is one item. */
void touched_inode(struct touched *t, uint64_t ino, const struct store_attr *attr, bool data)
{
    static const struct store_attr none;
    for (uint32_t i = 1; i <= LOOK_BACK && i <= t->count; i++) {
        struct store_touched *item = &t->items[t->count - i];
        if (item->ino == ino && item->name_bytes == 0) {
            item->data = item->data || data;
            item->attr = attr ? *attr : none;
            return;
        }
    }
    *add(t) = (struct store_touched){.ino = ino, .data = data, .attr = attr ? *attr : none};
}

void touched_new_inode(struct touched *t, const struct store_attr *attr)
{
    *add(t) = (struct store_touched){.ino = attr->ino, .added = true, .attr = *attr};
}

void touched_name(struct touched *t, uint64_t dir, const char *name, uint8_t name_bytes,
                  uint64_t ino, bool added)
{
    struct store_touched *item = add(t);
    item->ino = ino;
    item->data = false;
    item->dir = dir;
    item->added = added;
    item->name_bytes = name_bytes;
    memcpy(item->name, name, name_bytes);
    item->name[name_bytes] = '\0';
}

void touched_free(struct touched *t)
{
    memory_free(t->items);
    *t = (struct touched){0};
}
