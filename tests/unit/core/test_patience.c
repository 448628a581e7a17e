/* SPDX-License-Identifier: MIT */
/* patience.c as a table, and what it and absences do to a follower's, a leader's and a voter's. */
#include "rig.h"

enum { MS = 1000, BASE_US = RIG_ELECTION_US };

/* ---- The rule ---- */

static const struct {
    uint32_t at_s;
    uint32_t silence_ms; /* learned then; 0: nothing */
    uint32_t timeout_ms; /* from then on */
} table[] = {
    {0, 0, 700},        {1, 100, 700},                                        /* as it should be */
    {2, 350, 700},      {3, 351, 702},     {4, 500, 1000},    {5, 200, 1000}, /* the worst counts */
    {59, 0, 1000},      {61, 400, 1000},                      /* a period later it still does, */
    {119, 0, 1000},     {121, 0, 800},                        /* but not after two */
    {122, 100, 800},    {181, 0, 800},     {183, 1400, 2800}, /* never longer */
    {184, 1401, 2800},                                        /* nothing to learn from */
    {185, 60000, 2800}, {302, 0, 2800},    {303, 0, 700},     /* unused, it forgets as well */
    {1000, 600, 1200},  {1030, 100, 1200}, {1061, 100, 1200}, {1121, 100, 700},
};

static void it_follows_the_table(void **state)
{
    (void)state;
    struct patience p = {0};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        uint64_t now_us = 1000000 * (uint64_t)table[i].at_s;
        if (table[i].silence_ms)
            patience_learn(&p, table[i].silence_ms * MS, BASE_US, now_us);
        if (patience_timeout_us(&p, BASE_US, now_us) != table[i].timeout_ms * MS)
            fail_msg("row %zu: %ju us", i, (uintmax_t)patience_timeout_us(&p, BASE_US, now_us));
    }
}

static void it_never_leaves_its_bounds(void **state)
{
    (void)state;
    struct patience p = {0};
    uint64_t x = 1, now_us = 0;
    for (int i = 0; i < 100000; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        now_us += (x >> 33) % (3 * 60 * 1000 * 1000u);
        patience_learn(&p, x >> (x >> 58), BASE_US, now_us);
        uint64_t timeout_us = patience_timeout_us(&p, BASE_US, now_us + (x >> 40));
        assert_in_range(timeout_us, BASE_US, 4 * BASE_US);
    }
}

/* ---- A follower ---- */

static void heartbeat(struct rig *g, uint64_t term)
{
    rig_message(g, (struct raft_msg){.kind = RAFT_MSG_HEARTBEAT, .from = 2, .term = term});
}

/* It wakes up whenever it wants to: how long until it is no follower any more. */
static uint64_t campaigns_after(struct rig *g)
{
    uint64_t since_us = g->now_us;
    rig_campaign(g);
    return g->now_us - since_us;
}

/* Like campaigns_after(), but the leader is heard after so long. */
static void silent_for(struct rig *g, uint64_t us, uint64_t term)
{
    uint64_t until_us = g->now_us + us;
    while (g->out->wake_at_us < until_us) {
        g->now_us = g->out->wake_at_us;
        rig_step(g, (struct raft_event){.kind = RAFT_TICK});
    }
    g->now_us = until_us;
    heartbeat(g, term);
}

static void follow(struct rig *g)
{
    rig_start(g, 0, 10, "vvv");
    for (uint64_t us = 0; us <= BASE_US; us += RIG_HEARTBEAT_US) {
        heartbeat(g, 2);
        g->now_us += RIG_HEARTBEAT_US;
    }
    heartbeat(g, 2);
}

/* Its first words may have been held up by what kept the last one from us. */
static void a_new_leader_is_not_late(void **state)
{
    (void)state;
    struct rig g;
    rig_start(&g, 0, 10, "vvv");
    heartbeat(&g, 2);
    silent_for(&g, 600 * MS, 2);
    assert_in_range(campaigns_after(&g), BASE_US, 2 * BASE_US);
    rig_stop(&g);
}

