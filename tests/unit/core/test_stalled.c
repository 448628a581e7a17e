/* SPDX-License-Identifier: MIT */
/* What a node whose disk stands still does with what keeps arriving: nothing that piles up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "raft/raft.h"

static struct raft_effects effects;
static struct raft *raft;
static uint64_t now_us = 1;

static void step(struct raft_event e)
{
    e.now_us = now_us;
    raft_step(raft, &e, &effects);
    assert_null(raft_check(raft));
}

static int begin(void **state)
{
    const struct raft_options options = {.id = 1,
                                         .heartbeat_us = 100,
                                         .election_us = 700,
                                         .term_run_capacity = 16,
                                         .entry_size_capacity = 16};
    static struct raft_config config = {.count = 3};
    const struct raft_term_run run = {.first = 1, .term = 1};
    (void)state;
    for (uint32_t i = 0; i < config.count; i++)
        config.members[i] =
            (struct raft_member){.id = i + 1, .voter = true, .name = "n", .address = "a:1"};
    raft = raft_init(memory_alloc(raft_bytes(&options)), &options);
    step((struct raft_event){.kind = RAFT_START,
                             .start = {.hard = {.term = 1},
                                       .last_index = 1,
                                       .applied_index = 1,
                                       .run_count = 1,
                                       .runs = &run,
                                       .config_index = 1,
                                       .config = &config}});
    return 0;
}

static int end(void **state)
{
    (void)state;
    memory_free(raft);
    return 0;
}

static void receive(struct raft_msg m)
{
    m.to = 1;
    step((struct raft_event){.kind = RAFT_MESSAGE, .message = &m});
}

/* Each of them asks for a write of the new term, and none is ever answered. */
static void rising_terms(void **state)
{
    (void)state;
    for (uint64_t term = 2; term < 10000; term++)
        receive((struct raft_msg){.kind = RAFT_MSG_VOTE,
                                  .from = 2,
                                  .term = term,
                                  .vote = {.last_index = 9, .last_term = 1}});
    assert_true(raft_term(raft) < 10000);
    /* The disk is back: so is the node. */
    step((struct raft_event){.kind = RAFT_PERSISTED, .persisted = {.write_id = UINT64_MAX}});
    receive((struct raft_msg){.kind = RAFT_MSG_HEARTBEAT, .from = 3, .term = 10000});
    assert_int_equal(raft_term(raft), 10000);
}

static void appends(void **state)
{
    (void)state;
    for (uint64_t index = 1; index < 10000; index++) {
        const struct raft_entry_meta entry = {.term = 2, .bytes = 1, .kind = RAFT_ENTRY_COMMAND};
        receive((struct raft_msg){.kind = RAFT_MSG_APPEND,
                                  .from = 2,
                                  .term = 2,
                                  .append = {.prev_index = index,
                                             .prev_term = index == 1 ? 1 : 2,
                                             .count = 1,
                                             .entries = &entry}});
    }
    assert_true(raft_last_index(raft) < 10000);
    assert_int_equal(raft_durable_index(raft), 1);
}

/* Its own elections come to nothing, again and again. */
static void own_elections(void **state)
{
    (void)state;
    for (int i = 0; i < 10000; i++) {
        now_us += 1400;
        step((struct raft_event){.kind = RAFT_TICK});
        receive((struct raft_msg){
            .kind = RAFT_MSG_PREVOTE_REPLY,
            .from = 2,
            .term = raft_term(raft),
            .vote_reply = {.election_term = raft_term(raft) + 1, .granted = true}});
    }
    assert_true(raft_term(raft) < 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rising_terms, begin, end),
        cmocka_unit_test_setup_teardown(appends, begin, end),
        cmocka_unit_test_setup_teardown(own_elections, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
