/* SPDX-License-Identifier: MIT */
/*
 * disk.c - a disk that is full, and one that stands still.
 *
 * Full: the log has only its reserve left, and says so (RAFT_DISK). Reads go on; what may use the
 * reserve is what makes room, what elects, and what changes members:
 *
 *  - a leader whose own disk is full, or a majority's, takes only proposals that free space, so
 * that its callers hear "no space" instead of waiting. If the others have room it hands over;
 *  - while it does so it says so in its appends, and then its followers use their reserve for
 *    whatever it sends;
 *  - otherwise a full follower takes no ordinary entries, as if they had been lost: they would
 * block its log, and with it the votes behind them. It lags until there is room again.
 *
 * Still: heartbeats do not wait for the disk, so a leader with a dead one would lead for ever
 * (hashicorp/raft #503). Without progress for an election timeout it hands over, or steps down, if
 * somebody with a working disk is there; where all disks are alike nothing would be gained. Each
 * member says with its answers how its disk is.
 */
#include "raft/core/core.h"

static bool is_still(const struct raft *r, uint64_t timeouts)
{
    const struct logview *v = &r->log;
    return v->write_count > 0 && r->now_us >= v->write_since_us + timeouts * r->options.election_us;
}

struct raft_disk_state disk_state(const struct raft *r)
{
    return (struct raft_disk_state){.full = r->disk_full, .stalled = is_still(r, 1)};
}

static bool quorum_has_room(const struct raft *r)
{
    bool room[RAFT_MAX_MEMBERS];
    for (uint32_t i = 0; i < r->config.count; i++)
        room[i] = !(peer_is_self(r, r->peers[i].id) ? r->disk_full : r->peers[i].disk.full);
    return quorum_reached(&r->config, room);
}

bool disk_refuses(const struct raft *r)
{
    return r->disk_full || !quorum_has_room(r);
}

void disk_watch(struct raft *r)
{
    bool others_have_room = r->disk_full && quorum_has_room(r);
    raft_id successor = is_still(r, 1) || others_have_room ? leader_best_successor(r, true) : 0;
    if (successor == 0)
        return;
    if (is_still(r, 2))
        become_follower(r, r->hard.term, 0);
    else if (r->transfer_to == 0)
        leader_begin_transfer(r, successor);
}
