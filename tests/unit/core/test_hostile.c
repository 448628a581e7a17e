/* SPDX-License-Identifier: MIT */
/*
 * What peers send is checked and dropped, never asserted: random messages, most of which no correct
 * peer would send, between random events of the node's own. The core may be lied to; it must not
 * fall.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "raft/raft.h"

enum { NODES = 4, RUNS = 300, STEPS = 2000 };

static uint64_t rng;

static uint64_t below(uint64_t bound)
{
    rng += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = (rng ^ (rng >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % bound;
}

static struct raft_effects effects;
static struct raft *raft;
static uint64_t now_us;
static uint64_t written; /* the newest write that was asked for */
static struct raft_config config;
static uint8_t config_data[RAFT_MAX_CONFIG_BYTES];
static uint32_t config_bytes;

static void step(struct raft_event e)
{
    e.now_us = now_us += below(20);
    raft_step(raft, &e, &effects);
    if (effects.write.id)
        written = effects.write.id;
    const char *broken = raft_check(raft);
    if (broken)
        fail_msg("%s", broken);
}

static uint64_t near(uint64_t value)
{
    switch (below(8)) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX - below(2);
    case 2:
        return below(20);
    default:
        return value + below(5) - (value > 2 ? 2 : value);
    }
}

static void random_message(void)
{
    /* What moves a role on; the kind two after it is of use, too, or harmless. */
    static const enum raft_msg_kind wanted[] = {RAFT_MSG_APPEND, RAFT_MSG_PREVOTE_REPLY,
                                                RAFT_MSG_VOTE_REPLY, RAFT_MSG_APPEND_REPLY};
    struct raft_entry_meta entries[RAFT_MAX_APPEND_ENTRIES];
    struct raft_msg m = {.kind = (enum raft_msg_kind)below(RAFT_MSG_SNAPSHOT + 2),
                         .from = below(NODES + 2),
                         .to = 1,
                         .term = below(100) ? raft_term(raft) : near(raft_term(raft))};
    if (below(2))
        m.kind = wanted[raft_role(raft)] + (enum raft_msg_kind)(2 * below(2));
    uint64_t *words = (uint64_t *)(void *)&m.append;
    uint64_t last = raft_last_index(raft);
    switch (m.kind) {
    case RAFT_MSG_APPEND:
        m.append.prev_index = near(last);
        m.append.prev_term = below(2) ? raft_term_at(raft, m.append.prev_index) : near(m.term);
        m.append.commit = near(last);
        m.append.count = (uint32_t)below(6);
        m.append.entries = entries;
        break;
    case RAFT_MSG_APPEND_REPLY:
        m.append_reply.ok = below(2);
        m.append_reply.match = near(last);
        m.append_reply.hint_index = near(last);
        m.append_reply.hint_term = near(m.term);
        m.append_reply.disk = (struct raft_disk_state){.full = below(2), .stalled = below(2)};
        break;
    case RAFT_MSG_HEARTBEAT_REPLY:
        m.heartbeat_reply.round = near(last);
        m.heartbeat_reply.disk = (struct raft_disk_state){.full = below(2), .stalled = below(2)};
        break;
    case RAFT_MSG_PREVOTE_REPLY:
    case RAFT_MSG_VOTE_REPLY:
        m.vote_reply.granted = below(4) > 0;
        m.vote_reply.election_term = raft_term(raft) + below(2);
        break;
    case RAFT_MSG_PREVOTE:
    case RAFT_MSG_VOTE:
        m.vote.last_index = near(last);
        m.vote.last_term = near(m.term);
        m.vote.transfer = below(2);
        break;
    case RAFT_MSG_READ:
        m.read.token = below(10);
        m.read.takes_grant = below(2);
        break;
    case RAFT_MSG_READ_REPLY:
        m.read_reply.token = below(10);
        m.read_reply.index = near(last);
        m.read_reply.ok = below(2);
        break;
    default:
        words[0] = near(last);
        words[1] = near(m.term);
        if (m.kind == RAFT_MSG_HEARTBEAT)
            m.heartbeat.lease_us = (uint32_t)below(500);
    }
    for (uint32_t i = 0; m.kind == RAFT_MSG_APPEND && i < m.append.count; i++) {
        uint64_t term = m.append.prev_term > m.term ? m.term : m.append.prev_term;
        entries[i] = (struct raft_entry_meta){.term = below(3) ? term : near(m.term),
                                              .bytes = (uint32_t)below(2000),
                                              .kind = RAFT_ENTRY_COMMAND};
        if (below(8) == 0) {
            entries[i].kind = RAFT_ENTRY_CONFIG;
            entries[i].config = config_data;
            entries[i].bytes = config_bytes - (below(8) == 0);
        }
    }
    step((struct raft_event){.kind = RAFT_MESSAGE, .message = &m});
}

