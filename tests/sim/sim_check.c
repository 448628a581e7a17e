/* SPDX-License-Identifier: MIT */
/*
 * sim_check.c - the invariants, checked as things happen and against disks, never against what a
 * core believes of itself.
 *
 *  1 one leader a term, ever                  2 a leader only appends in its term
 *  3 log matching                             4 leader completeness
 *  5 committed prefixes agree                 6 what is committed is on a quorum's disks
 *  7 term, vote and commit never go back      8 no promise leaves before its write is durable
 *  9 configurations (sim_check_config.c)     10 reads (sim_client.c)
 * 11 an acknowledged operation is there once 12 elections count durable votes of members only
 * 13 limits                                  14 the same seed is the same run (sim_main.c)
 *
 * Log matching by induction: whoever appends (index, term) must append the payload, and behind the
 * term, that the first to do so did; then equal (index, term) means equal logs up to there.
 */
#include <inttypes.h>

#include "base/memory.h"
#include "sim_world.h"

/* ---- Entries ---- */

static void check_entry(struct sim_world *w, raft_id id, uint64_t index, const struct sim_entry *e,
                        uint64_t term_before)
{
    uint64_t what = e->payload << 2 | (uint64_t)e->kind;
    const struct sim_fact *fact =
        sim_map_put(&w->history.entries, index, e->term, what, term_before);
    if (fact->x != what || fact->y != term_before)
        sim_world_fail(w,
                       "3: node %" PRIu64 " has another entry %" PRIu64 " t%" PRIu64
                       " than was there before",
                       id, index, e->term);
    if (e->term < term_before)
        sim_world_fail(w,
                       "3: node %" PRIu64 " appends t%" PRIu64 " at %" PRIu64 " behind t%" PRIu64,
                       id, e->term, index, term_before);
}

static void check_truncation(struct sim_world *w, const struct sim_slot *s, uint64_t from)
{
    if (s->role == RAFT_LEADER && raft_term(s->node.core) == s->term)
        sim_world_fail(w, "2: leader %" PRIu64 " truncates its log from %" PRIu64, s->node.id,
                       from);
    if (from <= s->commit)
        sim_world_fail(w, "5: node %" PRIu64 " drops %" PRIu64 "..%" PRIu64 ", which are committed",
                       s->node.id, from, s->commit);
    if (from > s->node.log.last)
        sim_world_fail(w, "2: node %" PRIu64 " truncates behind its log, from %" PRIu64, s->node.id,
                       from);
}

/* What a snapshot makes a node forget was never committed. */
static void check_restart(struct sim_world *w, const struct sim_slot *s,
                          const struct sim_write *write)
{
    uint64_t index = write->restart_index;
    w->history.installed++;
    bool deposed = s->term < raft_term(s->node.core); /* the snapshot is of a later term */
    if (s->role == RAFT_LEADER && !deposed)
        sim_world_fail(w, "2: leader %" PRIu64 " starts its log over behind %" PRIu64, s->node.id,
                       index);
    if (index <= s->commit)
        sim_world_fail(w, "5: node %" PRIu64 " goes back from commit %" PRIu64 " to a snapshot",
                       s->node.id, s->commit);
    if (sim_log_term(&s->node.log, index) == w->history.committed[index - 1].entry.term)
        sim_world_fail(w, "5: node %" PRIu64 " drops a tail that belongs to its snapshot %" PRIu64,
                       s->node.id, index);
}

/* Before the node's log is changed. */
void sim_check_write(struct sim_world *w, struct sim_slot *s, const struct sim_write *write)
{
    const struct sim_log *log = &s->node.log;
    uint64_t kept = log->last;
    if (write->restart_index) {
        check_restart(w, s, write);
        kept = write->restart_index;
        s->config_index = kept;
        while (write->prefix[s->config_index - 1].kind != RAFT_ENTRY_CONFIG)
            s->config_index--;
    }
    if (write->truncate_from) {
        check_truncation(w, s, write->truncate_from);
        kept = write->truncate_from - 1;
        if (s->config_index > kept)
            s->config_index = sim_log_config_index(log, kept);
    }
    if (write->count && write->first != kept + 1) {
        sim_world_fail(w,
                       "3: node %" PRIu64 " appends at %" PRIu64 " to a log that ends at %" PRIu64,
                       s->node.id, write->first, kept);
        return;
    }
    if (s->full && !write->reserve)
        sim_world_fail(w, "13: node %" PRIu64 " writes what its disk has no room for", s->node.id);
    uint64_t term_before = sim_log_term(log, kept);
    bool own = s->node.out->write.own_kind == RAFT_ENTRY_CONFIG;
    for (uint32_t i = 0; i < write->count; i++) {
        const struct sim_entry *e = &write->entries[i];
        check_entry(w, s->node.id, write->first + i, e, term_before);
        term_before = e->term;
        if (e->kind != RAFT_ENTRY_CONFIG)
            continue;
        if (own)
            sim_check_new_config(w, s, write->first + i, &e->config->decoded);
        s->config_index = write->first + i;
    }
}

