/* SPDX-License-Identifier: MIT */
/*
 * rig.h - one core on the bench: steps with a clock that only the test moves, and what came of the
 * last one. Node 1 of members 1, 2, 3 ... unless the test says otherwise.
 */
#ifndef RAFTFS_TEST_CORE_RIG_H
#define RAFTFS_TEST_CORE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "raft/core/core.h"

enum { RIG_HEARTBEAT_US = 100000, RIG_ELECTION_US = 700000 };

struct rig {
    struct raft *core;
    struct raft_effects *out;
    uint64_t now_us;
};

/* "vvvl": three voters and a learner, 1 to 4. */
static inline struct raft_config rig_config(const char *roles)
{
    struct raft_config c = {.count = (uint32_t)strlen(roles)};
    for (uint32_t i = 0; i < c.count; i++) {
        c.members[i] =
            (struct raft_member){.id = i + 1, .voter = roles[i] == 'v', .address = "host:1"};
        c.members[i].name[0] = (char)('a' + (char)i);
    }
    return c;
}

static inline void rig_step(struct rig *g, struct raft_event e)
{
    e.now_us = g->now_us;
    raft_step(g->core, &e, g->out);
    assert_null(raft_check(g->core));
}

/* One step after so long: the node was away if it wanted to wake up before. */
static inline void rig_tick(struct rig *g, uint64_t us)
{
    g->now_us += us;
    rig_step(g, (struct raft_event){.kind = RAFT_TICK});
}

/* Its timers fire until it campaigns. */
static inline void rig_campaign(struct rig *g)
{
    do {
        g->now_us = g->out->wake_at_us;
        rig_step(g, (struct raft_event){.kind = RAFT_TICK});
    } while (g->core->role == RAFT_FOLLOWER);
}

/* Everything written so far is durable. */
static inline void rig_persist(struct rig *g)
{
    rig_step(g, (struct raft_event){.kind = RAFT_PERSISTED,
                                    .persisted = {g->core->log.next_write_id - 1}});
}

static inline void rig_message(struct rig *g, struct raft_msg m)
{
    m.to = g->core->options.id;
    rig_step(g, (struct raft_event){.kind = RAFT_MESSAGE, .message = &m});
}

/* The n-th message of this kind to `to` (0: anybody) in the last step, or NULL. */
static inline const struct raft_send *rig_sent(const struct rig *g, enum raft_msg_kind kind,
                                               raft_id to, uint32_t n)
{
    for (uint32_t i = 0; i < g->out->send_count; i++)
        if (g->out->sends[i].msg.kind == kind && (to == 0 || g->out->sends[i].msg.to == to) &&
            n-- == 0)
            return &g->out->sends[i];
    return NULL;
}

static inline void rig_start_with(struct rig *g, struct raft_options options, uint64_t base,
                                  uint64_t last, uint64_t applied, const struct raft_config *config)
{
    static const struct raft_config none;
    options.seed = 1;
    options.heartbeat_us = RIG_HEARTBEAT_US;
    options.election_us = RIG_ELECTION_US;
    options.term_run_capacity = 64;
    options.entry_size_capacity = 1024;
    g->now_us = 1000000;
    g->core = raft_init(memory_zalloc(raft_bytes(&options)), &options);
    g->out = memory_zalloc(sizeof(*g->out));
    struct raft_term_run run = {.first = base + 1, .term = 1};
    struct raft_event e = {.kind = RAFT_START,
                           .start = {.hard = {.term = 1},
                                     .base_index = base,
                                     .base_term = base ? 1 : 0,
                                     .last_index = last,
                                     .applied_index = applied,
                                     .run_count = last > base,
                                     .runs = &run,
                                     .config_index = config ? 1 : 0,
                                     .config = config ? config : &none}};
    rig_step(g, e);
}

/* A node whose log has entries base + 1 to last of term 1, all committed. */
static inline void rig_start(struct rig *g, uint64_t base, uint64_t last, const char *roles)
{
    struct raft_config config = rig_config(roles);
    rig_start_with(g, (struct raft_options){.id = 1}, base, last, last, &config);
}

static inline void rig_stop(struct rig *g)
{
    memory_free(g->core);
    memory_free(g->out);
}

/* Elects node 1 in term 2; its no-op is the entry last + 1, durable there and on 2. */
static inline void rig_lead(struct rig *g)
{
    rig_campaign(g);
    if (g->core->role == RAFT_PRE_CANDIDATE)
        rig_message(g, (struct raft_msg){.kind = RAFT_MSG_PREVOTE_REPLY,
                                         .from = 2,
                                         .term = 1,
                                         .vote_reply = {.election_term = 2, .granted = true}});
    rig_persist(g);
    if (g->core->role == RAFT_CANDIDATE)
        rig_message(g, (struct raft_msg){.kind = RAFT_MSG_VOTE_REPLY,
                                         .from = 2,
                                         .term = 2,
                                         .vote_reply = {.election_term = 2, .granted = true}});
    assert_int_equal(raft_role(g->core), RAFT_LEADER);
    rig_persist(g);
    rig_message(g,
                (struct raft_msg){.kind = RAFT_MSG_APPEND_REPLY,
                                  .from = 2,
                                  .term = 2,
                                  .append_reply = {.ok = true, .match = raft_last_index(g->core)}});
    assert_int_equal(raft_commit_index(g->core), raft_last_index(g->core));
}

/* An answer of `from` to the leader's append, in term 2. */
static inline void rig_answer(struct rig *g, raft_id from, bool ok, uint64_t match, uint64_t hint)
{
    rig_message(g, (struct raft_msg){.kind = RAFT_MSG_APPEND_REPLY,
                                     .from = from,
                                     .term = 2,
                                     .append_reply = {.ok = ok,
                                                      .match = match,
                                                      .hint_index = hint,
                                                      .hint_term = hint ? 1 : 0}});
}

static inline void rig_echo(struct rig *g, raft_id from)
{
    rig_message(g, (struct raft_msg){.kind = RAFT_MSG_HEARTBEAT_REPLY,
                                     .from = from,
                                     .term = 2,
                                     .heartbeat_reply = {.round = g->core->round}});
}

#endif
