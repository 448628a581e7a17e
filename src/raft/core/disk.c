/* SPDX-License-Identifier: MIT */
/*
 * disk.c - a disk that is full, and one that stands still.
 *
 * Full: the log has only its reserve left, and says so (RAFT_DISK). Reads go on; what may use the
 * reserve is what makes room, what elects, and what changes members:
 *
 *  - a leader whose own disk is full, or that needs a full one for a majority of those that answer,
 *    takes only proposals that free space, so that its callers hear "no space" instead of waiting.
 *    If the others have room it hands over;
 *  - while it does so it says so in its appends, and then its followers use their reserve for
 *    whatever it sends;
 *  - otherwise a full follower takes no ordinary entries, as if they had been lost: they would
 * block its log, and with it the votes behind them. It lags until there is room again.
 *
 * Still: heartbeats do not wait for the disk, so a leader with a dead one would lead for ever
 * (hashicorp/raft #503). Without progress for an election timeout it hands over, or steps down, if
 * a majority with working disks is there; another leader could not even be elected by disks that
 * stand still. Each member says with its answers how its disk is.
 */
#include "raft/core/core.h"

/* A write that ended while this node was away (election.c) has not been reported yet. */
static uint64_t still_since_us(const struct raft *r)
{
    return r->log.write_since_us > r->back_us ? r->log.write_since_us : r->back_us;
}

static bool is_still(const struct raft *r, uint64_t for_us)
{
    return r->log.write_count > 0 && r->now_us >= still_since_us(r) + for_us;
}

static uint64_t patience_us(const struct raft *r)
{
    return patience_timeout_us(&r->disk_patience, r->options.election_us, r->now_us);
}

void disk_learn(struct raft *r, uint64_t write_id)
{
    const struct logview *v = &r->log;
    if (v->write_count > 0 && write_id >= v->writes[v->write_head].id)
        patience_learn(&r->disk_patience, r->now_us - still_since_us(r), r->options.election_us,
                       r->now_us);
}

struct raft_disk_state disk_state(const struct raft *r)
{
    return (struct raft_disk_state){.full = r->disk_full, .stalled = is_still(r, patience_us(r))};
}

/* Or it may yet, since this leader is new. */
static bool answers(const struct raft *r, const struct progress *p)
{
    uint64_t since_us = p->contact_us > r->role_since_us ? p->contact_us : r->role_since_us;
    return peer_is_self(r, p->id) || r->now_us < since_us + r->options.election_us;
}

enum asked { ANSWERS, WITH_ROOM, NOT_STALLED };

/* Whether a majority answers, and has such disks. */
static bool quorum_of(const struct raft *r, enum asked asked)
{
    bool yes[RAFT_MAX_MEMBERS];
    for (uint32_t i = 0; i < r->config.count; i++) {
        const struct progress *p = &r->peers[i];
        struct raft_disk_state disk = peer_is_self(r, p->id) ? disk_state(r) : p->disk;
        yes[i] = answers(r, p) && !(asked == WITH_ROOM && disk.full) &&
                 !(asked == NOT_STALLED && disk.stalled);
    }
    return quorum_reached(&r->config, yes);
}

bool disk_refuses(const struct raft *r)
{
    return r->disk_full || (quorum_of(r, ANSWERS) && !quorum_of(r, WITH_ROOM));
}

void disk_watch(struct raft *r)
{
    uint64_t timeout_us = patience_us(r);
    uint64_t told_us = timeout_us + 3 * r->options.heartbeat_us / 2; /* so are the others' states */
    bool others_work = is_still(r, told_us) && quorum_of(r, NOT_STALLED);
    bool others_have_room = r->disk_full && quorum_of(r, WITH_ROOM);
    raft_id successor = others_work || others_have_room ? leader_best_successor(r, true) : 0;
    if (successor == 0)
        return;
    if (is_still(r, 2 * timeout_us))
        become_follower(r, r->hard.term, 0);
    else if (r->transfer_to == 0)
        leader_begin_transfer(r, successor);
}
