/* SPDX-License-Identifier: MIT */
/*
 * format.h - the log's bytes on disk.
 *
 * A segment is a file of fixed size, preallocated with zeroes that were really written, so that a
 * sync of it changes no metadata. Little-endian throughout:
 *
 *     sector 0    header: u64 magic  u32 version  u64 incarnation  u64 number  u64 first_batch
 *                         u64 last_index  u64 last_term  u64 hard_term  u64 hard_vote
 *                         u32 chain  u32 crc
 *     sector 1…   batches, each starting on a sector
 *
 * last_index and last_term name the log's last entry when the segment was begun, which is where the
 * log begins once the older segments are gone; the hard state is repeated so that they can go. A
 * batch is what one sync covers:
 *
 *     sector      u32 tag (the batch's number, never 0)  508 bytes of the batch's stream
 *     stream      u32 sectors  u32 crc of it, then records, the last of kind END, then zeroes
 *     record      u32 bytes  u8 kind  u64 term  u64 index  u32 crc  payload
 *
 * Batch numbers grow by one through all segments. A record's CRC-32C starts from the one before it
 * (the chain, across batches and segments) and covers the record but for the crc itself.
 *
 * Why that is enough. One batch is in flight at a time, so a power cut can only have damaged the
 * last one, of which any subset of sectors may have reached the disk; a sector that did not is
 * still zero, and shows it by its tag (how many there should be has a checksum of its own). So a
 * bad batch is torn if a sector of it has tag 0 and no later batch exists. Anything else that is
 * bad was good once: that is corruption, and never cut away.
 *
 * Pure: no I/O, no allocation, any thread.
 */
#ifndef RAFTFS_RAFT_LOG_FORMAT_H
#define RAFTFS_RAFT_LOG_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "raft/raft.h"

enum {
    FORMAT_VERSION = 2, /* 1 knew no FORMAT_RESTART */
    FORMAT_SECTOR_BYTES = 512,
    FORMAT_TAG_BYTES = 4,
    FORMAT_STREAM_BYTES = FORMAT_SECTOR_BYTES - FORMAT_TAG_BYTES, /* of a sector */
    FORMAT_BATCH_HEADER_BYTES = 8,
    FORMAT_RECORD_HEADER_BYTES = 25,
};

/* The first three are enum raft_entry_kind. */
enum format_kind {
    FORMAT_TRUNCATE = 16, /* index: this entry and all behind it are dropped */
    FORMAT_HARD = 17,     /* term, and index: the vote */
    FORMAT_END = 18,
    FORMAT_RESTART = 19, /* every entry goes; the log begins behind this one */
};

struct format_header {
    uint64_t incarnation;
    uint64_t number;
    uint64_t first_batch;
    uint64_t last_index;
    uint64_t last_term;
    struct raft_hard_state hard;
    uint32_t chain;
};

struct format_record {
    uint8_t kind;
    uint64_t term;
    uint64_t index;
    uint32_t bytes;
    uint32_t chain;  /* the crc before this record */
    uint32_t offset; /* of the record's first byte within the stream */
};

void format_header_encode(const struct format_header *header, uint8_t out[FORMAT_SECTOR_BYTES]);

/* 0; -EPROTO: a newer format; -EUCLEAN: not a header, or damaged. */
int format_header_decode(struct format_header *header, const uint8_t in[FORMAT_SECTOR_BYTES]);

/* Sectors that a stream of so many bytes takes. */
uint32_t format_sectors(uint64_t stream_bytes);

/* The offset in its segment of a stream byte of the batch that starts at batch_offset. */
uint32_t format_file_offset(uint32_t batch_offset, uint32_t stream_offset);

/* ---- Writing a batch ---- */

struct format_batch {
    uint8_t *out; /* capacity sectors, zeroed from `used` on */
    uint32_t capacity_sectors;
    uint32_t tag;
    uint32_t stream_bytes;
    uint32_t chain;
};

void format_batch_begin(struct format_batch *batch, uint8_t *out, uint32_t capacity_sectors,
                        uint64_t number, uint32_t chain);

/* Stream bytes that a record with this payload takes. */
uint64_t format_record_bytes(uint32_t payload_bytes);

/* Appends a record; sets record->chain and ->offset. The caller has checked that it fits. */
void format_batch_add(struct format_batch *batch, struct format_record *record,
                      const void *payload);

/* Adds END, fills the header in; returns the batch's sectors. */
uint32_t format_batch_end(struct format_batch *batch);

/* ---- Reading ---- */

uint32_t format_tag(uint64_t batch_number);

/* The sectors of a batch by its first one; 0 if that is damaged. */
uint32_t format_batch_sectors(const uint8_t *first_sector);

uint32_t format_sector_tag(const uint8_t *sector);

/* Copies stream bytes [offset, offset + bytes) out of a batch in memory. */
void format_stream_copy(const uint8_t *batch, uint32_t offset, void *out, uint32_t bytes);

/*
 * Decodes the record at `offset` of a batch of `stream_bytes` in memory and checks it against the
 * chain, which moves on. The payload is copied to `payload` (RAFT_MAX_ENTRY_BYTES) unless it is
 * NULL. False if it is no good record.
 */
bool format_record_read(const uint8_t *batch, uint32_t stream_bytes, uint32_t offset,
                        uint32_t *chain, struct format_record *record, uint8_t *payload);

#endif
