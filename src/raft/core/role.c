/* SPDX-License-Identifier: MIT */
/* role.c - changes of role: the only writer of r->role. Each leaves nothing of the old role behind.
 */
#include <string.h>

#include "raft/core/core.h"

void set_leader(struct raft *r, raft_id leader)
{
    if (r->leader == leader)
        return;
    if (r->role != RAFT_LEADER)
        read_fail_all(r); /* they were asked of the old one */
    r->leader = leader;
    r->granted_until_us = 0;
    r->elections += leader != 0;
    r->out->changed = true;
}

static void enter(struct raft *r, enum raft_role role)
{
    if (r->role == RAFT_LEADER && role != RAFT_LEADER)
        read_fail_all(r);
    if (r->role != role)
        r->out->changed = true;
    r->role = role;
    r->role_since_us = r->now_us;
    r->transfer_to = 0;
    r->transfer_sent = false;
    memset(r->granted, 0, sizeof(r->granted));
}

static void set_term(struct raft *r, uint64_t term, raft_id vote)
{
    assert(term >= r->hard.term);
    r->hard = (struct raft_hard_state){.term = term, .vote = vote};
    effects_write_hard(r);
    r->granted_until_us = 0;
    r->out->changed = true;
}

void become_follower(struct raft *r, uint64_t term, raft_id leader)
{
    assert(term >= r->hard.term);
    bool new_term = term > r->hard.term;
    if (new_term)
        set_term(r, term, 0);
    if (new_term || r->role != RAFT_FOLLOWER) {
        enter(r, RAFT_FOLLOWER);
        election_reset_timer(r);
    }
    set_leader(r, leader);
}

void become_pre_candidate(struct raft *r)
{
    assert(r->role != RAFT_LEADER);
    enter(r, RAFT_PRE_CANDIDATE);
    set_leader(r, 0);
    election_reset_timer(r);
}

void become_candidate(struct raft *r, bool transferred)
{
    assert(r->role != RAFT_LEADER);
    set_term(r, r->hard.term + 1, r->options.id);
    enter(r, RAFT_CANDIDATE);
    set_leader(r, 0);
    r->transferred = transferred;
    election_reset_timer(r);
}

void become_leader(struct raft *r)
{
    assert(r->role == RAFT_CANDIDATE);
    enter(r, RAFT_LEADER);
    set_leader(r, r->options.id);
    /* What it knew when it led before is worth nothing, also of who is no member at the moment. */
    for (uint32_t i = 0; i < RAFT_MAX_MEMBERS; i++) {
        raft_id id = i < r->config.count ? r->config.members[i].id : 0;
        progress_reset(&r->peers[i], id, r->log.last_index + 1, r->now_us);
    }
    r->uncommitted_bytes = 0;
    r->read_count = 0;
    r->heartbeat_at_us = r->now_us;
    r->word_given = false;
    r->grant_config_until_us = 0;
    r->led_term = r->hard.term;
    /* Entries of old terms commit only behind one of this term (thesis 3.6.2, Figure 8). */
    leader_append_own(r, RAFT_ENTRY_NOOP, NULL);
    r->term_start_index = r->log.last_index;
}