/* ---- The disk ---- */

void sim_check_disk(struct sim_world *w, struct sim_slot *s)
{
    const struct raft_hard_state *hard = &s->node.disk.hard;
    if (hard->term < s->durable_term)
        sim_world_fail(w, "7: node %" PRIu64 " goes back from t%" PRIu64 " to t%" PRIu64,
                       s->node.id, s->durable_term, hard->term);
    s->durable_term = hard->term;
    if (hard->vote == 0)
        return;
    const struct sim_fact *vote =
        sim_map_put(&w->history.votes, s->node.id, hard->term, hard->vote, 0);
    if (vote->x != hard->vote)
        sim_world_fail(w,
                       "7: node %" PRIu64 " voted in t%" PRIu64 " for %" PRIu64 " and for %" PRIu64,
                       s->node.id, hard->term, vote->x, hard->vote);
}

/* ---- The wire ---- */

/* A vote that leaves is on disk, or the disk has already gone on to later terms. */
static void check_vote_is_durable(struct sim_world *w, const struct sim_slot *s, uint64_t term,
                                  raft_id candidate)
{
    const struct raft_hard_state *hard = &s->node.disk.hard;
    const struct sim_fact *vote = sim_map_get(&w->history.votes, s->node.id, term);
    if (hard->term < term || (hard->term == term && hard->vote != candidate) ||
        (vote && vote->x != candidate))
        sim_world_fail(w,
                       "8: node %" PRIu64 " tells its vote for %" PRIu64 " in t%" PRIu64
                       ", but its disk has t%" PRIu64 " vote %" PRIu64,
                       s->node.id, candidate, term, hard->term, hard->vote);
}

static void check_last_is_durable(struct sim_world *w, const struct sim_slot *s,
                                  const struct raft_msg *m)
{
    const struct sim_log *disk = &s->node.disk.log;
    if (raft_term(s->node.core) == m->term && s->node.disk.hard.term == m->term &&
        raft_role(s->node.core) == RAFT_CANDIDATE &&
        (m->vote.last_index > disk->last ||
         sim_log_term(disk, m->vote.last_index) != m->vote.last_term))
        sim_world_fail(w,
                       "8: node %" PRIu64 " stands for election with %" PRIu64 ":%" PRIu64
                       ", which is not on its disk",
                       s->node.id, m->vote.last_index, m->vote.last_term);
}

static void check_ack(struct sim_world *w, const struct sim_slot *s, const struct raft_msg *m)
{
    const struct sim_disk *disk = &s->node.disk;
    if (disk->hard.term < m->term ||
        (disk->hard.term == m->term && disk->log.last < m->append_reply.match))
        sim_world_fail(w,
                       "8: node %" PRIu64 " acknowledges %" PRIu64 " in t%" PRIu64
                       ", but its disk has t%" PRIu64 " and ends at %" PRIu64,
                       s->node.id, m->append_reply.match, m->term, disk->hard.term, disk->log.last);
}

void sim_check_send(struct sim_world *w, struct sim_slot *s, const struct raft_msg *m)
{
    if (m->from != s->node.id || m->to == s->node.id)
        sim_world_fail(w, "13: node %" PRIu64 " sends from %" PRIu64 " to %" PRIu64, s->node.id,
                       m->from, m->to);
    switch (m->kind) {
    case RAFT_MSG_VOTE:
        check_last_is_durable(w, s, m);
        check_vote_is_durable(w, s, m->term, s->node.id);
        break;
    case RAFT_MSG_VOTE_REPLY:
        if (m->vote_reply.granted)
            check_vote_is_durable(w, s, m->vote_reply.election_term, m->to);
        break;
    case RAFT_MSG_APPEND:
    case RAFT_MSG_HEARTBEAT:
        check_vote_is_durable(w, s, m->term, s->node.id);
        break;
    case RAFT_MSG_APPEND_REPLY:
        if (m->append_reply.ok)
            check_ack(w, s, m);
        break;
    default:
        break;
    }
}

/* ---- Elections ---- */

struct voted {
    const struct sim_map *votes;
    uint64_t term;
    raft_id candidate;
};

