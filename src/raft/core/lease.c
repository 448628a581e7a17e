/* SPDX-License-Identifier: MIT */
/*
 * lease.c - linearizable reads on the leader without asking anybody (thesis 6.4.1).
 *
 * A leader that wants a lease says in its heartbeats for how long. Whoever answers such a round
 * promises to help elect nobody for that long and a quarter more, by its own clock, from when the
 * round arrived. The leader counts from when the round began, so a quorum of answers means that no
 * other leader exists before
 *
 *     start of the round + lease_us        by the leader's clock
 *
 * as long as no voter's clock runs faster than 5/4 of the leader's: RAFT_CLOCK_DRIFT is the one
 * assumption about clocks in this core. (Crystals differ by 0.01 %, a clock that is being slewed by
 * 0.05 %.) The clock must go on while a machine sleeps, and must not be set: CLOCK_BOOTTIME.
 *
 * A promise is of the voter, not of a term, a role or a connection. It outlives
 *  - terms: any late message of a higher one makes a voter forget its leader, elected or not;
 *  - a broken connection: a firewall or a proxy that resets it looks like a process that died, with
 *    the leader alive behind it. So a dead leader is replaced when the promise ends, not at once;
 *  - a restart: a voter that starts may have promised anything, and so keeps still for as long as
 *    the longest promise;
 *  - one's own wish: a vote for oneself is a vote.
 * Only the leader's own word overrides it (TIMEOUT_NOW), which may be acted upon at any time: once
 * it is given, this leader has no lease for the rest of its term.
 *
 * Configurations need no care, since two that can both be in force have intersecting quorums; but a
 * leader that is no voter any more has no lease: the only voter left keeps still for none when it
 * starts, only for a grant (grant.c).
 */
#include "raft/core/core.h"

_Static_assert((LEASE_ROUNDS & (LEASE_ROUNDS - 1)) == 0, "a ring by the round's number");

/* ---- Leader ---- */

void lease_round_begins(struct raft *r)
{
    r->round_us[r->round % LEASE_ROUNDS] = r->now_us;
}

uint32_t lease_wanted_us(const struct raft *r)
{
    return r->word_given || !r->options.lease ? 0 : r->options.lease_us;
}

uint64_t raft_lease_until_us(const struct raft *r)
{
    uint64_t rounds[RAFT_MAX_MEMBERS];
    if (!leader_settled(r) || lease_wanted_us(r) == 0 || !membership_is_voter(r, r->options.id))
        return 0;
    for (uint32_t i = 0; i < r->config.count; i++)
        rounds[i] = peer_is_self(r, r->peers[i].id) ? r->round : r->peers[i].round;
    uint64_t round = quorum_commit(&r->config, rounds);
    if (round == 0 || r->round - round >= LEASE_ROUNDS)
        return 0;
    return r->round_us[round % LEASE_ROUNDS] + r->options.lease_us;
}

bool lease_holds(const struct raft *r)
{
    return r->now_us < raft_lease_until_us(r);
}

/* ---- Voter ---- */

void lease_promise(struct raft *r, uint32_t lease_us)
{
    uint64_t until_us = r->now_us + lease_us + lease_us / RAFT_CLOCK_DRIFT;
    if (lease_us != 0 && until_us > r->promise_until_us)
        r->promise_until_us = until_us;
}

bool lease_promised(const struct raft *r)
{
    return r->now_us < r->promise_until_us;
}
