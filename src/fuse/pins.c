/* SPDX-License-Identifier: MIT */
#include "fuse/pins.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/memory.h"

struct pin {
    struct map_link link; /* by inode number */
    uint64_t version;
    uint32_t refs;
    size_t bytes;
    uint8_t data[];
};

void pins_init(struct pins *pins)
{
    pthread_mutex_init(&pins->lock, NULL);
    map_init(&pins->map);
    pins->bytes = 0;
}

void pins_close(struct pins *pins)
{
    assert(pins->bytes == 0);
    map_close(&pins->map);
    pthread_mutex_destroy(&pins->lock);
}

/* ---- Under the lock ---- */

static struct pin *find(struct pins *pins, uint64_t ino, uint64_t version)
{
    struct map_link *link = map_find(&pins->map, ino);
    while (link && map_entry(link, struct pin, link)->version != version)
        link = map_next(link);
    return map_entry(link, struct pin, link);
}

static void unref(struct pins *pins, struct pin *pin)
{
    if (!pin || --pin->refs > 0)
        return;
    map_remove(&pins->map, &pin->link);
    pins->bytes -= pin->bytes;
    memory_free(pin);
}

/* The pin of this version, made from its whole content unless somebody has it; NULL: no room. */
static struct pin *share(struct pins *pins, const struct store_attr *attr, const void *data)
{
    struct pin *pin = find(pins, attr->ino, attr->version);
    if (!pin && data && pins->bytes + attr->size_bytes <= PINS_MAX_BYTES) {
        pin = memory_alloc(sizeof(*pin) + attr->size_bytes);
        pin->version = attr->version;
        pin->refs = 0;
        pin->bytes = attr->size_bytes;
        memcpy(pin->data, data, pin->bytes);
        pins->bytes += pin->bytes;
        map_insert(&pins->map, attr->ino, &pin->link);
    }
    if (pin)
        pin->refs++;
    return pin;
}

static void forget(struct pins *pins, struct view *view)
{
    unref(pins, view->pin);
    *view = (struct view){0};
}

/* ---- Reading ---- */

/*
 * Offset 0 was read: what was met there is looked at from now on. `data` is the whole of it, or
 * NULL. False if it is not pinned.
 */
static bool look_at(struct pins *pins, struct view *view, const struct store_attr *attr,
                    const void *data)
{
    pthread_mutex_lock(&pins->lock);
    forget(pins, view);
    view->active = true;
    view->version = attr->version;
    view->size_bytes = attr->size_bytes;
    view->pin = share(pins, attr, data);
    bool pinned = view->pin;
    pthread_mutex_unlock(&pins->lock);
    return pinned;
}

/* A value that one read(2) does not hold: fetched whole, unless its version is pinned already. */
static int start_long(struct pins *pins, struct view *view, struct store *store,
                      const struct store_attr *met, size_t bytes, void *out, size_t *got)
{
    if (look_at(pins, view, met, NULL))
        return 0;
    uint8_t *whole = memory_alloc(PINS_VALUE_BYTES);
    struct store_attr attr;
    size_t whole_bytes;
    int status = store_read(store, met->ino, 0, PINS_VALUE_BYTES, whole, &whole_bytes, &attr);
    if (status == 0) {
        *got = bytes < whole_bytes ? bytes : whole_bytes;
        memcpy(out, whole, *got);
        if (whole_bytes == attr.size_bytes)
            look_at(pins, view, &attr, whole);
        else
            pins_drop(pins, view); /* it has outgrown views meanwhile */
    }
    memory_free(whole);
    return status;
}

static int start(struct pins *pins, struct view *view, struct store *store, uint64_t ino,
                 size_t bytes, void *out, size_t *got)
{
    struct store_attr attr;
    pins_drop(pins, view);
    int status = store_read(store, ino, 0, bytes, out, got, &attr);
    if (status < 0 || attr.size_bytes == 0 || attr.size_bytes > PINS_VALUE_BYTES)
        return status;
    if (*got < attr.size_bytes)
        return start_long(pins, view, store, &attr, bytes, out, got);
    look_at(pins, view, &attr, out);
    return 0;
}

/* What the pin has at `offset`; false: no pin, ask the store. */
static bool from_pin(const struct view *view, uint64_t offset, size_t bytes, void *out, size_t *got)
{
    if (!view->pin)
        return false;
    *got = view->pin->bytes - offset < bytes ? view->pin->bytes - offset : bytes;
    memcpy(out, view->pin->data + offset, *got);
    return true;
}

int pins_read(struct pins *pins, struct view *view, struct store *store, uint64_t ino,
              uint64_t offset, size_t bytes, void *out, size_t *got)
{
    if (offset == 0)
        return start(pins, view, store, ino, bytes, out, got);
    pthread_mutex_lock(&pins->lock);
    struct view now = *view;
    bool done = false;
    if (view->active && offset >= view->size_bytes) {
        forget(pins, view); /* told end of file: from here on it reads what is there */
        *got = 0;
        done = true;
    } else if (view->active) {
        done = from_pin(view, offset, bytes, out, got);
    }
    pthread_mutex_unlock(&pins->lock);
    if (done)
        return 0;
    struct store_attr attr;
    int status = store_read(store, ino, offset, bytes, out, got, &attr);
    return status == 0 && now.active && attr.version != now.version ? -ESTALE : status;
}

void pins_drop(struct pins *pins, struct view *view)
{
    pthread_mutex_lock(&pins->lock);
    forget(pins, view);
    pthread_mutex_unlock(&pins->lock);
}
