/* SPDX-License-Identifier: MIT */
/*
 * snapshot.c - a member that needs what the log no longer has (thesis 5).
 *
 * The core never sees a snapshot. The leader only says where its log begins; whoever lacks what is
 * before that asks its node for a snapshot at or above there, from any member, and says once the
 * state machine stands on it. An acknowledgement proves that to the leader, whatever became of the
 * messages in between, and no time-out undoes an installation that succeeded (hashicorp/raft #212).
 *
 *     leader    SNAPSHOT(base) ----> member: needs one at or above base, again with each message
 *     member    fetches and installs it, the log begins behind it, restart durable
 *     leader   <---- APPEND_REPLY(match >= base), then appends as ever
 *
 * A snapshot is of the cluster's committed past, so installing it cannot undo what this node has
 * promised: a tail that the snapshot's last entry does not belong to was never committed.
 */
#include "raft/core/core.h"

/* ---- Leader ---- */

static void tell(struct raft *r, const struct progress *p)
{
    uint64_t index = logview_floor(&r->log);
    effects_send(
        r,
        &(struct raft_msg){.kind = RAFT_MSG_SNAPSHOT,
                           .to = p->id,
                           .term = r->hard.term,
                           .snapshot = {.index = index, .term = logview_term(&r->log, index)}},
        0);
}

/* Its next entry has no predecessor in the log that it could be sent behind. */
void snapshot_offer(struct raft *r, struct progress *p)
{
    progress_snapshot(p);
    tell(r, p);
}

/* With every heartbeat: the message, the node's wish or the answer may have been lost. */
void snapshot_offer_again(struct raft *r)
{
    for (uint32_t i = 0; i < r->config.count; i++)
        if (!peer_is_self(r, r->peers[i].id) && r->peers[i].state == PROGRESS_SNAPSHOT)
            tell(r, &r->peers[i]);
}

/* ---- Member ---- */

/* Whether our log has this entry; then, by log matching, all that is before it too. */
static bool holds(const struct raft *r, uint64_t index, uint64_t term)
{
    return index <= r->log.last_index && term != 0 && logview_term(&r->log, index) == term;
}

void snapshot_on_offer(struct raft *r, const struct raft_msg *m)
{
    if (m->snapshot.index == 0 || m->snapshot.term == 0 || m->snapshot.term > m->term) {
        r->dropped++;
        return;
    }
    /* The leader compacts only what is committed, and we may hold that without knowing. */
    if (m->snapshot.index > r->commit_index && holds(r, m->snapshot.index, m->snapshot.term))
        r->commit_index = m->snapshot.index;
    if (m->snapshot.index <= r->commit_index)
        follower_acknowledge(r, m->from, r->commit_index);
    else
        r->out->need_snapshot_index = m->snapshot.index;
}

static void start_log_over(struct raft *r, const struct raft_event *e)
{
    uint64_t term = e->installed.term > r->hard.term ? e->installed.term : r->hard.term;
    if (r->role != RAFT_FOLLOWER || term > r->hard.term)
        become_follower(r, term, 0); /* nobody wins an election without this entry */
    logview_restart(&r->log, e->installed.index, e->installed.term);
    effects_write_restart(r);
    r->config = *e->installed.config;
    r->config_index = e->installed.config_index;
    r->previous_config.count = 0; /* what is behind a snapshot is never rolled back */
    r->previous_config_index = 0;
    r->out->changed = true;
}

void snapshot_installed(struct raft *r, const struct raft_event *e)
{
    uint64_t index = e->installed.index;
    if (index > r->commit_index) {
        if (!holds(r, index, e->installed.term))
            start_log_over(r, e);
        r->commit_index = index;
    }
    if (r->leader != 0 && r->role == RAFT_FOLLOWER)
        follower_acknowledge(r, r->leader, r->commit_index);
}
