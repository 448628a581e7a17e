/* SPDX-License-Identifier: MIT */
/*
 * grant.c - a member that has read may read on by itself, for a moment.
 *
 * What opens a file asks twice or three times in a row, and each question costs a follower a round
 * trip. So a leader that answers one, under a lease (lease.c), while nothing is on its way, grants
 * the asker grant_us:
 *
 *     leader    until then commits nothing that the member has not acknowledged
 *     member    until then, counted from when it asked, sees whatever can have been acknowledged to
 *               anyone by looking at its own log: if all of that is committed and applied, it may
 *               look there
 *
 * Safe, because an entry that others have been told of was committed before the grant, and then the
 * answer's index covers it, or under it, and then the member holds it. Nobody else commits before
 * the grant ends:
 *  - it ends within the lease, so those who answered for that elect nobody else;
 *  - nor does the leader itself, deposed or not, which the lease need not ask of it: it ends with
 *    the leadership, a grant does not. Counterexample: voters 1 2 3, of which 3 was cut off and
 *    brings a higher term; 1, who has granted 2, votes for 3, and both commit around 2;
 *  - the leader's word to a successor, which no lease survives, waits until no grant is out;
 *  - a configuration is committed only once the grants from before it have ended. So a member that
 *    leaves with one in its hand is waited for, and no second configuration begins, whose quorums
 *    need not meet those of the lease any more;
 *  - a voter that starts keeps still for as long as the longest promise. The only voter owes nobody
 *    one, but keeps still for the longest grant, whoever its log says is left to have one.
 * The member counts a quarter less, by its own clock (RAFT_CLOCK_DRIFT); one that shall not trust
 * clocks (options.lease) takes no grant, and says so when it asks: nothing waits for it.
 *
 * Counterexample to counting from the answer: it waits in a socket for a second; the leader's time
 * is long over, entries were committed without the member, which then reads around them.
 *
 * A member that reads and writes, or reads what others write, need not ask after each change: for
 * as long as it has asked lately, the heartbeat that tells it of the change's commit grants it as
 * much again. The leader counts that from when it got the member's acknowledgement, the member from
 * when its own log was durable up to there, which was before it left.
 *
 * Counterexample to counting from when the log became durable up to wherever it ends now: the
 * heartbeat waits in a socket, while the next entry comes, is acknowledged and committed. So a
 * member takes it only while its log ends, on the disk, where the heartbeat says.
 *
 * The price: should the member fall silent, a write waits for the end of the grant, once; if it is
 * slow, the write after each one that it was granted with. That is why a grant is short, and only
 * given while the log rests: nothing is granted under a load of writes.
 */
#include "raft/core/core.h"

enum { LATELY = 10 }; /* times grant_us: so long a member that has asked counts as one that reads */

/* ---- Leader ---- */

static uint32_t give(struct raft *r, struct progress *p, uint64_t since_us)
{
    uint64_t until_us = since_us + r->options.grant_us;
    bool rests = r->commit_index == r->log.last_index;
    if (until_us <= r->now_us || !rests || r->transfer_to || p->match < r->log.last_index ||
        until_us > raft_lease_until_us(r))
        return 0;
    if (until_us > p->granted_until_us)
        p->granted_until_us = until_us;
    if (until_us > r->promise_until_us)
        r->promise_until_us = until_us;
    return r->options.grant_us;
}

uint32_t grant_give(struct raft *r, raft_id to)
{
    int slot = membership_slot(r, to);
    return slot < 0 ? 0 : give(r, &r->peers[slot], r->now_us);
}

uint32_t grant_again(struct raft *r, struct progress *p)
{
    uint64_t lately_us = LATELY * (uint64_t)r->options.grant_us;
    return p->asked_us && r->now_us < p->asked_us + lately_us ? give(r, p, p->progress_us) : 0;
}

uint64_t grant_commit(const struct raft *r, uint64_t index)
{
    if (r->now_us < r->grant_config_until_us)
        return r->commit_index;
    for (uint32_t i = 0; i < r->config.count; i++)
        if (r->now_us < r->peers[i].granted_until_us && r->peers[i].match < index)
            index = r->peers[i].match;
    return index;
}

static uint64_t sooner(const struct raft *r, uint64_t a_us, uint64_t b_us)
{
    return b_us > r->now_us && (a_us == 0 || b_us < a_us) ? b_us : a_us;
}

uint64_t grant_next_end_us(const struct raft *r)
{
    uint64_t end_us = sooner(r, 0, r->grant_config_until_us);
    for (uint32_t i = 0; i < r->config.count; i++)
        end_us = sooner(r, end_us, r->peers[i].granted_until_us);
    return end_us;
}

void grant_config_begins(struct raft *r)
{
    for (uint32_t i = 0; i < RAFT_MAX_MEMBERS; i++)
        if (r->peers[i].granted_until_us > r->grant_config_until_us)
            r->grant_config_until_us = r->peers[i].granted_until_us;
}

/* ---- Member ---- */

void grant_take(struct raft *r, uint64_t since_us, uint32_t grant_us)
{
    if (!r->options.lease || grant_us > RAFT_MAX_LEASE_US)
        return;
    uint64_t until_us = since_us + grant_us - grant_us / RAFT_CLOCK_DRIFT;
    if (until_us > r->granted_until_us)
        r->granted_until_us = until_us;
}

void grant_take_again(struct raft *r, uint64_t commit, uint32_t grant_us)
{
    if (grant_us != 0 && commit == r->log.durable_index)
        grant_take(r, r->log.durable_us, grant_us);
}

uint64_t raft_grant_until_us(const struct raft *r)
{
    bool rests = r->commit_index == r->log.last_index;
    return r->role == RAFT_FOLLOWER && r->leader != 0 && rests ? r->granted_until_us : 0;
}

bool grant_holds(const struct raft *r)
{
    return r->now_us < raft_grant_until_us(r);
}
