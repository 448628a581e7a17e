/* SPDX-License-Identifier: MIT */
/*
 * membership.c - changes of configuration.
 *
 * A configuration is in force from when it is appended (activating it when applied needs further
 * invariants and leaves holes: etcd #12359), and at most one is uncommitted. A leader makes one
 * only after an entry of its own term is committed: without that guard two leaders can each commit
 * a different single-voter change (the bug in the dissertation's single-server algorithm). Changes
 * of one voter go directly, since any two majorities then intersect; larger ones are joint, and the
 * leader leaves the joint configuration by itself. New members come in as learners and are promoted
 * by themselves when they have caught up.
 *
 * A wiped node comes back under its old name with another id, and replaces what it was: it comes in
 * as a learner, and when it has caught up a joint configuration exchanges the two. So there is
 * never a voter more, which could not be lost, nor one less, which might be needed.
 */
#include <string.h>

#include "raft/core/core.h"

int membership_slot(const struct raft *r, raft_id id)
{
    const struct raft_member *m = raft_config_find(&r->config, id);
    return m ? (int)(m - r->config.members) : -1;
}

bool membership_is_voter(const struct raft *r, raft_id id)
{
    const struct raft_member *m = raft_config_find(&r->config, id);
    return m && (m->voter || m->voter_out);
}

/* Each member's progress moves to its new slot; a new member is probed from the newest entry back.
 */
static void rearrange_peers(struct raft *r)
{
    for (uint32_t i = 0; i < r->config.count; i++) {
        raft_id id = r->config.members[i].id;
        uint32_t k = i;
        while (k < RAFT_MAX_MEMBERS && r->peers[k].id != id)
            k++;
        bool known = k < RAFT_MAX_MEMBERS;
        for (uint32_t j = i; !known && j < RAFT_MAX_MEMBERS; j++)
            if (r->peers[j].id == 0 || membership_slot(r, r->peers[j].id) < 0)
                k = j;
        struct progress moved = r->peers[k];
        r->peers[k] = r->peers[i];
        r->peers[i] = moved;
        if (!known)
            progress_reset(&r->peers[i], id, r->log.last_index, r->now_us);
    }
    for (uint32_t i = r->config.count; i < RAFT_MAX_MEMBERS; i++)
        r->peers[i].id = 0;
}

void membership_adopt(struct raft *r, const struct raft_config *config, uint64_t index)
{
    r->previous_config = r->config;
    r->previous_config_index = r->config_index;
    r->config = *config;
    r->config_index = index;
    r->out->changed = true;
    if (r->role == RAFT_LEADER) {
        grant_config_begins(r);
        rearrange_peers(r);
    }
}

/* All but the newest configuration are committed, so one step back is always enough. */
void membership_roll_back(struct raft *r, uint64_t truncate_from)
{
    if (r->config_index < truncate_from)
        return;
    r->config = r->previous_config;
    r->config_index = r->previous_config_index;
    r->out->changed = true;
}

static uint32_t count_voters(const struct raft_config *c)
{
    uint32_t voters = 0;
    for (uint32_t i = 0; i < c->count; i++)
        voters += c->members[i].voter;
    return voters;
}

static struct raft_member *find(struct raft_config *c, raft_id id)
{
    return (struct raft_member *)raft_config_find(c, id);
}

static void erase(struct raft_config *c, struct raft_member *m)
{
    memmove(m, m + 1, (size_t)(c->members + c->count - (m + 1)) * sizeof(*m));
    c->count--;
}

/* The learner that is to take the place of this member, or NULL. */
static struct raft_member *successor_of(struct raft_config *c, raft_id id)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (c->members[i].replaces == id)
            return &c->members[i];
    return NULL;
}

static bool add_learner(struct raft_config *c, const struct raft_member *m)
{
    if (m->id == 0 || !m->name[0] || !m->address[0] || c->count == RAFT_MAX_MEMBERS ||
        raft_config_find(c, m->id) || raft_config_find_name(c, m->name))
        return false;
    c->members[c->count] = *m;
    c->members[c->count].voter = c->members[c->count].voter_out = false;
    c->members[c->count].replaces = 0;
    c->count++;
    return true;
}

/* What was to become of it becomes of its successor, which has nobody to wait for now. */
static bool remove_member(struct raft_config *c, raft_id id)
{
    struct raft_member *m = find(c, id);
    struct raft_member *successor = m ? successor_of(c, id) : NULL;
    if (!m)
        return false;
    if (successor) {
        successor->promote = m->voter || m->promote;
        successor->replaces = m->replaces;
    }
    erase(c, m);
    return true;
}

/*
 * A voter stays until its successor has caught up. A learner goes at once, also one that was itself
 * to replace somebody: a node can be wiped again on its way back.
 */
static bool replace_member(struct raft_config *c, const struct raft_member *m, raft_id replaces)
{
    struct raft_member *old = replaces ? find(c, replaces) : NULL;
    struct raft_member *waiting = old ? successor_of(c, replaces) : NULL;
    const struct raft_member *named = raft_config_find_name(c, m->name);
    if (!old || m->id == 0 || find(c, m->id) || !m->address[0] || !m->name[0] ||
        (named && named != old && named != waiting && named->id != old->replaces))
        return false;
    struct raft_member new = *m;
    new.voter = new.voter_out = false;
    new.promote = !old->voter && old->promote;
    new.replaces = old->voter ? old->id : old->replaces;
    if (waiting)
        erase(c, waiting);
    old = find(c, replaces);
    if (!old->voter)
        erase(c, old);
    if (c->count == RAFT_MAX_MEMBERS)
        return false;
    c->members[c->count++] = new;
    return true;
}

