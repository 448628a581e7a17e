/* SPDX-License-Identifier: MIT */
/*
 * outbox.h - messages that may not leave before a write is durable.
 *
 * A vote or an acknowledgement is a promise about this node's disk, so it waits here for the write
 * that backs it. Write ids grow, so the box is a plain queue. Loop thread only.
 */
#ifndef RAFTFS_RAFT_OUTBOX_H
#define RAFTFS_RAFT_OUTBOX_H

#include "raft/raft.h"

struct raft_outbox {
    struct raft_send *ring;
    uint32_t capacity; /* a power of two */
    uint32_t head;
    uint32_t count;
};

void raft_outbox_init(struct raft_outbox *box);
void raft_outbox_close(struct raft_outbox *box);
void raft_outbox_put(struct raft_outbox *box, const struct raft_send *send);

/* Takes the oldest message whose write is durable; false if there is none. */
bool raft_outbox_take(struct raft_outbox *box, uint64_t durable_write, struct raft_msg *msg);

#endif
