/* SPDX-License-Identifier: MIT */
/* When a leader lets a member read by itself (test_granted.c), and what it owes it then. */
#include "rig.h"

enum {
    LEASE_US = 200000,
    GRANT_US = 40000,
    LAST = 11, /* the no-op of the leader of term 2 */
};

/* ---- The leader: node 1 of term 2, its lease has begun just now by what node 2 echoed ---- */

static void lead_with(struct rig *g, const char *roles, bool lease, uint32_t grant_us)
{
    struct raft_config config = rig_config(roles);
    struct raft_options options = {
        .id = 1, .lease_us = LEASE_US, .lease = lease, .grant_us = grant_us};
    rig_start_with(g, options, 0, 10, 10, &config);
    rig_lead(g);
    rig_tick(g, RIG_HEARTBEAT_US);
    rig_echo(g, 2);
    assert_int_equal(raft_last_index(g->core), LAST);
}

static void lead(struct rig *g)
{
    lead_with(g, "vvv", true, GRANT_US);
    rig_answer(g, 3, true, LAST, 0);
}

static const struct raft_msg *ask_as(struct rig *g, raft_id from, bool takes_grant)
{
    static uint64_t token;
    rig_message(g, (struct raft_msg){.kind = RAFT_MSG_READ,
                                     .from = from,
                                     .term = 2,
                                     .read = {.token = ++token, .takes_grant = takes_grant}});
    const struct raft_send *answer = rig_sent(g, RAFT_MSG_READ_REPLY, from, 0);
    return answer ? &answer->msg : NULL;
}

static const struct raft_msg *ask(struct rig *g, raft_id from)
{
    return ask_as(g, from, true);
}

/* What it is granted with an answer that it gets at once. */
static uint32_t granted(struct rig *g, raft_id to)
{
    const struct raft_msg *answer = ask(g, to);
    assert_non_null(answer);
    assert_true(answer->read_reply.ok);
    assert_int_equal(answer->read_reply.index, raft_commit_index(g->core));
    return answer->read_reply.grant_us;
}

static void propose(struct rig *g)
{
    static const uint32_t bytes = 10;
    rig_step(g, (struct raft_event){.kind = RAFT_PROPOSE, .propose = {1, &bytes}});
    assert_int_equal(g->out->refusal, RAFT_ACCEPTED);
}

static void given_with_the_answer(void **state)
{
    (void)state;
    struct rig g;
    lead(&g);
    assert_int_equal(granted(&g, 2), GRANT_US);
    assert_int_equal(granted(&g, 3), GRANT_US); /* nor is it the only one */
    rig_stop(&g);
}

static void a_learner_is_granted_too(void **state)
{
    (void)state;
    struct rig g;
    lead_with(&g, "vvl", true, GRANT_US);
    rig_answer(&g, 3, true, LAST, 0);
    assert_int_equal(granted(&g, 3), GRANT_US);
    rig_stop(&g);
}

static void none_without_a_lease(void **state)
{
    (void)state;
    struct rig g;
    lead_with(&g, "vvv", false, GRANT_US);
    assert_null(ask(&g, 2)); /* it asks the others first */
    rig_echo(&g, 2);
    const struct raft_send *answer = rig_sent(&g, RAFT_MSG_READ_REPLY, 2, 0);
    assert_true(answer->msg.read_reply.ok);
    assert_int_equal(answer->msg.read_reply.grant_us, 0);
    rig_stop(&g);
}

/* A quorum confirms that it leads, but so late that the lease which comes of it is over. */
static void none_when_the_lease_has_ended(void **state)
{
    (void)state;
    struct rig g;
    lead(&g);
    g.now_us += LEASE_US;
    assert_null(ask(&g, 2));
    g.now_us += LEASE_US;
    rig_echo(&g, 3);
    const struct raft_send *answer = rig_sent(&g, RAFT_MSG_READ_REPLY, 2, 0);
    assert_true(answer->msg.read_reply.ok);
    assert_int_equal(answer->msg.read_reply.grant_us, 0);
    rig_stop(&g);
}