static void a_late_leader_is_given_time(void **state)
{
    (void)state;
    struct rig g;
    follow(&g);
    silent_for(&g, 600 * MS, 2);
    assert_in_range(campaigns_after(&g), 1200 * MS, 1900 * MS);
    rig_stop(&g);
}

/* The same leader comes back: it had not been dead. */
static void a_false_alarm_teaches(void **state)
{
    (void)state;
    struct rig g;
    follow(&g);
    silent_for(&g, 1400 * MS, 2);
    assert_int_equal(raft_role(g.core), RAFT_FOLLOWER);
    assert_in_range(campaigns_after(&g), 2800 * MS, 3500 * MS);
    rig_stop(&g);
}

/* Nobody was silent: there was nobody. */
static void another_leader_teaches_nothing(void **state)
{
    (void)state;
    struct rig g;
    follow(&g);
    silent_for(&g, 1200 * MS, 3);
    assert_in_range(campaigns_after(&g), BASE_US, 2 * BASE_US);
    rig_stop(&g);
}

static void a_stopped_follower_reads_before_it_asks(void **state)
{
    (void)state;
    struct rig g;
    follow(&g);
    rig_tick(&g, 10 * BASE_US);
    assert_int_equal(raft_role(g.core), RAFT_FOLLOWER);
    assert_int_equal(raft_leader(g.core), 2);
    heartbeat(&g, 2);
    assert_in_range(campaigns_after(&g), BASE_US, 2 * BASE_US); /* and the leader was not late */
    rig_stop(&g);
}

static void it_is_excused_once(void **state)
{
    (void)state;
    struct rig g;
    follow(&g);
    rig_tick(&g, 10 * BASE_US);
    rig_tick(&g, 2 * BASE_US);
    assert_int_equal(raft_role(g.core), RAFT_PRE_CANDIDATE);
    rig_stop(&g);
}

/* What the broken connection says is no matter of waiting. */
static void a_dead_leader_is_no_excuse(void **state)
{
    (void)state;
    struct rig g;
    follow(&g);
    rig_step(&g, (struct raft_event){.kind = RAFT_PEER_LOST, .lost = {2}});
    rig_tick(&g, BASE_US);
    assert_int_equal(raft_role(g.core), RAFT_PRE_CANDIDATE);
    rig_stop(&g);
}

static bool grants_prevote(struct rig *g)
{
    rig_message(g, (struct raft_msg){.kind = RAFT_MSG_PREVOTE,
                                     .from = 3,
                                     .term = 3,
                                     .vote = {.last_index = 10, .last_term = 2}});
    return rig_sent(g, RAFT_MSG_PREVOTE_REPLY, 3, 0)->msg.vote_reply.granted;
}

static void a_stopped_voter_stays_loyal_at_first(void **state)
{
    (void)state;
    struct rig g;
    follow(&g);
    g.now_us += 10 * BASE_US;
    assert_false(grants_prevote(&g));
    rig_tick(&g, RIG_HEARTBEAT_US);
    assert_false(grants_prevote(&g));
    while (g.core->role == RAFT_FOLLOWER && !grants_prevote(&g))
        rig_tick(&g, RIG_HEARTBEAT_US);
    assert_in_range(g.now_us - g.core->back_us, BASE_US, 2 * BASE_US);
    rig_stop(&g);
}

static void a_patient_voter_is_loyal_for_as_long(void **state)
{
    (void)state;
    struct rig g;
    follow(&g);
    silent_for(&g, 600 * MS, 2);
    for (uint64_t us = 0; us < 1200 * MS; us += RIG_HEARTBEAT_US) {
        assert_false(grants_prevote(&g));
        rig_tick(&g, RIG_HEARTBEAT_US);
    }
    assert_true(grants_prevote(&g));
    rig_stop(&g);
}

/* ---- A leader ---- */

/* How long it leads when nobody answers any more. */
static uint64_t leads_for(struct rig *g)
{
    uint64_t since_us = g->now_us;
    while (raft_role(g->core) == RAFT_LEADER)
        rig_tick(g, RIG_HEARTBEAT_US / 10);
    return g->now_us - since_us;
}

