/* SPDX-License-Identifier: MIT */
/*
 * status.h - the texts of .status, .leader and .raft/members.
 *
 * Lines of `.status` are only ever added to, in this order, because scripts read them. Nothing here
 * waits for a disk or a quorum. Any thread.
 */
#ifndef RAFTFS_NODE_STATUS_H
#define RAFTFS_NODE_STATUS_H

#include <stddef.h>

#include "raft/driver.h"
#include "store/store.h"

/* What a text is made of: copies, taken by the caller. */
struct status_source {
    const struct raft_net_identity *identity;
    const struct raft_driver_status *raft;
    const struct store_totals *store;
    uint64_t snapshot_index;
    uint64_t uptime_ms;
};

/* Bytes written to `out`, at most out_bytes - 1 and then a NUL. */
size_t status_format(const struct status_source *source, char *out, size_t out_bytes);

/* "NAME ADDRESS\n", or nothing while no leader is known. */
size_t status_leader(const struct raft_driver_status *raft, char *out, size_t out_bytes);

/* Member k of the configuration: its name, and "ADDRESS voter|nonvoter"; false: there is none. */
bool status_member(const struct raft_driver_status *raft, unsigned k, char *name, size_t name_bytes,
                   char *text, size_t text_bytes);

#endif