static bool has_voted(const void *ctx, raft_id id)
{
    const struct voted *v = ctx;
    const struct sim_fact *vote = sim_map_get(v->votes, id, v->term);
    return vote && vote->x == v->candidate;
}

static void check_new_leader(struct sim_world *w, const struct sim_slot *s)
{
    struct sim_history *h = &w->history;
    const struct sim_log *log = &s->node.log;
    raft_id id = s->node.id;
    uint64_t term = raft_term(s->node.core);
    h->elections++;
    const struct sim_fact *leader = sim_map_put(&h->leaders, term, 0, id, 0);
    if (leader->x != id)
        sim_world_fail(w, "1: t%" PRIu64 " has two leaders, %" PRIu64 " and %" PRIu64, term,
                       leader->x, id);
    struct voted voted = {.votes = &h->votes, .term = term, .candidate = id};
    const struct raft_config *config = &sim_log_at(log, s->config_index)->config->decoded;
    if (!sim_is_quorum(config, has_voted, &voted))
        sim_world_fail(w,
                       "12: node %" PRIu64 " leads t%" PRIu64 " without a quorum of durable votes",
                       id, term);
    for (uint64_t i = 1; i <= h->commit; i++)
        if (h->committed[i - 1].leader_term < term &&
            sim_log_term(log, i) != h->committed[i - 1].entry.term) {
            sim_world_fail(w,
                           "4: node %" PRIu64 " leads t%" PRIu64 " without entry %" PRIu64
                           " t%" PRIu64 ", committed in t%" PRIu64,
                           id, term, i, h->committed[i - 1].entry.term,
                           h->committed[i - 1].leader_term);
            return;
        }
}

/* ---- Commitment ---- */

struct on_disk {
    struct sim_world *world;
    uint64_t index;
    uint64_t term;
};

/*
 * A wiped voter may have acknowledged the entry before, and never votes again: whoever is elected
 * needs a majority of those that are left, which meets the holders that are left. What a state
 * machine has synced counts: after a crash the log starts over behind it.
 */
static bool has_on_disk(const void *ctx, raft_id id)
{
    const struct on_disk *d = ctx;
    if (sim_id_is_wiped(d->world, id))
        return true;
    const struct sim_slot *s = sim_world_find(d->world, id);
    return s && (d->index <= s->stored || sim_log_term(&s->node.disk.log, d->index) == d->term);
}

static void remember_commit(struct sim_history *h, const struct sim_entry *e, uint64_t leader_term)
{
    if (h->commit == h->commit_capacity) {
        h->commit_capacity = h->commit_capacity ? 2 * h->commit_capacity : 1024;
        h->committed = memory_realloc(h->committed, h->commit_capacity * sizeof(h->committed[0]));
    }
    h->committed[h->commit++] = (struct sim_committed){.entry = *e, .leader_term = leader_term};
}

void sim_check_founded(struct sim_world *w, const struct sim_entry *first)
{
    check_entry(w, 0, 1, first, 0);
    sim_check_new_config(w, NULL, 1, &first->config->decoded);
    remember_commit(&w->history, first, first->term);
}

static void commit_first(struct sim_world *w, const struct sim_slot *s, uint64_t index)
{
    struct sim_history *h = &w->history;
    const struct sim_log *log = &s->node.log;
    const struct sim_entry *e = sim_log_at(log, index);
    if (raft_role(s->node.core) != RAFT_LEADER)
        sim_world_fail(w, "5: node %" PRIu64 " commits %" PRIu64 ", which no leader has",
                       s->node.id, index);
    struct on_disk held = {.world = w, .index = index, .term = e->term};
    const struct raft_config *config = &sim_log_at(log, s->config_index)->config->decoded;
    if (!sim_is_quorum(config, has_on_disk, &held))
        sim_world_fail(w,
                       "6: node %" PRIu64 " commits %" PRIu64 " t%" PRIu64
                       ", which is not on a quorum's disks",
                       s->node.id, index, e->term);
    if (e->payload) {
        const struct sim_fact *place = sim_map_put(&h->places, e->payload, 0, index, 0);
        if (place->x != index)
            sim_world_fail(w,
                           "11: operation %" PRIu64 " is committed at %" PRIu64 " and at %" PRIu64,
                           e->payload, place->x, index);
    }
    remember_commit(h, e, raft_term(s->node.core));
}