static void none_that_would_outlive_the_lease(void **state)
{
    (void)state;
    struct rig g;
    lead(&g);
    g.now_us += LEASE_US - GRANT_US;
    assert_int_equal(granted(&g, 2), GRANT_US);
    g.now_us++;
    assert_int_equal(granted(&g, 2), 0);
    rig_stop(&g);
}

static void none_while_an_entry_is_on_its_way(void **state)
{
    (void)state;
    struct rig g;
    lead(&g);
    propose(&g);
    rig_answer(&g, 2, true, LAST + 1, 0); /* the asker has it; the leader's disk has not */
    assert_int_equal(raft_commit_index(g.core), LAST);
    assert_int_equal(granted(&g, 2), 0);
    rig_persist(&g);
    assert_int_equal(raft_commit_index(g.core), LAST + 1);
    assert_int_equal(granted(&g, 2), GRANT_US);
    rig_stop(&g);
}

static void none_to_who_is_behind(void **state)
{
    (void)state;
    struct rig g;
    lead_with(&g, "vvv", true, GRANT_US);
    rig_answer(&g, 3, true, LAST - 1, 0);
    assert_int_equal(granted(&g, 3), 0);
    rig_answer(&g, 3, true, LAST, 0);
    assert_int_equal(granted(&g, 3), GRANT_US);
    rig_stop(&g);
}

static void none_while_it_hands_over(void **state)
{
    (void)state;
    struct rig g;
    lead(&g);
    propose(&g);
    rig_persist(&g);
    rig_answer(&g, 2, true, LAST + 1, 0);
    rig_step(&g, (struct raft_event){.kind = RAFT_TRANSFER, .transfer = {3}});
    assert_int_equal(g.out->refusal, RAFT_ACCEPTED);
    assert_null(rig_sent(&g, RAFT_MSG_TIMEOUT_NOW, 0, 0)); /* it has not everything yet */
    assert_int_equal(granted(&g, 2), 0);
    rig_stop(&g);
}

static void none_where_the_cluster_has_none(void **state)
{
    (void)state;
    struct rig g;
    lead_with(&g, "vvv", true, 0);
    assert_int_equal(granted(&g, 2), 0);
    propose(&g);
    rig_persist(&g);
    rig_answer(&g, 3, true, LAST + 1, 0);
    assert_int_equal(raft_commit_index(g.core), LAST + 1);
    rig_stop(&g);
}

static void none_to_who_takes_none(void **state)
{
    (void)state;
    struct rig g;
    lead(&g);
    const struct raft_msg *answer = ask_as(&g, 2, false);
    assert_true(answer->read_reply.ok);
    assert_int_equal(answer->read_reply.grant_us, 0);
    propose(&g);
    rig_persist(&g);
    rig_answer(&g, 3, true, LAST + 1, 0); /* node 2 is not waited for */
    assert_int_equal(raft_commit_index(g.core), LAST + 1);
    rig_stop(&g);
}

static void none_to_who_is_no_member(void **state)
{
    (void)state;
    struct rig g;
    lead(&g);
    assert_int_equal(granted(&g, 9), 0);
    rig_stop(&g);
}

/* ---- What it owes ---- */

/* A quorum without node 2, which has a grant, has acknowledged one entry more. */
static uint64_t write_around_2(struct rig *g)
{
    lead(g);
    assert_int_equal(granted(g, 2), GRANT_US);
    uint64_t until_us = g->now_us + GRANT_US;
    assert_true(g->out->wake_at_us > until_us); /* while nothing waits for its end */
    g->now_us += GRANT_US / 4;
    propose(g);
    rig_persist(g);
    rig_answer(g, 3, true, LAST + 1, 0);
    assert_int_equal(raft_commit_index(g->core), LAST);
    assert_int_equal(g->out->wake_at_us, until_us);
    return until_us;
}

