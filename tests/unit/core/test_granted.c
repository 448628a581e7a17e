/* SPDX-License-Identifier: MIT */
/* How long a member that was granted it reads by itself (test_grant.c is of the leader). */
#include "rig.h"

enum {
    LEASE_US = 200000,
    GRANT_US = 40000,
    COUNTED_US = GRANT_US - GRANT_US / RAFT_CLOCK_DRIFT, /* by the member */
};

/* ---- The member: node 1 follows 2, and knows 10 entries, all committed ---- */

static void hear(struct rig *g, raft_id leader, uint64_t term, uint64_t commit)
{
    rig_message(g, (struct raft_msg){.kind = RAFT_MSG_HEARTBEAT,
                                     .from = leader,
                                     .term = term,
                                     .heartbeat = {.commit = commit, .round = 1}});
    assert_int_equal(raft_leader(g->core), leader);
}

/* Whether a read is answered at once, with its own commit index, and nobody asked. */
static bool reads_by_itself(struct rig *g)
{
    static uint64_t token;
    rig_step(g, (struct raft_event){.kind = RAFT_READ, .read = {++token}});
    bool asks = rig_sent(g, RAFT_MSG_READ, 2, 0) != NULL;
    assert_true(asks != (g->out->read_count == 1));
    if (asks)
        return false;
    assert_int_equal(g->out->send_count, 0);
    assert_int_equal(g->out->reads[0].token, token);
    assert_int_equal(g->out->reads[0].index, raft_commit_index(g->core));
    assert_true(g->out->reads[0].ok);
    return true;
}

/* A read, answered after a while; returns when it was asked. */
static uint64_t take_grant_after(struct rig *g, uint64_t answered_us, uint32_t grant_us)
{
    uint64_t token = 1000000 + g->now_us, asked_us = g->now_us;
    rig_step(g, (struct raft_event){.kind = RAFT_READ, .read = {token}});
    const struct raft_send *question = rig_sent(g, RAFT_MSG_READ, 2, 0);
    assert_non_null(question);
    assert_int_equal(question->msg.read.takes_grant, g->core->options.lease);
    g->now_us += answered_us;
    rig_message(g, (struct raft_msg){.kind = RAFT_MSG_READ_REPLY,
                                     .from = 2,
                                     .term = raft_term(g->core),
                                     .read_reply = {.token = token,
                                                    .index = raft_commit_index(g->core),
                                                    .ok = true,
                                                    .grant_us = grant_us}});
    assert_int_equal(g->out->read_count, 1);
    return asked_us;
}

static uint64_t follow_with(struct rig *g, bool lease, uint32_t grant_us)
{
    struct raft_config config = rig_config("vvv");
    struct raft_options options = {
        .id = 1, .lease_us = LEASE_US, .lease = lease, .grant_us = GRANT_US};
    rig_start_with(g, options, 0, 10, 10, &config);
    hear(g, 2, 1, 10);
    assert_int_equal(raft_grant_until_us(g->core), 0);
    assert_false(reads_by_itself(g));
    return take_grant_after(g, COUNTED_US / 2, grant_us);
}

static uint64_t follow(struct rig *g)
{
    return follow_with(g, true, GRANT_US);
}

static void it_counts_from_when_it_asked(void **state)
{
    (void)state;
    struct rig g;
    uint64_t asked_us = follow(&g);
    assert_int_equal(raft_grant_until_us(g.core), asked_us + COUNTED_US);
    assert_true(reads_by_itself(&g));
    g.now_us = asked_us + COUNTED_US - 1;
    assert_true(reads_by_itself(&g));
    g.now_us++;
    assert_false(reads_by_itself(&g));
    rig_stop(&g);
}

static void an_answer_that_comes_too_late_grants_nothing(void **state)
{
    (void)state;
    struct rig g;
    uint64_t asked_us = follow(&g);
    g.now_us = asked_us + COUNTED_US;
    take_grant_after(&g, COUNTED_US, GRANT_US);
    assert_false(reads_by_itself(&g));
    rig_stop(&g);
}

static void an_answer_without_one_grants_nothing(void **state)
{
    (void)state;
    struct rig g;
    uint64_t asked_us = follow(&g);
    g.now_us = asked_us + COUNTED_US;
    take_grant_after(&g, 0, 0);
    assert_false(reads_by_itself(&g));
    rig_stop(&g);
}

static void turned_off_it_takes_none(void **state)
{
    (void)state;
    struct rig g;
    follow_with(&g, false, GRANT_US);
    assert_false(reads_by_itself(&g));
    rig_stop(&g);
}

static void it_takes_none_that_no_lease_covers(void **state)
{
    (void)state;
    struct rig g;
    follow_with(&g, true, RAFT_MAX_LEASE_US + 1);
    assert_false(reads_by_itself(&g));
    rig_stop(&g);
}

