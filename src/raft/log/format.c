/* SPDX-License-Identifier: MIT */
#include "raft/log/format.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"

#define MAGIC 0x31676f6c74666172u /* "raftlog1" */

enum { HEADER_VERSION_AT = 8, HEADER_CRC_AT = 72, RECORD_CRC_AT = 21 };

/* ---- Header ---- */

void format_header_encode(const struct format_header *h, uint8_t out[FORMAT_SECTOR_BYTES])
{
    struct bytes_writer w = bytes_writer(out, FORMAT_SECTOR_BYTES);
    memset(out, 0, FORMAT_SECTOR_BYTES);
    bytes_put_u64(&w, MAGIC);
    bytes_put_u32(&w, FORMAT_VERSION);
    bytes_put_u64(&w, h->incarnation);
    bytes_put_u64(&w, h->number);
    bytes_put_u64(&w, h->first_batch);
    bytes_put_u64(&w, h->last_index);
    bytes_put_u64(&w, h->last_term);
    bytes_put_u64(&w, h->hard.term);
    bytes_put_u64(&w, h->hard.vote);
    bytes_put_u32(&w, h->chain);
    bytes_put_u32(&w, crc32c(0, out, bytes_written(&w)));
}

/* Whether it would be whole if the version were one that we know: then that is what is damaged. */
static bool is_ours_but_for_version(const uint8_t in[FORMAT_SECTOR_BYTES])
{
    uint8_t header[FORMAT_SECTOR_BYTES];
    memcpy(header, in, sizeof(header));
    for (uint32_t version = 1; version <= FORMAT_VERSION; version++) {
        struct bytes_writer w = bytes_writer(header + HEADER_VERSION_AT, sizeof(version));
        struct bytes_reader crc = bytes_reader(header + HEADER_CRC_AT, sizeof(uint32_t));
        bytes_put_u32(&w, version);
        if (bytes_get_u32(&crc) == crc32c(0, header, HEADER_CRC_AT))
            return true;
    }
    return false;
}

int format_header_decode(struct format_header *h, const uint8_t in[FORMAT_SECTOR_BYTES])
{
    struct bytes_reader r = bytes_reader(in, FORMAT_SECTOR_BYTES);
    if (bytes_get_u64(&r) != MAGIC)
        return -EUCLEAN;
    uint32_t version = bytes_get_u32(&r);
    if (version > FORMAT_VERSION)
        return is_ours_but_for_version(in) ? -EUCLEAN : -EPROTO;
    h->incarnation = bytes_get_u64(&r);
    h->number = bytes_get_u64(&r);
    h->first_batch = bytes_get_u64(&r);
    h->last_index = bytes_get_u64(&r);
    h->last_term = bytes_get_u64(&r);
    h->hard.term = bytes_get_u64(&r);
    h->hard.vote = bytes_get_u64(&r);
    h->chain = bytes_get_u32(&r);
    bool whole = version > 0 && bytes_get_u32(&r) == crc32c(0, in, HEADER_CRC_AT);
    for (uint32_t i = HEADER_CRC_AT + sizeof(uint32_t); whole && i < FORMAT_SECTOR_BYTES; i++)
        whole = in[i] == 0;
    return whole ? 0 : -EUCLEAN;
}

/* ---- Streams in sectors ---- */

uint32_t format_sectors(uint64_t stream_bytes)
{
    return (uint32_t)((stream_bytes + FORMAT_STREAM_BYTES - 1) / FORMAT_STREAM_BYTES);
}

uint32_t format_file_offset(uint32_t batch_offset, uint32_t stream_offset)
{
    return batch_offset + stream_offset / FORMAT_STREAM_BYTES * FORMAT_SECTOR_BYTES +
           FORMAT_TAG_BYTES + stream_offset % FORMAT_STREAM_BYTES;
}

uint32_t format_tag(uint64_t batch_number)
{
    /* Never 0, nor one flipped bit away from it: that would pass for a sector never written. */
    return (uint32_t)batch_number | 0xc0000000u;
}

uint32_t format_sector_tag(const uint8_t *sector)
{
    struct bytes_reader r = bytes_reader(sector, FORMAT_TAG_BYTES);
    return bytes_get_u32(&r);
}

/* The piece of the stream at `offset` that lies in one sector. */
static uint32_t piece(uint32_t offset, uint32_t bytes)
{
    uint32_t left = FORMAT_STREAM_BYTES - offset % FORMAT_STREAM_BYTES;
    return bytes < left ? bytes : left;
}

void format_stream_copy(const uint8_t *batch, uint32_t offset, void *out, uint32_t bytes)
{
    for (uint8_t *to = out; bytes > 0;) {
        uint32_t n = piece(offset, bytes);
        memcpy(to, batch + format_file_offset(0, offset), n);
        offset += n;
        to += n;
        bytes -= n;
    }
}

