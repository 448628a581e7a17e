/* SPDX-License-Identifier: MIT */
/* What a cluster with full disks takes and refuses, and who leads it then. */
#include "rig.h"

static enum raft_refusal propose(struct rig *g, bool reserve)
{
    const uint32_t bytes = 10;
    rig_step(g, (struct raft_event){.kind = RAFT_PROPOSE,
                                    .propose = {.count = 1, .bytes = &bytes, .reserve = reserve}});
    return g->out->refusal;
}

static void fill(struct rig *g, bool full)
{
    rig_step(g, (struct raft_event){.kind = RAFT_DISK, .disk = {full}});
}

static void echo(struct rig *g, raft_id from, bool full, bool stalled)
{
    rig_message(g, (struct raft_msg){
                       .kind = RAFT_MSG_HEARTBEAT_REPLY,
                       .from = from,
                       .term = 2,
                       .heartbeat_reply = {.round = g->core->round, .disk = {full, stalled}}});
}

static void a_majority_is_full(void **state)
{
    (void)state;
    struct rig g;
    rig_start(&g, 0, 10, "vvv");
    rig_lead(&g);
    echo(&g, 3, true, false);
    assert_int_equal(propose(&g, false), RAFT_ACCEPTED); /* one of three does not matter */
    assert_false(g.out->write.reserve);
    assert_false(rig_sent(&g, RAFT_MSG_APPEND, 2, 0)->msg.append.reserve);
    echo(&g, 2, true, false);
    assert_int_equal(propose(&g, false), RAFT_NO_SPACE);
    assert_int_equal(propose(&g, true), RAFT_ACCEPTED);
    assert_true(g.out->write.reserve);
    assert_true(rig_sent(&g, RAFT_MSG_APPEND, 2, 0)->msg.append.reserve);
    echo(&g, 2, false, false);
    assert_int_equal(propose(&g, false), RAFT_ACCEPTED);
    rig_stop(&g);
}

static void a_full_leader_hands_over_to_who_has_room(void **state)
{
    (void)state;
    struct rig g;
    rig_start(&g, 0, 10, "vvv");
    rig_lead(&g);
    echo(&g, 2, true, false);
    echo(&g, 3, false, false);
    fill(&g, true);
    assert_int_equal(propose(&g, false), RAFT_NO_SPACE);
    assert_null(rig_sent(&g, RAFT_MSG_TIMEOUT_NOW, 0, 0)); /* 2 and 3 are no majority with room */
    echo(&g, 2, false, true);
    rig_answer(&g, 3, true, raft_last_index(g.core), 0);
    echo(&g, 3, false, false);
    assert_int_equal(g.core->transfer_to, 3); /* 2 has room, but its disk stands still */
    rig_stop(&g);
}

static void alone_it_refuses_and_stays(void **state)
{
    (void)state;
    struct rig g;
    rig_start(&g, 0, 10, "v");
    rig_tick(&g, 1);
    rig_persist(&g);
    rig_persist(&g);
    assert_int_equal(raft_role(g.core), RAFT_LEADER);
    fill(&g, true);
    assert_int_equal(propose(&g, false), RAFT_NO_SPACE);
    assert_int_equal(propose(&g, true), RAFT_ACCEPTED);
    fill(&g, false);
    assert_int_equal(propose(&g, false), RAFT_ACCEPTED);
    rig_stop(&g);
}

static void append(struct rig *g, enum raft_entry_kind kind, bool reserve)
{
    struct raft_entry_meta meta = {.term = 2, .kind = kind};
    rig_message(g, (struct raft_msg){
                       .kind = RAFT_MSG_APPEND,
                       .from = 2,
                       .term = 2,
                       .append = {.prev_index = raft_last_index(g->core),
                                  .prev_term = raft_term_at(g->core, raft_last_index(g->core)),
                                  .count = 1,
                                  .reserve = reserve,
                                  .entries = &meta}});
}

