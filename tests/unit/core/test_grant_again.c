/* SPDX-License-Identifier: MIT */
/* A grant that comes with a commit; test_grant.c and test_granted.c are of one with an answer. */
#include "rig.h"

enum {
    LEASE_US = 200000,
    GRANT_US = 10000,
    COUNTED_US = GRANT_US - GRANT_US / RAFT_CLOCK_DRIFT, /* by the member */
    LAST = 11,                                           /* the no-op of the leader of term 2 */
    DISK_US = 500,
};

static void start(struct rig *g)
{
    struct raft_config config = rig_config("vvv");
    rig_start_with(
        g,
        (struct raft_options){.id = 1, .lease_us = LEASE_US, .lease = true, .grant_us = GRANT_US},
        0, 10, 10, &config);
}

/* ---- The leader: node 1 of term 2, under a lease ---- */

static void lead(struct rig *g)
{
    start(g);
    rig_lead(g);
    rig_answer(g, 3, true, LAST, 0);
    rig_tick(g, RIG_HEARTBEAT_US);
    rig_echo(g, 2);
    assert_int_equal(raft_commit_index(g->core), LAST);
}

static void ask_as(struct rig *g, raft_id from, bool takes_grant)
{
    rig_message(g, (struct raft_msg){.kind = RAFT_MSG_READ,
                                     .from = from,
                                     .term = 2,
                                     .read = {.token = 1, .takes_grant = takes_grant}});
    assert_non_null(rig_sent(g, RAFT_MSG_READ_REPLY, from, 0));
}

static void ask(struct rig *g, raft_id from)
{
    ask_as(g, from, true);
}

static void write_one(struct rig *g)
{
    static const uint32_t bytes = 10;
    rig_step(g, (struct raft_event){.kind = RAFT_PROPOSE, .propose = {1, &bytes}});
    assert_int_equal(g->out->refusal, RAFT_ACCEPTED);
    rig_persist(g);
}

/* What the last step's heartbeat to it grants; it has to have sent one. */
static uint32_t granted(const struct rig *g, raft_id to, uint64_t commit)
{
    const struct raft_send *told = rig_sent(g, RAFT_MSG_HEARTBEAT, to, 0);
    assert_non_null(told);
    assert_int_equal(told->msg.heartbeat.commit, commit);
    return told->msg.heartbeat.grant_us;
}

static void who_has_asked_is_granted_it_with_the_commit(void **state)
{
    (void)state;
    struct rig g;
    lead(&g);
    ask(&g, 2);
    write_one(&g);
    rig_answer(&g, 2, true, LAST + 1, 0);
    assert_int_equal(granted(&g, 2, LAST + 1), GRANT_US);
    rig_answer(&g, 3, true, LAST + 1, 0);
    assert_int_equal(granted(&g, 3, LAST + 1), 0); /* it never asked */
    rig_stop(&g);
}

static void nothing_is_committed_around_it_then(void **state)
{
    (void)state;
    struct rig g;
    lead(&g);
    ask(&g, 2);
    g.now_us += GRANT_US; /* what came with the answer is over */
    write_one(&g);
    rig_answer(&g, 2, true, LAST + 1, 0);
    assert_int_equal(granted(&g, 2, LAST + 1), GRANT_US);
    uint64_t until_us = g.now_us + GRANT_US;
    rig_answer(&g, 3, true, LAST + 1, 0);
    g.now_us += GRANT_US / 2;
    write_one(&g);
    rig_answer(&g, 3, true, LAST + 2, 0);
    assert_int_equal(raft_commit_index(g.core), LAST + 1);
    assert_int_equal(g.out->wake_at_us, until_us);
    rig_tick(&g, GRANT_US / 2);
    assert_int_equal(raft_commit_index(g.core), LAST + 2);
    rig_stop(&g);
}

static void persist_late(struct rig *g, uint64_t late_us, uint32_t expected)
{
    static const uint32_t bytes = 10;
    lead(g);
    ask(g, 2);
    g->now_us += GRANT_US;
    rig_step(g, (struct raft_event){.kind = RAFT_PROPOSE, .propose = {1, &bytes}});
    rig_answer(g, 2, true, LAST + 1, 0);
    g->now_us += late_us;
    rig_persist(g);
    assert_int_equal(granted(g, 2, LAST + 1), expected);
}

/* The member counts from before it acknowledged, so nobody is served by a longer wait. */
static void the_leader_owes_from_the_acknowledgement(void **state)
{
    (void)state;
    struct rig g;
    persist_late(&g, GRANT_US / 2, GRANT_US);
    write_one(&g);
    rig_answer(&g, 3, true, LAST + 2, 0);
    assert_int_equal(raft_commit_index(g.core), LAST + 1);
    rig_tick(&g, GRANT_US / 2);
    assert_int_equal(raft_commit_index(g.core), LAST + 2);
    rig_stop(&g);
}

static void nothing_if_that_was_too_long_ago(void **state)
{
    (void)state;
    struct rig g;
    persist_late(&g, GRANT_US, 0);
    write_one(&g);
    rig_answer(&g, 3, true, LAST + 2, 0);
    assert_int_equal(raft_commit_index(g.core), LAST + 2);
    rig_stop(&g);
}

static void not_while_more_is_on_its_way(void **state)
{
    (void)state;
    struct rig g;
    lead(&g);
    ask(&g, 2);
    write_one(&g);
    write_one(&g);
    rig_answer(&g, 2, true, LAST + 1, 0);
    assert_int_equal(granted(&g, 2, LAST + 1), 0);
    rig_answer(&g, 2, true, LAST + 2, 0);
    assert_int_equal(granted(&g, 2, LAST + 2), GRANT_US);
    rig_stop(&g);
}