static void random_change(void)
{
    struct raft_event e = {.kind = RAFT_CHANGE};
    e.change.kind = (enum raft_change_kind)(1 + below(RAFT_CHANGE_REPLACE));
    e.change.member = config.members[below(NODES)];
    e.change.member.id += below(3) == 0 ? NODES : 0;
    e.change.member.promote = below(2);
    e.change.replaces = 1 + below(NODES);
    if (below(2))
        e.change.member.name[0] = 'z';
    step(e);
}

static void random_event(void)
{
    uint32_t bytes[3] = {1, 100, RAFT_MAX_ENTRY_BYTES};
    switch (below(16)) {
    case 0:
        if (effects.wake_at_us != UINT64_MAX && effects.wake_at_us > now_us)
            now_us = effects.wake_at_us;
        step((struct raft_event){.kind = RAFT_TICK});
        break;
    case 1:
    case 2:
        if (written)
            step((struct raft_event){.kind = RAFT_PERSISTED,
                                     .persisted = {written - below(written < 3 ? written : 3)}});
        break;
    case 3:
        step((struct raft_event){
            .kind = RAFT_PROPOSE,
            .propose = {.count = (uint32_t)below(4), .bytes = bytes, .reserve = below(2)}});
        break;
    case 4:
        random_change();
        break;
    case 5:
        step((struct raft_event){.kind = RAFT_READ, .read = {below(10)}});
        break;
    case 6:
        step((struct raft_event){.kind = RAFT_TRANSFER, .transfer = {below(NODES + 2)}});
        break;
    case 7:
        step((struct raft_event){.kind = RAFT_PEER_LOST, .lost = {below(NODES + 2)}});
        break;
    case 8:
        step((struct raft_event){.kind = RAFT_DISK, .disk = {below(2)}});
        break;
    case 9:
        if (raft_durable_index(raft) < raft_commit_index(raft))
            break;
        raft_compacted(raft, raft_commit_index(raft) - below(2) * (raft_commit_index(raft) > 1));
        break;
    default:
        random_message();
    }
}

static void begin(uint64_t seed)
{
    const struct raft_options options = {.id = 1,
                                         .seed = seed,
                                         .heartbeat_us = 100,
                                         .election_us = 700,
                                         .lease_us = 200,
                                         .lease = seed % 2,
                                         .term_run_capacity = 2 + (uint32_t)below(8),
                                         .entry_size_capacity = 1 + (uint32_t)below(64)};
    const struct raft_term_run run = {.first = 1, .term = 1};
    rng = seed;
    now_us = 1;
    written = 0;
    raft = raft_init(memory_alloc(raft_bytes(&options)), &options);
    step((struct raft_event){.kind = RAFT_START,
                             .start = {.hard = {.term = 1},
                                       .last_index = 1,
                                       .applied_index = 1,
                                       .run_count = 1,
                                       .runs = &run,
                                       .config_index = 1,
                                       .config = &config}});
}

static void nothing_falls(void **state)
{
    (void)state;
    config.count = NODES;
    for (uint32_t i = 0; i < NODES; i++) {
        config.members[i] = (struct raft_member){.id = i + 1, .voter = i < 3, .address = "a:1"};
        config.members[i].name[0] = (char)('a' + i);
    }
    config_bytes = (uint32_t)raft_config_encode(&config, config_data, sizeof(config_data));
    assert_true(config_bytes > 0);
    for (uint64_t seed = 1; seed <= RUNS; seed++) {
        begin(seed);
        for (int i = 0; i < STEPS; i++)
            random_event();
        memory_free(raft);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_falls)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
