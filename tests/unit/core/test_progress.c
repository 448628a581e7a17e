/* SPDX-License-Identifier: MIT */
/* When what was sent is sent again: as late as answers are, and always in the end. */
#include "rig.h"

static struct progress fresh(uint64_t next)
{
    struct progress p;
    progress_reset(&p, 2, next, 0);
    return p;
}

static void a_lost_probe_is_sent_again_ever_later(void **state)
{
    (void)state;
    struct progress p = fresh(5);
    uint64_t now_us = 0, pauses[8];
    for (int i = 0; i < 8; i++) {
        assert_true(progress_has_room(&p));
        uint64_t sent_us = now_us;
        progress_sent(&p, 9, 100, now_us);
        while (!progress_has_room(&p))
            progress_retry(&p, 100, now_us += 10);
        pauses[i] = now_us - sent_us;
    }
    assert_int_equal(pauses[0], 100);
    assert_int_equal(pauses[1], 200);
    assert_int_equal(pauses[4], 1600);
    assert_int_equal(pauses[7], 1600); /* but not for ever */
}

static void a_slow_member_is_given_its_time(void **state)
{
    (void)state;
    struct progress p = fresh(5);
    progress_sent(&p, 9, 100, 0);
    assert_true(progress_matched(&p, 9, 90));
    progress_replicate(&p);
    progress_sent(&p, 10, 100, 1000);
    assert_true(progress_matched(&p, 10, 1900)); /* 900 for an answer */
    progress_sent(&p, 11, 100, 2000);
    progress_retry(&p, 100, 3700);
    assert_int_equal(p.state, PROGRESS_REPLICATE);
    progress_retry(&p, 100, 3900);
    assert_int_equal(p.state, PROGRESS_PROBE);
    assert_int_equal(p.next, 11);
    assert_true(progress_has_room(&p));
    /* Quick answers bring the patience down again. */
    for (uint64_t index = 11; index < 16; index++) {
        progress_sent(&p, index, 100, 10 * index);
        assert_true(progress_matched(&p, index, 10 * index + 1));
        progress_probe(&p, index + 1);
    }
    progress_sent(&p, 16, 100, 10000);
    progress_retry(&p, 100, 10100);
    assert_true(progress_has_room(&p));
}

static void the_window_closes_and_opens(void **state)
{
    (void)state;
    struct progress p = fresh(1);
    progress_replicate(&p);
    for (uint64_t i = 1; i <= RAFT_MAX_INFLIGHT; i++) {
        assert_true(progress_has_room(&p));
        progress_sent(&p, i, 1, 0);
    }
    assert_false(progress_has_room(&p));
    assert_true(progress_matched(&p, 10, 1));
    assert_int_equal(p.count, RAFT_MAX_INFLIGHT - 10);
    assert_true(progress_has_room(&p));
    progress_sent(&p, RAFT_MAX_INFLIGHT + 1, RAFT_MAX_INFLIGHT_BYTES, 1);
    assert_false(progress_has_room(&p));
    progress_snapshot(&p);
    assert_int_equal(p.count, 0);
    assert_int_equal(p.bytes, 0);
    assert_false(progress_has_room(&p));
}

/* Duplicates of an answer would otherwise each send the next megabyte, for ever (dqlite #276). */
static void an_answer_without_news_sends_nothing(void **state)
{
    (void)state;
    struct rig g;
    rig_start(&g, 0, 2000, "vvv"); /* sizes of old entries are not known: one at a time */
    rig_lead(&g);
    rig_answer(&g, 3, false, 2000, 10);
    assert_non_null(rig_sent(&g, RAFT_MSG_APPEND, 3, 0));
    rig_answer(&g, 3, true, 522, 0);
    assert_non_null(rig_sent(&g, RAFT_MSG_APPEND, 3, 0));
    rig_answer(&g, 3, true, 522, 0);
    assert_null(rig_sent(&g, RAFT_MSG_APPEND, 3, 0));
    rig_echo(&g, 3);
    assert_null(rig_sent(&g, RAFT_MSG_APPEND, 3, 0));
    g.now_us += RIG_HEARTBEAT_US;
    rig_echo(&g, 3);
    assert_non_null(rig_sent(&g, RAFT_MSG_APPEND, 3, 0));
    rig_stop(&g);
}

/* Before it has answered once, a broken connection does not make the leader start from entry 1. */
static void a_guess_outlives_a_lost_connection(void **state)
{
    (void)state;
    struct rig g;
    rig_start(&g, 0, 2000, "vvv");
    rig_lead(&g);
    rig_step(&g, (struct raft_event){.kind = RAFT_PEER_LOST, .lost = {3}});
    const struct raft_send *s = rig_sent(&g, RAFT_MSG_APPEND, 3, 0);
    assert_non_null(s);
    assert_int_equal(s->msg.append.prev_index, 2000);
    rig_stop(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_probe_is_sent_again_ever_later),
        cmocka_unit_test(a_slow_member_is_given_its_time),
        cmocka_unit_test(the_window_closes_and_opens),
        cmocka_unit_test(an_answer_without_news_sends_nothing),
        cmocka_unit_test(a_guess_outlives_a_lost_connection),
    };
    return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