static void not_to_who_asked_long_ago(void **state)
{
    (void)state;
    struct rig g;
    lead(&g);
    ask(&g, 2);
    g.now_us += 10 * GRANT_US - 1;
    write_one(&g);
    rig_answer(&g, 2, true, LAST + 1, 0);
    assert_int_equal(granted(&g, 2, LAST + 1), GRANT_US);
    g.now_us++;
    write_one(&g);
    rig_answer(&g, 2, true, LAST + 2, 0);
    assert_int_equal(granted(&g, 2, LAST + 2), 0);
    rig_stop(&g);
}

/* It was started anew, and shall not trust its clock any more. */
static void not_to_who_takes_none_any_more(void **state)
{
    (void)state;
    struct rig g;
    lead(&g);
    ask(&g, 2);
    ask_as(&g, 2, false);
    write_one(&g);
    rig_answer(&g, 2, true, LAST + 1, 0);
    assert_int_equal(granted(&g, 2, LAST + 1), 0);
    rig_stop(&g);
}

/* The member would count from a commit of long ago, and the leader would wait for nothing. */
static void not_with_a_heartbeat_that_tells_nothing_new(void **state)
{
    (void)state;
    struct rig g;
    lead(&g);
    rig_tick(&g, RIG_HEARTBEAT_US - GRANT_US);
    ask(&g, 2);
    rig_tick(&g, GRANT_US);
    assert_int_equal(granted(&g, 2, LAST), 0);
    rig_stop(&g);
}

/* ---- The member: node 1 follows 2 in term 1, and its log ends at 10 ---- */

static void hear(struct rig *g, uint64_t commit, uint32_t grant_us)
{
    rig_message(g, (struct raft_msg){.kind = RAFT_MSG_HEARTBEAT,
                                     .from = 2,
                                     .term = 1,
                                     .heartbeat = {.commit = commit, .grant_us = grant_us}});
    assert_int_equal(raft_leader(g->core), 2);
}

/* Takes the entry behind prev, which is on the disk a moment later: returns when. */
static uint64_t take(struct rig *g, uint64_t prev)
{
    const struct raft_entry_meta entry = {.term = 1, .kind = RAFT_ENTRY_COMMAND, .bytes = 10};
    rig_message(g, (struct raft_msg){.kind = RAFT_MSG_APPEND,
                                     .from = 2,
                                     .term = 1,
                                     .append = {.prev_index = prev,
                                                .prev_term = 1,
                                                .commit = prev,
                                                .count = 1,
                                                .entries = &entry}});
    g->now_us += DISK_US;
    rig_persist(g);
    assert_int_equal(raft_durable_index(g->core), prev + 1);
    return g->now_us;
}

static void it_counts_from_when_its_log_was_durable(void **state)
{
    (void)state;
    struct rig g;
    start(&g);
    uint64_t durable_us = take(&g, 10);
    g.now_us += COUNTED_US / 2;
    hear(&g, 11, GRANT_US);
    assert_int_equal(raft_grant_until_us(g.core), durable_us + COUNTED_US);
    rig_stop(&g);
}

/* The leader has granted it behind 11, and what it owes for that is over before it is for 12. */
static void not_if_its_log_has_grown_meanwhile(void **state)
{
    (void)state;
    struct rig g;
    start(&g);
    take(&g, 10);
    take(&g, 11);
    hear(&g, 11, GRANT_US);
    hear(&g, 12, 0);
    assert_int_equal(raft_commit_index(g.core), 12);
    assert_int_equal(raft_grant_until_us(g.core), 0);
    rig_stop(&g);
}

static void nor_if_its_log_has_not_got_there(void **state)
{
    (void)state;
    struct rig g;
    start(&g);
    take(&g, 10);
    hear(&g, 12, GRANT_US);
    assert_int_equal(raft_commit_index(g.core), 11);
    assert_int_equal(raft_grant_until_us(g.core), 0);
    rig_stop(&g);
}

/* What it acknowledged before it was started anew, it acknowledged it does not know when. */
static void not_for_what_was_durable_before_this_life(void **state)
{
    (void)state;
    struct rig g;
    start(&g);
    hear(&g, 10, GRANT_US);
    assert_true(raft_grant_until_us(g.core) <= g.now_us);
    rig_stop(&g);
}

static void the_longer_one_counts(void **state)
{
    (void)state;
    struct rig g;
    start(&g);
    uint64_t durable_us = take(&g, 10);
    hear(&g, 11, GRANT_US);
    hear(&g, 11, GRANT_US / 2);
    assert_int_equal(raft_grant_until_us(g.core), durable_us + COUNTED_US);
    rig_stop(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_has_asked_is_granted_it_with_the_commit),
        cmocka_unit_test(nothing_is_committed_around_it_then),
        cmocka_unit_test(the_leader_owes_from_the_acknowledgement),
        cmocka_unit_test(nothing_if_that_was_too_long_ago),
        cmocka_unit_test(not_while_more_is_on_its_way),
        cmocka_unit_test(not_to_who_asked_long_ago),
        cmocka_unit_test(not_to_who_takes_none_any_more),
        cmocka_unit_test(not_with_a_heartbeat_that_tells_nothing_new),
        cmocka_unit_test(it_counts_from_when_its_log_was_durable),
        cmocka_unit_test(not_if_its_log_has_grown_meanwhile),
        cmocka_unit_test(nor_if_its_log_has_not_got_there),
        cmocka_unit_test(not_for_what_was_durable_before_this_life),
        cmocka_unit_test(the_longer_one_counts),
    };
    return cmocka_run_group_tests_name("grant_again", tests, NULL, NULL);
}
