/* SPDX-License-Identifier: MIT */
#include "raft/log/recover.h"

#include "base/memory.h"

struct scan {
    const uint8_t *segment;
    uint32_t bytes;
    uint8_t *payload; /* RAFT_MAX_ENTRY_BYTES */
    struct recover_result result;
    recover_record_fn *each;
    void *ctx;
};

/* Sectors of the batch at hand that are there, from its first on. */
static uint32_t tagged_sectors(const struct scan *s)
{
    uint32_t tag = format_tag(s->result.next_batch), n = 0;
    for (uint32_t at = s->result.end_offset; at < s->bytes; at += FORMAT_SECTOR_BYTES, n++)
        if (format_sector_tag(s->segment + at) != tag)
            break;
    return n;
}

/* The batch's length as its first sector gives it; 0 if that cannot be. */
static uint32_t declared_sectors(const struct scan *s)
{
    uint32_t sectors = format_batch_sectors(s->segment + s->result.end_offset);
    return sectors <= (s->bytes - s->result.end_offset) / FORMAT_SECTOR_BYTES ? sectors : 0;
}

/* What fills the batch's last sector up says nothing, but only a damaged one has anything there. */
static bool ends_in_zeroes(const uint8_t *batch, uint32_t stream_bytes, uint32_t offset)
{
    for (; offset < stream_bytes; offset++)
        if (batch[format_file_offset(0, offset)] != 0)
            return false;
    return true;
}

/* Goes through the batch's records; false unless all are good and the last is END. */
static bool walk_batch(struct scan *s, uint32_t sectors, bool tell)
{
    const uint8_t *batch = s->segment + s->result.end_offset;
    uint32_t stream = sectors * FORMAT_STREAM_BYTES, offset = FORMAT_BATCH_HEADER_BYTES;
    uint32_t chain = s->result.chain;
    struct format_record record;
    while (format_record_read(batch, stream, offset, &chain, &record, s->payload)) {
        offset += FORMAT_RECORD_HEADER_BYTES + record.bytes;
        if (record.kind == FORMAT_END) {
            if (tell)
                s->result.chain = chain;
            return record.bytes == 0 && format_sectors(offset) == sectors &&
                   ends_in_zeroes(batch, stream, offset);
        }
        if (tell)
            s->each(s->ctx, s->result.end_offset, &record, s->payload);
    }
    return false;
}

/* Whether anything but zeroes and pieces of the batch at hand lies from `at` on. */
static bool holds_more(const struct scan *s, uint32_t at, bool *any)
{
    uint32_t tag = format_tag(s->result.next_batch);
    *any = false;
    for (; at < s->bytes; at += FORMAT_SECTOR_BYTES) {
        const uint8_t *sector = s->segment + at;
        uint32_t found = format_sector_tag(sector);
        if (found != 0 && found != tag)
            return true;
        for (uint32_t i = 0; !*any && i < FORMAT_SECTOR_BYTES; i++)
            *any = sector[i] != 0;
        for (uint32_t i = 0; found == 0 && i < FORMAT_SECTOR_BYTES; i++)
            if (sector[i] != 0)
                return true; /* a sector is written whole: its tag was lost later */
    }
    return false;
}

struct recover_result recover_scan(const uint8_t *segment, uint32_t bytes,
                                   const struct format_header *header, recover_record_fn *each,
                                   void *ctx)
{
    struct scan s = {.segment = segment, .bytes = bytes, .each = each, .ctx = ctx};
    s.payload = memory_alloc(RAFT_MAX_ENTRY_BYTES);
    s.result = (struct recover_result){.end_offset = FORMAT_SECTOR_BYTES,
                                       .next_batch = header->first_batch,
                                       .chain = header->chain};
    while (s.result.end_offset < bytes) {
        uint32_t tagged = tagged_sectors(&s);
        uint32_t sectors = tagged ? declared_sectors(&s) : 0;
        if (tagged && sectors && tagged >= sectors && walk_batch(&s, sectors, false)) {
            walk_batch(&s, sectors, true);
            s.result.end_offset += sectors * FORMAT_SECTOR_BYTES;
            s.result.next_batch++;
            continue;
        }
        bool any;
        bool whole = tagged && (sectors == 0 || tagged >= sectors);
        if (whole || holds_more(&s, s.result.end_offset, &any))
            s.result.end = RECOVER_CORRUPT;
        else
            s.result.end = any ? RECOVER_TORN : RECOVER_CLEAN;
        break;
    }
    memory_free(s.payload);
    return s.result;
}