static void a_commit_waits_for_who_reads_by_itself(void **state)
{
    (void)state;
    struct rig g;
    write_around_2(&g);
    rig_answer(&g, 2, true, LAST, 0);
    assert_int_equal(raft_commit_index(g.core), LAST);
    rig_answer(&g, 2, true, LAST + 1, 0);
    assert_int_equal(raft_commit_index(g.core), LAST + 1);
    rig_stop(&g);
}

static void a_commit_waits_for_all_of_them(void **state)
{
    (void)state;
    struct rig g;
    lead_with(&g, "vvvl", true, GRANT_US);
    rig_answer(&g, 4, true, LAST, 0);
    assert_int_equal(granted(&g, 2), GRANT_US);
    assert_int_equal(granted(&g, 4), GRANT_US);
    propose(&g);
    rig_persist(&g);
    rig_answer(&g, 3, true, LAST + 1, 0);
    rig_answer(&g, 2, true, LAST + 1, 0);
    assert_int_equal(raft_commit_index(g.core), LAST);
    rig_answer(&g, 4, true, LAST + 1, 0); /* though its vote counts for nothing */
    assert_int_equal(raft_commit_index(g.core), LAST + 1);
    rig_stop(&g);
}

/* Two entries, of which node 2 has one and learner 4 none. */
static void a_commit_goes_as_far_as_the_last_of_them(void **state)
{
    (void)state;
    struct rig g;
    lead_with(&g, "vvvl", true, GRANT_US);
    rig_answer(&g, 4, true, LAST, 0);
    assert_int_equal(granted(&g, 2), GRANT_US);
    assert_int_equal(granted(&g, 4), GRANT_US);
    propose(&g);
    propose(&g);
    rig_persist(&g);
    rig_answer(&g, 3, true, LAST + 2, 0);
    rig_answer(&g, 2, true, LAST + 1, 0);
    assert_int_equal(raft_commit_index(g.core), LAST);
    rig_answer(&g, 4, true, LAST + 2, 0);
    assert_int_equal(raft_commit_index(g.core), LAST + 1);
    rig_stop(&g);
}

static void a_commit_waits_no_longer_than_the_grant(void **state)
{
    (void)state;
    struct rig g;
    uint64_t until_us = write_around_2(&g);
    rig_tick(&g, until_us - 1 - g.now_us);
    assert_int_equal(raft_commit_index(g.core), LAST);
    assert_int_equal(g.out->wake_at_us, until_us);
    rig_tick(&g, 1);
    assert_int_equal(raft_commit_index(g.core), LAST + 1);
    assert_true(g.out->wake_at_us > until_us);
    rig_stop(&g);
}

static void a_grant_commits_nothing_by_itself(void **state)
{
    (void)state;
    struct rig g;
    lead(&g);
    assert_int_equal(granted(&g, 2), GRANT_US);
    propose(&g);
    rig_answer(&g, 2, true, LAST + 1, 0); /* the leader's own disk has not said so */
    assert_int_equal(raft_commit_index(g.core), LAST);
    rig_stop(&g);
}

/* The lease is of the others' promises; a grant outlives the leadership that the lease ends with.
 */
static void a_deposed_leader_elects_nobody_before_the_end(void **state)
{
    (void)state;
    struct rig g;
    lead(&g);
    assert_int_equal(granted(&g, 2), GRANT_US);
    uint64_t until_us = g.now_us + GRANT_US;
    struct raft_msg vote = {
        .kind = RAFT_MSG_VOTE, .from = 3, .term = 6, .vote = {.last_index = LAST, .last_term = 2}};
    rig_message(&g, (struct raft_msg){.kind = RAFT_MSG_HEARTBEAT_REPLY, .from = 3, .term = 5});
    assert_int_equal(raft_role(g.core), RAFT_FOLLOWER);
    g.now_us = until_us - 1;
    rig_message(&g, vote);
    assert_false(rig_sent(&g, RAFT_MSG_VOTE_REPLY, 3, 0)->msg.vote_reply.granted);
    g.now_us = until_us;
    vote.term++;
    rig_message(&g, vote);
    assert_true(rig_sent(&g, RAFT_MSG_VOTE_REPLY, 3, 0)->msg.vote_reply.granted);
    rig_stop(&g);
}

