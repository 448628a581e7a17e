/* SPDX-License-Identifier: MIT */
/* How long a leader may read by itself, and what its voters' promises outlive. */
#include "rig.h"

enum { LEASE_US = 200000, PROMISE_US = 250000 };

static void start(struct rig *g, bool lease)
{
    struct raft_config config = rig_config("vvv");
    rig_start_with(g, (struct raft_options){.id = 1, .lease_us = LEASE_US, .lease = lease}, 0, 10,
                   10, &config);
}

static bool reads_at_once(struct rig *g)
{
    static uint64_t token;
    rig_step(g, (struct raft_event){.kind = RAFT_READ, .read = {++token}});
    return g->out->read_count > 0 && g->out->reads[g->out->read_count - 1].token == token;
}

static void it_counts_from_when_the_round_began(void **state)
{
    (void)state;
    struct rig g;
    start(&g, true);
    rig_lead(&g);
    rig_tick(&g, RIG_HEARTBEAT_US);
    uint64_t began_us = g.now_us;
    assert_int_equal(rig_sent(&g, RAFT_MSG_HEARTBEAT, 2, 0)->msg.heartbeat.lease_us, LEASE_US);
    g.now_us += 50000;
    rig_echo(&g, 2);
    assert_int_equal(raft_lease_until_us(g.core), began_us + LEASE_US);
    assert_true(reads_at_once(&g));
    g.now_us = began_us + LEASE_US; /* no heartbeat was sent meanwhile */
    assert_false(reads_at_once(&g));
    rig_stop(&g);
}

static void turned_off_it_asks(void **state)
{
    (void)state;
    struct rig g;
    start(&g, false);
    rig_lead(&g);
    rig_tick(&g, RIG_HEARTBEAT_US);
    assert_int_equal(rig_sent(&g, RAFT_MSG_HEARTBEAT, 2, 0)->msg.heartbeat.lease_us, 0);
    rig_echo(&g, 2);
    assert_int_equal(raft_lease_until_us(g.core), 0);
    assert_false(reads_at_once(&g));
    rig_stop(&g);
}

static void none_after_the_word_is_given(void **state)
{
    (void)state;
    struct rig g;
    start(&g, true);
    rig_lead(&g);
    rig_tick(&g, RIG_HEARTBEAT_US);
    rig_echo(&g, 2);
    assert_true(reads_at_once(&g));
    rig_step(&g, (struct raft_event){.kind = RAFT_TRANSFER, .transfer = {2}});
    assert_non_null(rig_sent(&g, RAFT_MSG_TIMEOUT_NOW, 2, 0));
    assert_int_equal(raft_lease_until_us(g.core), 0);
    for (int i = 0; i < 20; i++) { /* given up, but the word may still be under way */
        rig_tick(&g, RIG_HEARTBEAT_US);
        rig_echo(&g, 2);
    }
    assert_int_equal(raft_role(g.core), RAFT_LEADER);
    assert_false(reads_at_once(&g));
    rig_stop(&g);
}

static bool grants(struct rig *g, bool transfer)
{
    rig_message(
        g, (struct raft_msg){.kind = RAFT_MSG_VOTE,
                             .from = 3,
                             .term = raft_term(g->core) + 1,
                             .vote = {.last_index = 99, .last_term = 1, .transfer = transfer}});
    return rig_sent(g, RAFT_MSG_VOTE_REPLY, 3, 0)->msg.vote_reply.granted;
}

static void promise(struct rig *g)
{
    start(g, true);
    g->now_us += RIG_ELECTION_US - 1;
    rig_message(g, (struct raft_msg){.kind = RAFT_MSG_HEARTBEAT,
                                     .from = 2,
                                     .term = 1,
                                     .heartbeat = {.round = 1, .lease_us = LEASE_US}});
}

static void a_promise_outlives_the_connection(void **state)
{
    (void)state;
    struct rig g;
    promise(&g);
    uint64_t promised_us = g.now_us;
    rig_step(&g, (struct raft_event){.kind = RAFT_PEER_LOST, .lost = {2}});
    assert_true(g.out->wake_at_us > promised_us + PROMISE_US); /* nor does it vote for itself */
    assert_true(g.out->wake_at_us <= promised_us + PROMISE_US + RIG_HEARTBEAT_US / 4 + 1);
    g.now_us = promised_us + PROMISE_US - 1;
    assert_false(grants(&g, false));
    g.now_us++;
    assert_true(grants(&g, false));
    rig_stop(&g);
}

static void a_promise_outlives_the_term(void **state)
{
    (void)state;
    struct rig g;
    promise(&g);
    rig_message(&g, (struct raft_msg){.kind = RAFT_MSG_READ, .from = 3, .term = 7});
    assert_int_equal(raft_leader(g.core), 0);
    assert_false(grants(&g, false));
    assert_true(grants(&g, true)); /* the leader's own word */
    rig_stop(&g);
}

static void who_starts_keeps_still(void **state)
{
    (void)state;
    struct rig g;
    start(&g, false);
    g.now_us += PROMISE_US - 1;
    assert_false(grants(&g, false));
    g.now_us++;
    assert_true(grants(&g, false));
    rig_stop(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_counts_from_when_the_round_began),
        cmocka_unit_test(turned_off_it_asks),
        cmocka_unit_test(none_after_the_word_is_given),
        cmocka_unit_test(a_promise_outlives_the_connection),
        cmocka_unit_test(a_promise_outlives_the_term),
        cmocka_unit_test(who_starts_keeps_still),
    };
    return cmocka_run_group_tests_name("lease", tests, NULL, NULL);
}