static void append(struct rig *g, uint64_t prev)
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
    assert_int_equal(raft_last_index(g->core), prev + 1);
}

static void not_while_its_log_may_tell_of_a_commit(void **state)
{
    (void)state;
    struct rig g;
    follow(&g);
    append(&g, 10);
    assert_int_equal(raft_grant_until_us(g.core), 0);
    assert_false(reads_by_itself(&g));
    rig_persist(&g);
    assert_false(reads_by_itself(&g));
    hear(&g, 2, 1, 11);
    assert_int_equal(raft_commit_index(g.core), 11);
    assert_true(reads_by_itself(&g)); /* what it was granted goes on */
    rig_stop(&g);
}

static void another_leader_ends_it(void **state)
{
    (void)state;
    struct rig g;
    follow(&g);
    hear(&g, 3, 2, 10);
    assert_int_equal(raft_grant_until_us(g.core), 0);
    rig_step(&g, (struct raft_event){.kind = RAFT_READ, .read = {1}});
    assert_non_null(rig_sent(&g, RAFT_MSG_READ, 3, 0));
    rig_stop(&g);
}

static void a_higher_term_ends_it(void **state)
{
    (void)state;
    struct rig g;
    follow(&g);
    rig_message(&g, (struct raft_msg){.kind = RAFT_MSG_READ, .from = 3, .term = 7});
    assert_int_equal(raft_grant_until_us(g.core), 0);
    rig_step(&g, (struct raft_event){.kind = RAFT_READ, .read = {1}});
    assert_int_equal(g.out->refusal, RAFT_NO_LEADER);
    hear(&g, 2, 7, 10); /* the same one, but what it granted then is over */
    assert_int_equal(raft_grant_until_us(g.core), 0);
    assert_false(reads_by_itself(&g));
    rig_stop(&g);
}

static void the_same_leader_of_a_later_term_ends_it(void **state)
{
    (void)state;
    struct rig g;
    follow(&g);
    hear(&g, 2, 2, 10);
    assert_int_equal(raft_grant_until_us(g.core), 0);
    rig_stop(&g);
}

static void a_lost_leader_ends_it(void **state)
{
    (void)state;
    struct rig g;
    follow(&g);
    rig_step(&g, (struct raft_event){.kind = RAFT_PEER_LOST, .lost = {2}});
    assert_int_equal(raft_grant_until_us(g.core), 0);
    rig_step(&g, (struct raft_event){.kind = RAFT_READ, .read = {1}});
    assert_int_equal(g.out->refusal, RAFT_NO_LEADER);
    rig_stop(&g);
}

/* The grant's time would go on, but it campaigns and leads. */
static void a_leader_has_none(void **state)
{
    (void)state;
    struct rig g;
    follow(&g);
    assert_int_not_equal(raft_grant_until_us(g.core), 0);
    rig_message(&g, (struct raft_msg){.kind = RAFT_MSG_TIMEOUT_NOW, .from = 2, .term = 1});
    assert_int_equal(raft_role(g.core), RAFT_CANDIDATE);
    assert_int_equal(raft_grant_until_us(g.core), 0);
    rig_persist(&g);
    rig_message(&g, (struct raft_msg){.kind = RAFT_MSG_VOTE_REPLY,
                                      .from = 2,
                                      .term = 2,
                                      .vote_reply = {.election_term = 2, .granted = true}});
    assert_int_equal(raft_role(g.core), RAFT_LEADER);
    rig_persist(&g);
    rig_answer(&g, 2, true, 11, 0);
    assert_int_equal(raft_commit_index(g.core), 11); /* its log rests */
    assert_int_equal(raft_grant_until_us(g.core), 0);
    rig_step(&g, (struct raft_event){.kind = RAFT_READ, .read = {1}});
    assert_int_equal(g.out->read_count, 0); /* it asks, since it has no lease */
    rig_stop(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_counts_from_when_it_asked),
        cmocka_unit_test(an_answer_that_comes_too_late_grants_nothing),
        cmocka_unit_test(an_answer_without_one_grants_nothing),
        cmocka_unit_test(turned_off_it_takes_none),
        cmocka_unit_test(it_takes_none_that_no_lease_covers),
        cmocka_unit_test(not_while_its_log_may_tell_of_a_commit),
        cmocka_unit_test(another_leader_ends_it),
        cmocka_unit_test(a_higher_term_ends_it),
        cmocka_unit_test(the_same_leader_of_a_later_term_ends_it),
        cmocka_unit_test(a_lost_leader_ends_it),
        cmocka_unit_test(a_leader_has_none),
    };
    return cmocka_run_group_tests_name("granted", tests, NULL, NULL);
}