static void answered_after(struct rig *g, uint64_t us)
{
    for (uint64_t end_us = g->now_us + us; g->now_us < end_us;)
        rig_tick(g, RIG_HEARTBEAT_US / 10);
    rig_echo(g, 3);
}

static void lead(struct rig *g)
{
    rig_start(g, 0, 10, "vvv");
    rig_lead(g);
}

static void late_answers_make_a_leader_patient(void **state)
{
    (void)state;
    struct rig g;
    lead(&g);
    answered_after(&g, 100 * MS);
    assert_int_equal(leads_for(&g), BASE_US);
    rig_stop(&g);
    lead(&g);
    answered_after(&g, 600 * MS);
    assert_int_equal(leads_for(&g), 1200 * MS);
    rig_stop(&g);
}

static void a_leader_that_gave_up_too_early_learns(void **state)
{
    (void)state;
    struct rig g;
    lead(&g);
    leads_for(&g);
    rig_tick(&g, RIG_HEARTBEAT_US);
    rig_echo(&g, 3); /* 800 ms */
    assert_int_equal(patience_timeout_us(&g.core->patience, BASE_US, g.now_us), 1600 * MS);
    rig_tick(&g, RIG_HEARTBEAT_US);
    rig_echo(&g, 2); /* it asked nobody meanwhile */
    assert_int_equal(patience_timeout_us(&g.core->patience, BASE_US, g.now_us), 1600 * MS);
    rig_stop(&g);
}

/* One of two followers is enough; the other one's silence is nothing to learn from. */
static void only_a_majority_is_waited_for(void **state)
{
    (void)state;
    struct rig g;
    lead(&g);
    for (uint64_t us = 0; us < 600 * MS; us += RIG_HEARTBEAT_US) {
        rig_tick(&g, RIG_HEARTBEAT_US);
        rig_echo(&g, 2);
    }
    rig_echo(&g, 3);
    assert_int_equal(leads_for(&g), BASE_US);
    rig_stop(&g);
}

static void a_stopped_leader_asks_before_it_goes(void **state)
{
    (void)state;
    struct rig g;
    lead(&g);
    rig_tick(&g, 10 * BASE_US);
    assert_int_equal(raft_role(g.core), RAFT_LEADER);
    assert_non_null(rig_sent(&g, RAFT_MSG_HEARTBEAT, 2, 0));
    assert_int_equal(raft_lease_until_us(g.core), 0);
    rig_tick(&g, 10 * BASE_US); /* once */
    assert_int_equal(raft_role(g.core), RAFT_FOLLOWER);
    rig_stop(&g);
    lead(&g);
    rig_tick(&g, 10 * BASE_US);
    answered_after(&g, RIG_HEARTBEAT_US);
    rig_tick(&g, 10 * BASE_US); /* a silence */
    assert_int_equal(raft_role(g.core), RAFT_LEADER);
    assert_int_equal(leads_for(&g), BASE_US);
    rig_stop(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_follows_the_table),
        cmocka_unit_test(it_never_leaves_its_bounds),
        cmocka_unit_test(a_new_leader_is_not_late),
        cmocka_unit_test(a_late_leader_is_given_time),
        cmocka_unit_test(a_false_alarm_teaches),
        cmocka_unit_test(another_leader_teaches_nothing),
        cmocka_unit_test(a_stopped_follower_reads_before_it_asks),
        cmocka_unit_test(it_is_excused_once),
        cmocka_unit_test(a_dead_leader_is_no_excuse),
        cmocka_unit_test(a_stopped_voter_stays_loyal_at_first),
        cmocka_unit_test(a_patient_voter_is_loyal_for_as_long),
        cmocka_unit_test(late_answers_make_a_leader_patient),
        cmocka_unit_test(a_leader_that_gave_up_too_early_learns),
        cmocka_unit_test(only_a_majority_is_waited_for),
        cmocka_unit_test(a_stopped_leader_asks_before_it_goes),
    };
    return cmocka_run_group_tests_name("patience", tests, NULL, NULL);
}