static void a_full_follower_lags_but_votes(void **state)
{
    (void)state;
    struct rig g;
    rig_start(&g, 0, 10, "vvv");
    fill(&g, true);
    append(&g, RAFT_ENTRY_COMMAND, false);
    assert_int_equal(raft_last_index(g.core), 10);
    append(&g, RAFT_ENTRY_NOOP, false);
    assert_int_equal(raft_last_index(g.core), 11);
    assert_true(g.out->write.reserve);
    append(&g, RAFT_ENTRY_COMMAND, true);
    assert_int_equal(raft_last_index(g.core), 12);
    assert_true(g.out->write.reserve);
    assert_true(rig_sent(&g, RAFT_MSG_APPEND_REPLY, 2, 0)->msg.append_reply.disk.full);
    fill(&g, false);
    append(&g, RAFT_ENTRY_COMMAND, false);
    assert_int_equal(raft_last_index(g.core), 13);
    assert_false(g.out->write.reserve);
    rig_stop(&g);
}

/* Whether it says so after as many heartbeats as fit, and another one at once. */
static bool is_stalled_after(struct rig *g, uint64_t us)
{
    struct raft_msg heartbeat = {
        .kind = RAFT_MSG_HEARTBEAT, .from = 2, .term = 2, .heartbeat = {.round = 1}};
    for (uint64_t end_us = g->now_us + us; g->now_us < end_us; g->now_us += RIG_HEARTBEAT_US)
        rig_message(g, heartbeat);
    rig_message(g, heartbeat);
    return rig_sent(g, RAFT_MSG_HEARTBEAT_REPLY, 2, 0)->msg.heartbeat_reply.disk.stalled;
}

static void a_still_disk_is_told(void **state)
{
    (void)state;
    struct rig g;
    rig_start(&g, 0, 10, "vvv");
    append(&g, RAFT_ENTRY_COMMAND, false);
    assert_false(is_stalled_after(&g, RIG_ELECTION_US - RIG_HEARTBEAT_US));
    assert_true(is_stalled_after(&g, RIG_HEARTBEAT_US));
    rig_persist(&g);
    assert_false(is_stalled_after(&g, RIG_HEARTBEAT_US));
    rig_stop(&g);
}

/* What its disk has needed before and come back from is no standstill. */
static void a_slow_disk_is_not_still(void **state)
{
    (void)state;
    struct rig g;
    rig_start(&g, 0, 10, "vvv");
    append(&g, RAFT_ENTRY_COMMAND, false);
    is_stalled_after(&g, RIG_ELECTION_US);
    rig_persist(&g);
    append(&g, RAFT_ENTRY_COMMAND, false);
    assert_false(is_stalled_after(&g, 2 * RIG_ELECTION_US - RIG_HEARTBEAT_US));
    assert_true(is_stalled_after(&g, RIG_HEARTBEAT_US));
    rig_stop(&g);
}

/* The node was stopped: the disk may have finished long ago, and word of it waits. */
static void its_own_absence_is_not_the_disks(void **state)
{
    (void)state;
    struct rig g;
    rig_start(&g, 0, 10, "vvv");
    append(&g, RAFT_ENTRY_COMMAND, false);
    g.now_us += 5 * RIG_ELECTION_US;
    assert_false(is_stalled_after(&g, 0));
    assert_true(is_stalled_after(&g, RIG_ELECTION_US));
    rig_stop(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_majority_is_full),
        cmocka_unit_test(a_full_leader_hands_over_to_who_has_room),
        cmocka_unit_test(alone_it_refuses_and_stays),
        cmocka_unit_test(a_full_follower_lags_but_votes),
        cmocka_unit_test(a_still_disk_is_told),
        cmocka_unit_test(a_slow_disk_is_not_still),
        cmocka_unit_test(its_own_absence_is_not_the_disks),
    };
    return cmocka_run_group_tests_name("disk", tests, NULL, NULL);
}