static void the_only_voter_starts_behind_the_end(void **state)
{
    (void)state;
    struct rig g;
    struct raft_config config = rig_config("vl");
    struct raft_options options = {
        .id = 1, .lease_us = LEASE_US, .lease = true, .grant_us = GRANT_US};
    rig_start_with(&g, options, 0, 10, 10, &config);
    assert_int_equal(raft_role(g.core), RAFT_FOLLOWER);
    assert_int_equal(g.out->wake_at_us, g.now_us + GRANT_US);
    rig_tick(&g, GRANT_US);
    rig_persist(&g);
    assert_int_equal(raft_role(g.core), RAFT_LEADER);
    rig_stop(&g);
}

/* Its log ends with the configuration that 2 has left, which waited for the end of 2's grant. */
static void the_only_member_left_starts_behind_the_end_too(void **state)
{
    (void)state;
    struct rig g;
    struct raft_config config = rig_config("v");
    struct raft_options options = {
        .id = 1, .lease_us = LEASE_US, .lease = true, .grant_us = GRANT_US};
    rig_start_with(&g, options, 0, 11, 10, &config);
    rig_persist(&g);
    rig_persist(&g);
    assert_int_equal(raft_commit_index(g.core), 10);
    assert_int_equal(g.out->wake_at_us, g.now_us + GRANT_US);
    rig_tick(&g, GRANT_US);
    rig_persist(&g);
    assert_int_equal(raft_role(g.core), RAFT_LEADER);
    rig_stop(&g);
}

/* A learner, by an entry that did not get to this disk, is a voter. */
static void nor_does_the_only_voter_elect_a_learner(void **state)
{
    (void)state;
    struct rig g;
    struct raft_config config = rig_config("vll");
    struct raft_options options = {
        .id = 1, .lease_us = LEASE_US, .lease = true, .grant_us = GRANT_US};
    rig_start_with(&g, options, 0, 10, 10, &config);
    rig_message(&g, (struct raft_msg){.kind = RAFT_MSG_VOTE,
                                      .from = 2,
                                      .term = 2,
                                      .vote = {.last_index = 11, .last_term = 1}});
    assert_int_equal(raft_vote(g.core), 0);
    rig_stop(&g);
}

static void promote(struct rig *g, raft_id id)
{
    struct raft_event e = {.kind = RAFT_CHANGE, .change = {.kind = RAFT_CHANGE_PROMOTE}};
    e.change.member = (struct raft_member){.id = id};
    rig_step(g, e);
    rig_persist(g);
    for (raft_id from = 2; from <= 5; from++)
        rig_answer(g, from, true, raft_last_index(g->core), 0);
}

/* Two steps from {1,2,3} a quorum may have nobody left who promised anything. */
static void one_configuration_at_most_within_a_grant(void **state)
{
    (void)state;
    struct rig g;
    lead_with(&g, "vvvll", true, GRANT_US);
    for (int round = 0; round < 4; round++)
        for (raft_id from = 3; from <= 5; from++)
            rig_answer(&g, from, true, LAST, 0);
    assert_int_equal(granted(&g, 2), GRANT_US);
    promote(&g, 4);
    promote(&g, 5);
    assert_int_equal(raft_last_index(g.core), LAST + 1);
    assert_int_equal(raft_commit_index(g.core), LAST);
    rig_tick(&g, GRANT_US);
    assert_true(raft_commit_index(g.core) > LAST);
    rig_stop(&g);
}

static void a_commit_waits_for_the_one_that_it_needs(void **state)
{
    (void)state;
    struct rig g;
    lead(&g);
    assert_int_equal(granted(&g, 2), GRANT_US);
    uint64_t first_us = g.now_us + GRANT_US;
    g.now_us += GRANT_US / 2;
    assert_int_equal(granted(&g, 3), GRANT_US);
    propose(&g);
    rig_persist(&g);
    rig_answer(&g, 3, true, LAST + 1, 0);
    assert_int_equal(g.out->wake_at_us, first_us);
    rig_stop(&g);
}

