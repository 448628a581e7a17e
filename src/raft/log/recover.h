/* SPDX-License-Identifier: MIT */
/*
 * recover.h - what a segment in memory holds, and whether its end is torn or the segment corrupt.
 *
 * The rules are format.h's. Pure over the segment's bytes; any thread.
 */
#ifndef RAFTFS_RAFT_LOG_RECOVER_H
#define RAFTFS_RAFT_LOG_RECOVER_H

#include "raft/log/format.h"

enum recover_end {
    RECOVER_CLEAN = 0, /* zeroes behind the last batch */
    RECOVER_TORN,      /* an unfinished batch behind it */
    RECOVER_CORRUPT,   /* something that was good once is not */
};

struct recover_result {
    enum recover_end end;
    uint32_t end_offset; /* where the last good batch ends; for RECOVER_CORRUPT, what is bad */
    uint64_t next_batch;
    uint32_t chain;
};

/*
 * Scans a segment of `bytes` behind its header, calling `each` for every record of every good
 * batch, in order, once the whole batch has been checked. batch_offset is where its batch starts.
 */
typedef void recover_record_fn(void *ctx, uint32_t batch_offset, const struct format_record *record,
                               const uint8_t *payload);
struct recover_result recover_scan(const uint8_t *segment, uint32_t bytes,
                                   const struct format_header *header, recover_record_fn *each,
                                   void *ctx);

#endif