/* The configuration after the change, in place; false if the change makes no sense. */
static bool apply_change(struct raft_config *c, enum raft_change_kind kind,
                         const struct raft_member *m, raft_id replaces)
{
    struct raft_member *known = find(c, m->id);
    switch (kind) {
    case RAFT_CHANGE_ADD:
        return add_learner(c, m);
    case RAFT_CHANGE_REMOVE:
        return remove_member(c, m->id);
    case RAFT_CHANGE_REPLACE:
        return replace_member(c, m, replaces);
    case RAFT_CHANGE_PROMOTE:
        if (!known || known->voter || known->promote || known->replaces)
            return false;
        known->promote = true;
        return true;
    case RAFT_CHANGE_DEMOTE:
        if (!known || (!known->voter && !known->promote))
            return false;
        known->voter = known->promote = false;
        return true;
    case RAFT_CHANGE_ADDRESS:
        if (!known || !m->address[0])
            return false;
        memcpy(known->address, m->address, sizeof(known->address));
        return true;
    }
    return false;
}

static bool is_joint(const struct raft_config *c)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (c->members[i].voter_out)
            return true;
    return false;
}

static bool answers(const struct raft *r, raft_id id)
{
    if (peer_is_self(r, id))
        return true;
    int slot = membership_slot(r, id);
    const struct progress *p = slot < 0 ? NULL : &r->peers[slot];
    return p && p->contact_us && r->now_us < p->contact_us + r->options.election_us;
}

/*
 * A change that takes a voter away must leave a majority that answers, or nothing can ever be
 * changed again, the change itself included (etcd's strict reconfiguration check).
 */
static bool keeps_quorum(const struct raft *r, const struct raft_config *after)
{
    uint32_t voters = 0, answering = 0;
    for (uint32_t i = 0; i < after->count; i++) {
        voters += after->members[i].voter;
        answering += after->members[i].voter && answers(r, after->members[i].id);
    }
    return answering > voters / 2;
}

static bool may_change(const struct raft *r)
{
    return leader_settled(r) && r->config_index <= r->commit_index && r->transfer_to == 0 &&
           r->out->write.count == 0 && effects_write_room(r);
}

static void append_config(struct raft *r)
{
    leader_append_own(r, RAFT_ENTRY_CONFIG, &r->scratch);
    r->out->first_index = r->log.last_index;
    membership_adopt(r, &r->scratch, r->log.last_index);
}

static bool already_so(const struct raft *r, enum raft_change_kind kind,
                       const struct raft_member *m)
{
    const struct raft_member *known = raft_config_find(&r->config, m->id);
    return (kind == RAFT_CHANGE_ADD || kind == RAFT_CHANGE_REPLACE) && known &&
           strcmp(known->name, m->name) == 0 && strcmp(known->address, m->address) == 0;
}

void membership_change(struct raft *r, enum raft_change_kind kind, const struct raft_member *m,
                       raft_id replaces)
{
    if (r->role != RAFT_LEADER) {
        r->out->refusal = RAFT_NOT_LEADER;
        return;
    }
    if (already_so(r, kind, m))
        return;
    if (!may_change(r) || is_joint(&r->config)) {
        r->out->refusal = r->transfer_to ? RAFT_MOVING : RAFT_BUSY;
        return;
    }
    r->scratch = r->config;
    if (!apply_change(&r->scratch, kind, m, replaces)) {
        r->out->refusal = RAFT_INVALID;
        return;
    }
    if (count_voters(&r->scratch) < count_voters(&r->config) && !keeps_quorum(r, &r->scratch)) {
        r->out->refusal = RAFT_UNSAFE;
        return;
    }
    append_config(r);
}

static bool leave_joint(struct raft_config *c)
{
    if (!is_joint(c))
        return false;
    for (uint32_t i = 0; i < c->count; i++) {
        bool leaves = c->members[i].voter_out && !c->members[i].voter;
        c->members[i].voter_out = false;
        if (leaves)
            erase(c, &c->members[i--]);
    }
    return true;
}

static bool promote_one(struct raft *r, struct raft_config *c)
{
    if (count_voters(c) >= RAFT_MAX_VOTERS)
        return false;
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->members[i].promote && !c->members[i].voter && r->peers[i].caught_up &&
            answers(r, c->members[i].id)) {
            c->members[i].voter = true;
            c->members[i].promote = false;
            return true;
        }
    }
    return false;
}

/* From here on the two are a joint configuration, or one step when no voter is touched. */
static void exchange(struct raft_config *c, raft_id id)
{
    struct raft_member *new = find(c, id);
    struct raft_member *old = find(c, new->replaces);
    new->replaces = 0;
    if (!old || !old->voter) { /* demoted meanwhile */
        new->promote = old && old->promote;
        if (old)
            erase(c, old);
        return;
    }
    for (uint32_t i = 0; i < c->count; i++)
        c->members[i].voter_out = c->members[i].voter;
    old->voter = false;
    new->voter = true;
}

static bool exchange_one(struct raft *r, struct raft_config *c)
{
    for (uint32_t i = 0; i < c->count; i++) {
        raft_id id = c->members[i].id;
        if (c->members[i].replaces == 0 || !r->peers[i].caught_up || !answers(r, id))
            continue;
        exchange(c, id);
        return true;
    }
    return false;
}

/* What the leader does by itself: leave a joint configuration, promote who has caught up. */
void membership_advance(struct raft *r)
{
    if (r->role != RAFT_LEADER || !may_change(r))
        return;
    bool wanted = is_joint(&r->config);
    for (uint32_t i = 0; i < r->config.count; i++)
        wanted = wanted || r->config.members[i].promote || r->config.members[i].replaces;
    if (!wanted)
        return;
    r->scratch = r->config;
    if (leave_joint(&r->scratch) || exchange_one(r, &r->scratch) || promote_one(r, &r->scratch))
        append_config(r);
}