static void the_word_waits_for_the_end(void **state)
{
    (void)state;
    struct rig g;
    lead(&g);
    assert_int_equal(granted(&g, 2), GRANT_US);
    uint64_t until_us = g.now_us + GRANT_US;
    rig_step(&g, (struct raft_event){.kind = RAFT_TRANSFER, .transfer = {3}});
    assert_int_equal(g.out->refusal, RAFT_ACCEPTED);
    assert_null(rig_sent(&g, RAFT_MSG_TIMEOUT_NOW, 0, 0));
    assert_int_equal(g.out->wake_at_us, until_us);
    rig_tick(&g, GRANT_US - 1);
    assert_null(rig_sent(&g, RAFT_MSG_TIMEOUT_NOW, 0, 0));
    assert_int_not_equal(raft_lease_until_us(g.core), 0); /* nor does it count as given */
    rig_tick(&g, 1);
    assert_non_null(rig_sent(&g, RAFT_MSG_TIMEOUT_NOW, 3, 0));
    assert_int_equal(raft_lease_until_us(g.core), 0);
    rig_stop(&g);
}

static void change(struct rig *g, enum raft_change_kind kind, raft_id id, raft_id replaces)
{
    struct raft_event e = {.kind = RAFT_CHANGE, .change = {.kind = kind, .replaces = replaces}};
    e.change.member = (struct raft_member){.id = id, .name = "c", .address = "host:9"};
    rig_step(g, e);
    assert_int_equal(g->out->refusal, RAFT_ACCEPTED);
}

/* Node 3, which has a grant, leaves by this; all who are left acknowledge that. */
static uint64_t take_away_3(struct rig *g, const char *roles, enum raft_change_kind kind)
{
    lead_with(g, roles, true, GRANT_US);
    rig_answer(g, 3, true, LAST, 0);
    assert_int_equal(granted(g, 3), GRANT_US);
    uint64_t until_us = g->now_us + GRANT_US;
    g->now_us += GRANT_US / 4;
    change(g, kind, kind == RAFT_CHANGE_REMOVE ? 3 : 99, kind == RAFT_CHANGE_REMOVE ? 0 : 3);
    assert_null(raft_config_find(raft_config(g->core, NULL), 3));
    rig_persist(g);
    rig_answer(g, 2, true, LAST + 1, 0);
    return until_us;
}

static void who_leaves_is_waited_for(struct rig *g, uint64_t until_us)
{
    assert_int_equal(raft_commit_index(g->core), LAST);
    assert_int_equal(g->out->wake_at_us, until_us);
    rig_tick(g, until_us - 1 - g->now_us);
    assert_int_equal(raft_commit_index(g->core), LAST);
    rig_tick(g, 1);
    assert_int_equal(raft_commit_index(g->core), LAST + 1);
    rig_stop(g);
}

static void who_is_removed_is_waited_for(void **state)
{
    (void)state;
    struct rig g;
    uint64_t until_us = take_away_3(&g, "vvv", RAFT_CHANGE_REMOVE);
    who_leaves_is_waited_for(&g, until_us);
}

/* Its slot is another's at once. */
static void who_is_replaced_is_waited_for(void **state)
{
    (void)state;
    struct rig g;
    uint64_t until_us = take_away_3(&g, "vvl", RAFT_CHANGE_REPLACE);
    who_leaves_is_waited_for(&g, until_us);
}

/* And where no slot is free. */
static void who_is_replaced_in_a_full_cluster_is_waited_for(void **state)
{
    (void)state;
    struct rig g;
    char roles[RAFT_MAX_MEMBERS + 1] = "vv";
    memset(roles + 2, 'l', RAFT_MAX_MEMBERS - 2);
    uint64_t until_us = take_away_3(&g, roles, RAFT_CHANGE_REPLACE);
    who_leaves_is_waited_for(&g, until_us);
}

