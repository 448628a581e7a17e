/* SPDX-License-Identifier: MIT */
/*
 * quorum.c - majorities, joint ones too; pure functions of a configuration.
 *
 * A joint configuration decides by a majority of its incoming voters and a majority of its outgoing
 * ones (thesis 4.3). No voters on one side means that this side does not object.
 */
#include "raft/core/core.h"

static bool is_voter(const struct raft_member *m, bool outgoing)
{
    return outgoing ? m->voter_out : m->voter;
}

/* The highest index that a majority of one side holds: for each candidate, count who has it. */
static uint64_t side_commit(const struct raft_config *c, const uint64_t *match, bool outgoing)
{
    uint32_t voters = 0;
    uint64_t best = 0;
    for (uint32_t i = 0; i < c->count; i++)
        voters += is_voter(&c->members[i], outgoing);
    if (voters == 0)
        return UINT64_MAX;
    for (uint32_t i = 0; i < c->count; i++) {
        uint32_t have = 0;
        for (uint32_t k = 0; k < c->count; k++)
            have += is_voter(&c->members[k], outgoing) && match[k] >= match[i];
        if (is_voter(&c->members[i], outgoing) && have > voters / 2 && match[i] > best)
            best = match[i];
    }
    return best;
}

uint64_t quorum_commit(const struct raft_config *c, const uint64_t *match)
{
    uint64_t incoming = side_commit(c, match, false);
    uint64_t outgoing = side_commit(c, match, true);
    uint64_t index = incoming < outgoing ? incoming : outgoing;
    return index == UINT64_MAX ? 0 : index;
}

static bool side_reached(const struct raft_config *c, const bool *yes, bool outgoing)
{
    uint32_t voters = 0, for_it = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        voters += is_voter(&c->members[i], outgoing);
        for_it += is_voter(&c->members[i], outgoing) && yes[i];
    }
    return voters == 0 || for_it > voters / 2;
}

bool quorum_reached(const struct raft_config *c, const bool *yes)
{
    bool any = false;
    for (uint32_t i = 0; i < c->count; i++)
        any = any || c->members[i].voter;
    return any && side_reached(c, yes, false) && side_reached(c, yes, true);
}