static void check_commit(struct sim_world *w, struct sim_slot *s)
{
    struct sim_history *h = &w->history;
    uint64_t commit = raft_commit_index(s->node.core);
    if (commit < s->commit)
        sim_world_fail(w, "7: node %" PRIu64 " goes back from commit %" PRIu64 " to %" PRIu64,
                       s->node.id, s->commit, commit);
    if (commit > s->node.log.last) {
        sim_world_fail(w, "5: node %" PRIu64 " commits %" PRIu64 " of a log that ends at %" PRIu64,
                       s->node.id, commit, s->node.log.last);
        return;
    }
    if (commit > h->commit && sim_log_term(&s->node.log, commit) != raft_term(s->node.core))
        sim_world_fail(w,
                       "4: node %" PRIu64 " commits up to %" PRIu64
                       ", an entry of an old term, by counting",
                       s->node.id, commit);
    for (uint64_t i = s->commit + 1; i <= commit && !w->failed; i++) {
        const struct sim_entry *e = sim_log_at(&s->node.log, i);
        if (i > h->commit)
            commit_first(w, s, i);
        const struct sim_entry *c = &h->committed[i - 1].entry;
        if (c->term != e->term || c->payload != e->payload || c->kind != e->kind)
            sim_world_fail(w,
                           "5: node %" PRIu64 " commits another entry %" PRIu64 " (t%" PRIu64
                           ") than was committed (t%" PRIu64 ")",
                           s->node.id, i, e->term, c->term);
        sim_client_applied(w, s, i);
    }
    s->commit = commit;
    if (s->applied < commit)
        s->applied = commit;
}

/* ---- Every step ---- */

static void check_limits(struct sim_world *w, const struct sim_slot *s,
                         const struct raft_effects *out)
{
    if (out->send_count > RAFT_MAX_SENDS || out->read_count > RAFT_MAX_READS ||
        out->write.count > RAFT_MAX_APPEND_ENTRIES)
        sim_world_fail(w, "13: node %" PRIu64 " exceeds what fits into effects", s->node.id);
    for (uint32_t i = 0; i < out->send_count; i++) {
        const struct raft_msg *m = &out->sends[i].msg;
        if (m->kind != RAFT_MSG_APPEND)
            continue;
        if (m->append.count > RAFT_MAX_APPEND_ENTRIES)
            sim_world_fail(w, "13: node %" PRIu64 " sends %u entries at once", s->node.id,
                           m->append.count);
    }
    if (raft_dropped_messages(s->node.core))
        sim_world_fail(w, "13: node %" PRIu64 " finds a correct peer's message impossible",
                       s->node.id);
}

static void check_view(struct sim_world *w, const struct sim_slot *s)
{
    const struct raft *core = s->node.core;
    uint64_t config_index = 0;
    raft_config(core, &config_index);
    if (raft_last_index(core) != s->node.log.last ||
        raft_term_at(core, s->node.log.last) != sim_log_term(&s->node.log, s->node.log.last))
        sim_world_fail(w, "3: node %" PRIu64 " sees a log that ends at %" PRIu64 ", not %" PRIu64,
                       s->node.id, raft_last_index(core), s->node.log.last);
    if (config_index != s->config_index)
        sim_world_fail(w,
                       "9: node %" PRIu64 " uses the configuration at %" PRIu64
                       ", not the newest at %" PRIu64,
                       s->node.id, config_index, s->config_index);
    if (raft_base_index(core) != s->node.log.base)
        sim_world_fail(
            w, "3: node %" PRIu64 " sees a log that begins behind %" PRIu64 ", not %" PRIu64,
            s->node.id, raft_base_index(core), s->node.log.base);
    if (raft_durable_index(core) > s->node.disk.log.last && raft_durable_index(core) > s->stored)
        sim_world_fail(
            w, "8: node %" PRIu64 " counts %" PRIu64 " as durable, its disk ends at %" PRIu64,
            s->node.id, raft_durable_index(core), s->node.disk.log.last);
}

void sim_check_step(struct sim_world *w, struct sim_slot *s, const struct raft_effects *out)
{
    const struct raft *core = s->node.core;
    const char *broken = raft_check(core);
    if (broken)
        sim_world_fail(w, "core: node %" PRIu64 ": %s", s->node.id, broken);
    if (raft_term(core) < s->term)
        sim_world_fail(w, "7: node %" PRIu64 " goes back from t%" PRIu64 " to t%" PRIu64,
                       s->node.id, s->term, raft_term(core));
    if (out->commit_index != raft_commit_index(core))
        sim_world_fail(w, "5: node %" PRIu64 " says two commit indexes", s->node.id);
    check_limits(w, s, out);
    check_view(w, s);
    if (w->failed)
        return;
    if (raft_role(core) == RAFT_LEADER && (s->role != RAFT_LEADER || s->term != raft_term(core)))
        check_new_leader(w, s);
    check_commit(w, s);
    s->role = raft_role(core);
    s->term = raft_term(core);
}