/* Another leader follows and gives this one its word, while the test's clock stands still. */
static void lead_again(struct rig *g)
{
    rig_message(g, (struct raft_msg){.kind = RAFT_MSG_HEARTBEAT, .from = 2, .term = 3});
    rig_message(g, (struct raft_msg){.kind = RAFT_MSG_TIMEOUT_NOW, .from = 2, .term = 3});
    rig_persist(g);
    rig_message(g, (struct raft_msg){.kind = RAFT_MSG_VOTE_REPLY,
                                     .from = 2,
                                     .term = 4,
                                     .vote_reply = {.election_term = 4, .granted = true}});
    assert_int_equal(raft_role(g->core), RAFT_LEADER);
    rig_persist(g);
}

static void acknowledge_in_term_4(struct rig *g, raft_id from)
{
    rig_message(g,
                (struct raft_msg){.kind = RAFT_MSG_APPEND_REPLY,
                                  .from = from,
                                  .term = 4,
                                  .append_reply = {.ok = true, .match = raft_last_index(g->core)}});
}

static void a_later_term_owes_nothing(void **state)
{
    (void)state;
    struct rig g;
    lead(&g);
    assert_int_equal(granted(&g, 2), GRANT_US);
    lead_again(&g);
    acknowledge_in_term_4(&g, 3);
    assert_int_equal(raft_commit_index(g.core), LAST + 1);
    rig_stop(&g);
}

static void a_later_term_owes_nothing_to_who_left(void **state)
{
    (void)state;
    struct rig g;
    take_away_3(&g, "vvv", RAFT_CHANGE_REMOVE);
    lead_again(&g);
    acknowledge_in_term_4(&g, 2);
    assert_int_equal(raft_commit_index(g.core), LAST + 2);
    rig_stop(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_with_the_answer),
        cmocka_unit_test(a_learner_is_granted_too),
        cmocka_unit_test(none_without_a_lease),
        cmocka_unit_test(none_when_the_lease_has_ended),
        cmocka_unit_test(none_that_would_outlive_the_lease),
        cmocka_unit_test(none_while_an_entry_is_on_its_way),
        cmocka_unit_test(none_to_who_is_behind),
        cmocka_unit_test(none_while_it_hands_over),
        cmocka_unit_test(none_where_the_cluster_has_none),
        cmocka_unit_test(none_to_who_takes_none),
        cmocka_unit_test(none_to_who_is_no_member),
        cmocka_unit_test(a_commit_waits_for_who_reads_by_itself),
        cmocka_unit_test(a_commit_waits_for_all_of_them),
        cmocka_unit_test(a_commit_goes_as_far_as_the_last_of_them),
        cmocka_unit_test(a_commit_waits_no_longer_than_the_grant),
        cmocka_unit_test(a_grant_commits_nothing_by_itself),
        cmocka_unit_test(a_deposed_leader_elects_nobody_before_the_end),
        cmocka_unit_test(the_only_voter_starts_behind_the_end),
        cmocka_unit_test(the_only_member_left_starts_behind_the_end_too),
        cmocka_unit_test(nor_does_the_only_voter_elect_a_learner),
        cmocka_unit_test(one_configuration_at_most_within_a_grant),
        cmocka_unit_test(a_commit_waits_for_the_one_that_it_needs),
        cmocka_unit_test(the_word_waits_for_the_end),
        cmocka_unit_test(who_is_removed_is_waited_for),
        cmocka_unit_test(who_is_replaced_is_waited_for),
        cmocka_unit_test(who_is_replaced_in_a_full_cluster_is_waited_for),
        cmocka_unit_test(a_later_term_owes_nothing),
        cmocka_unit_test(a_later_term_owes_nothing_to_who_left),
    };
    return cmocka_run_group_tests_name("grant", tests, NULL, NULL);
}
