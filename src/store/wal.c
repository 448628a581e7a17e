/* SPDX-License-Identifier: MIT */
#include "store/wal.h"

#include <string.h>

enum {
    HEADER_BYTES = 32,
    HEADER_SUM_AT = 24,
    FRAME_DATABASE_PAGES_AT = 4,
    FRAME_SUM_AT = 16,
    SUM_BYTES = 8,
    FRAME_SUMMED_BYTES = 8, /* of its header */
};

struct sum {
    uint32_t a;
    uint32_t b;
};

static uint32_t load_big(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return __builtin_bswap32(v);
}

static struct sum load_sum(const uint8_t *p)
{
    return (struct sum){.a = load_big(p), .b = load_big(p + 4)};
}

/* SQLite's own: of words in the byte order of whoever made the file. */
static struct sum add(struct sum sum, const uint8_t *data, int bytes, bool swapped)
{
    for (int i = 0; i < bytes; i += 8) {
        uint32_t words[2];
        memcpy(words, data + i, sizeof(words));
        sum.a += (swapped ? __builtin_bswap32(words[0]) : words[0]) + sum.b;
        sum.b += (swapped ? __builtin_bswap32(words[1]) : words[1]) + sum.a;
    }
    return sum;
}

static int64_t frame_at(int64_t frame)
{
    return HEADER_BYTES + frame * WAL_FRAME_BYTES;
}

int64_t wal_frame_of_page(int bytes, int64_t offset)
{
    int64_t at = offset - HEADER_BYTES - WAL_FRAME_HEADER_BYTES;
    return bytes == VFS_PAGE_BYTES && at >= 0 && at % WAL_FRAME_BYTES == 0 ? at / WAL_FRAME_BYTES
                                                                           : -1;
}

int64_t wal_frame_of_header(int bytes, int64_t offset)
{
    int64_t at = offset - HEADER_BYTES;
    return bytes == WAL_FRAME_HEADER_BYTES && at >= 0 && at % WAL_FRAME_BYTES == 0
               ? at / WAL_FRAME_BYTES
               : -1;
}

bool wal_frame_commits(const uint8_t header[WAL_FRAME_HEADER_BYTES])
{
    return load_big(header + FRAME_DATABASE_PAGES_AT) != 0;
}

/* ---- The transaction that is under way ---- */

void wal_watch_init(struct wal_watch *w)
{
    *w = (struct wal_watch){.unsettled = INT64_MAX, .headed = -1};
}

static void unsettle(struct wal_watch *w, int64_t frame)
{
    if (frame < w->unsettled)
        w->unsettled = frame;
}

void wal_watch_write(struct wal_watch *w, const uint8_t *data, int bytes, int64_t offset)
{
    static const uint8_t none[16]; /* no salts and no sum yet */
    int64_t header = wal_frame_of_header(bytes, offset);
    int64_t page = wal_frame_of_page(bytes, offset);
    if (offset == 0) {
        wal_watch_init(w); /* the log starts over */
    } else if (page >= 0) {
        if (page != w->headed)
            unsettle(w, page); /* over an earlier one of the same transaction */
    } else if (header >= 0) {
        w->headed = header;
        if (memcmp(data + FRAME_SUMMED_BYTES, none, sizeof(none)) == 0)
            unsettle(w, header);
        else if (header == w->unsettled)
            w->unsettled++;
    }
}

/* ---- Checking ---- */

bool wal_is_settled(const struct wal_watch *w, int64_t frame)
{
    return frame < w->unsettled;
}

/* `before`: the sum that stands in front of the frame. */
static bool is_good(const uint8_t *before, const uint8_t *header, const uint8_t *page)
{
    struct sum want = load_sum(header + FRAME_SUM_AT);
    for (int swapped = 0; swapped < 2; swapped++) {
        struct sum sum = add(load_sum(before), header, FRAME_SUMMED_BYTES, swapped);
        sum = add(sum, page, VFS_PAGE_BYTES, swapped);
        if (sum.a == want.a && sum.b == want.b)
            return true;
    }
    return false;
}

/*
 * By one call, from the sum in front of the frame to its end. The page of another frame may lie
 * between, but copying that takes less time than a call for each part.
 */
int wal_read_page(sqlite3_file *file, int64_t frame, uint8_t page[VFS_PAGE_BYTES])
{
    uint8_t piece[SUM_BYTES + VFS_PAGE_BYTES + WAL_FRAME_BYTES];
    int64_t from = frame ? frame_at(frame - 1) + FRAME_SUM_AT : HEADER_SUM_AT;
    int header_at = (int)(frame_at(frame) - from);
    int rc = file->pMethods->xRead(file, piece, header_at + WAL_FRAME_BYTES, from);
    if (rc != SQLITE_OK)
        return rc;
    const uint8_t *header = piece + header_at;
    memcpy(page, header + WAL_FRAME_HEADER_BYTES, VFS_PAGE_BYTES);
    return is_good(piece, header, page) ? SQLITE_OK : SQLITE_IOERR_DATA;
}
