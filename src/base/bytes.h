/* SPDX-License-Identifier: MIT */
/*
 * bytes.h - little-endian encoding through bounded cursors.
 *
 * Disk records, wire frames and commands all go through these two cursors, so that a length taken
 * from outside can never move past the end: a cursor that would overrun goes bad, stays bad, and
 * reads as zero. Callers decode everything and check `bad` once at the end. Pure: no allocation, no
 * errno, any thread.
 */
#ifndef RAFTFS_BASE_BYTES_H
#define RAFTFS_BASE_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool bad;
};

struct bytes_writer {
    uint8_t *start;
    uint8_t *at;
    uint8_t *end;
    bool bad;
};

static inline struct bytes_reader bytes_reader(const void *data, size_t bytes)
{
    const uint8_t *p = data;
    return (struct bytes_reader){.at = p, .end = p + bytes, .bad = false};
}

static inline struct bytes_writer bytes_writer(void *data, size_t bytes)
{
    uint8_t *p = data;
    return (struct bytes_writer){.start = p, .at = p, .end = p + bytes, .bad = false};
}

static inline size_t bytes_left(const struct bytes_reader *r)
{
    return (size_t)(r->end - r->at);
}

static inline size_t bytes_written(const struct bytes_writer *w)
{
    return (size_t)(w->at - w->start);
}

/* The next `bytes` bytes in place, or NULL (and the cursor goes bad) if there are fewer. */
static inline const uint8_t *bytes_take(struct bytes_reader *r, size_t bytes)
{
    if (r->bad || bytes_left(r) < bytes) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *p = r->at;
    r->at += bytes;
    return p;
}

/* Room for the next `bytes` bytes, or NULL (and the cursor goes bad) if there is less. */
static inline uint8_t *bytes_room(struct bytes_writer *w, size_t bytes)
{
    if (w->bad || (size_t)(w->end - w->at) < bytes) {
        w->bad = true;
        return NULL;
    }
    uint8_t *p = w->at;
    w->at += bytes;
    return p;
}

static inline uint64_t bytes_get_le(struct bytes_reader *r, size_t width)
{
    const uint8_t *p = bytes_take(r, width);
    uint64_t v = 0;
    if (p)
        memcpy(&v, p, width);
    return le64toh(v);
}

/* Not inlined: gcc 12 then warns of overflows on paths that cannot be. */
static __attribute__((noinline, unused)) void bytes_put_le(struct bytes_writer *w, uint64_t v,
                                                           size_t width)
{
    uint8_t *p = bytes_room(w, width);
    uint64_t le = htole64(v);
    if (p)
        memcpy(p, &le, width);
}

static inline uint8_t bytes_get_u8(struct bytes_reader *r)
{
    return (uint8_t)bytes_get_le(r, 1);
}

static inline uint16_t bytes_get_u16(struct bytes_reader *r)
{
    return (uint16_t)bytes_get_le(r, 2);
}

static inline uint32_t bytes_get_u32(struct bytes_reader *r)
{
    return (uint32_t)bytes_get_le(r, 4);
}

static inline uint64_t bytes_get_u64(struct bytes_reader *r)
{
    return bytes_get_le(r, 8);
}

static inline void bytes_put_u8(struct bytes_writer *w, uint8_t v)
{
    bytes_put_le(w, v, 1);
}

static inline void bytes_put_u16(struct bytes_writer *w, uint16_t v)
{
    bytes_put_le(w, v, 2);
}

static inline void bytes_put_u32(struct bytes_writer *w, uint32_t v)
{
    bytes_put_le(w, v, 4);
}

static inline void bytes_put_u64(struct bytes_writer *w, uint64_t v)
{
    bytes_put_le(w, v, 8);
}

static inline void bytes_put(struct bytes_writer *w, const void *data, size_t bytes)
{
    uint8_t *p = bytes_room(w, bytes);
    if (p && bytes)
        memcpy(p, data, bytes);
}

/*
 * A length-prefixed (u16) string copied into `out` with its terminating NUL. The cursor goes bad
 * when the string does not fit or holds a NUL itself.
 */
static inline void bytes_get_string(struct bytes_reader *r, char *out, size_t out_bytes)
{
    size_t n = bytes_get_u16(r);
    const uint8_t *p = bytes_take(r, n);
    out[0] = '\0';
    if (!p)
        return;
    if (n >= out_bytes || memchr(p, 0, n)) {
        r->bad = true;
        return;
    }
    memcpy(out, p, n);
    out[n] = '\0';
}

static inline void bytes_put_string(struct bytes_writer *w, const char *s)
{
    size_t n = strlen(s);
    if (n > UINT16_MAX) {
        w->bad = true;
        return;
    }
    bytes_put_u16(w, (uint16_t)n);
    bytes_put(w, s, n);
}

#endif