static void stream_write(struct format_batch *b, const void *data, uint32_t bytes)
{
    const uint8_t *from = data;
    while (bytes > 0) {
        uint32_t n = piece(b->stream_bytes, bytes);
        assert(b->stream_bytes / FORMAT_STREAM_BYTES < b->capacity_sectors);
        memcpy(b->out + format_file_offset(0, b->stream_bytes), from, n);
        b->stream_bytes += n;
        from += n;
        bytes -= n;
    }
}

/* ---- Batches ---- */

void format_batch_begin(struct format_batch *b, uint8_t *out, uint32_t capacity_sectors,
                        uint64_t number, uint32_t chain)
{
    *b = (struct format_batch){.out = out,
                               .capacity_sectors = capacity_sectors,
                               .tag = format_tag(number),
                               .stream_bytes = FORMAT_BATCH_HEADER_BYTES,
                               .chain = chain};
}

uint64_t format_record_bytes(uint32_t payload_bytes)
{
    return (uint64_t)FORMAT_RECORD_HEADER_BYTES + payload_bytes;
}

static uint32_t record_crc(uint32_t chain, const uint8_t header[FORMAT_RECORD_HEADER_BYTES],
                           const void *payload, uint32_t bytes)
{
    return crc32c(crc32c(chain, header, RECORD_CRC_AT), payload, bytes);
}

void format_batch_add(struct format_batch *b, struct format_record *record, const void *payload)
{
    uint8_t header[FORMAT_RECORD_HEADER_BYTES];
    struct bytes_writer w = bytes_writer(header, sizeof(header));
    record->chain = b->chain;
    record->offset = b->stream_bytes;
    bytes_put_u32(&w, record->bytes);
    bytes_put_u8(&w, record->kind);
    bytes_put_u64(&w, record->term);
    bytes_put_u64(&w, record->index);
    b->chain = record_crc(b->chain, header, payload, record->bytes);
    bytes_put_u32(&w, b->chain);
    stream_write(b, header, sizeof(header));
    stream_write(b, payload, record->bytes);
}

static uint32_t sectors_crc(uint32_t tag, uint32_t sectors)
{
    uint8_t fields[8];
    struct bytes_writer w = bytes_writer(fields, sizeof(fields));
    bytes_put_u32(&w, tag);
    bytes_put_u32(&w, sectors);
    return crc32c(0, fields, sizeof(fields));
}

uint32_t format_batch_end(struct format_batch *b)
{
    format_batch_add(b, &(struct format_record){.kind = FORMAT_END}, NULL);
    uint32_t sectors = format_sectors(b->stream_bytes);
    for (uint32_t i = 0; i < sectors; i++) {
        struct bytes_writer tag =
            bytes_writer(b->out + (size_t)i * FORMAT_SECTOR_BYTES, FORMAT_TAG_BYTES);
        bytes_put_u32(&tag, b->tag);
    }
    struct bytes_writer w = bytes_writer(b->out + FORMAT_TAG_BYTES, FORMAT_BATCH_HEADER_BYTES);
    bytes_put_u32(&w, sectors);
    bytes_put_u32(&w, sectors_crc(b->tag, sectors));
    return sectors;
}

uint32_t format_batch_sectors(const uint8_t *first_sector)
{
    struct bytes_reader r =
        bytes_reader(first_sector, FORMAT_TAG_BYTES + FORMAT_BATCH_HEADER_BYTES);
    uint32_t tag = bytes_get_u32(&r);
    uint32_t sectors = bytes_get_u32(&r);
    return bytes_get_u32(&r) == sectors_crc(tag, sectors) ? sectors : 0;
}

bool format_record_read(const uint8_t *batch, uint32_t stream_bytes, uint32_t offset,
                        uint32_t *chain, struct format_record *record, uint8_t *payload)
{
    uint8_t header[FORMAT_RECORD_HEADER_BYTES];
    if (offset > stream_bytes || stream_bytes - offset < sizeof(header))
        return false;
    format_stream_copy(batch, offset, header, sizeof(header));
    struct bytes_reader r = bytes_reader(header, sizeof(header));
    *record = (struct format_record){.chain = *chain, .offset = offset};
    record->bytes = bytes_get_u32(&r);
    record->kind = bytes_get_u8(&r);
    record->term = bytes_get_u64(&r);
    record->index = bytes_get_u64(&r);
    uint32_t crc = bytes_get_u32(&r);
    if (record->bytes > RAFT_MAX_ENTRY_BYTES ||
        stream_bytes - offset - sizeof(header) < record->bytes)
        return false;
    uint32_t sum = crc32c(*chain, header, RECORD_CRC_AT), at = offset + sizeof(header);
    for (uint32_t left = record->bytes; left > 0;) {
        uint32_t n = piece(at, left);
        sum = crc32c(sum, batch + format_file_offset(0, at), n);
        at += n;
        left -= n;
    }
    if (sum != crc)
        return false;
    if (payload)
        format_stream_copy(batch, offset + (uint32_t)sizeof(header), payload, record->bytes);
    *chain = crc;
    return true;
}
