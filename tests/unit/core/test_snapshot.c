/* SPDX-License-Identifier: MIT */
/* A member that the log has left behind: the leader's side, and the member's. */
#include "rig.h"

static void a_leader_offers_what_it_has_compacted(void **state)
{
    (void)state;
    struct rig g;
    rig_start(&g, 0, 50, "vvv");
    rig_lead(&g);
    raft_compacted(g.core, 40);
    rig_answer(&g, 3, false, 50, 10); /* its log ends at 10 */
    const struct raft_send *s = rig_sent(&g, RAFT_MSG_SNAPSHOT, 3, 0);
    assert_non_null(s);
    assert_int_equal(s->msg.snapshot.index, 40);
    assert_int_equal(s->msg.snapshot.term, 1);
    assert_null(rig_sent(&g, RAFT_MSG_APPEND, 3, 0));
    assert_true(raft_peer_status(g.core, 3, g.now_us).snapshot);

    rig_tick(&g, RIG_HEARTBEAT_US); /* again with each heartbeat, and nothing else */
    assert_non_null(rig_sent(&g, RAFT_MSG_SNAPSHOT, 3, 0));
    assert_null(rig_sent(&g, RAFT_MSG_APPEND, 3, 0));
    rig_answer(&g, 3, true, 20, 0); /* an older snapshot than what is needed by now */
    assert_true(raft_peer_status(g.core, 3, g.now_us).snapshot);

    rig_answer(&g, 3, true, 40, 0); /* the installation, proven by an answer */
    assert_false(raft_peer_status(g.core, 3, g.now_us).snapshot);
    s = rig_sent(&g, RAFT_MSG_APPEND, 3, 0);
    assert_non_null(s);
    assert_int_equal(s->msg.append.prev_index, 40);
    rig_stop(&g);
}

static void a_member_that_moves_behind_the_base_is_noticed(void **state)
{
    (void)state;
    struct rig g;
    rig_start(&g, 0, 50, "vvv");
    rig_lead(&g);
    rig_answer(&g, 3, false, 50, 10);
    const struct raft_send *s = rig_sent(&g, RAFT_MSG_APPEND, 3, 0);
    assert_int_equal(s->msg.append.prev_index, 10);
    raft_compacted(g.core, 40); /* and the append, read from disk, never left */
    rig_tick(&g, RIG_HEARTBEAT_US);
    assert_non_null(rig_sent(&g, RAFT_MSG_SNAPSHOT, 3, 0));
    rig_stop(&g);
}

static void refused_at_the_base_it_contradicts_what_is_committed(void **state)
{
    (void)state;
    struct rig g;
    rig_start(&g, 50, 50, "vvv");
    rig_lead(&g);
    rig_answer(&g, 3, false, 50, 49);
    assert_non_null(rig_sent(&g, RAFT_MSG_SNAPSHOT, 3, 0));
    rig_stop(&g);
}

static struct raft_msg offer(uint64_t index, uint64_t term)
{
    return (struct raft_msg){.kind = RAFT_MSG_SNAPSHOT,
                             .from = 2,
                             .term = 9,
                             .snapshot = {.index = index, .term = term}};
}

static void a_member_wants_one_until_it_stands_there(void **state)
{
    (void)state;
    struct rig g;
    struct raft_config config = rig_config("vvv");
    rig_start(&g, 0, 10, "vvv");
    for (int i = 0; i < 3; i++) {
        rig_message(&g, offer(40, 3));
        assert_int_equal(g.out->need_snapshot_index, 40);
    }
    rig_persist(&g);
    config.members[0].address[0] = 'x';
    struct raft_event installed = {
        .kind = RAFT_INSTALLED,
        .installed = {.index = 44, .term = 4, .config_index = 30, .config = &config}};
    rig_step(&g, installed);
    assert_int_equal(g.out->write.restart_index, 44);
    assert_int_equal(g.out->write.restart_term, 4);
    assert_int_equal(g.out->commit_index, 44);
    assert_int_equal(raft_base_index(g.core), 44);
    assert_int_equal(raft_last_index(g.core), 44);
    assert_int_equal(raft_term_at(g.core, 44), 4);
    assert_int_equal(raft_vote(g.core), 0);
    assert_int_equal(raft_term(g.core), 9);
    uint64_t config_index;
    assert_int_equal(raft_config(g.core, &config_index)->members[0].address[0], 'x');
    assert_int_equal(config_index, 30);
    const struct raft_send *s = rig_sent(&g, RAFT_MSG_APPEND_REPLY, 2, 0);
    assert_non_null(s);
    assert_true(s->msg.append_reply.ok);
    assert_int_equal(s->msg.append_reply.match, 44);
    assert_int_equal(s->after_write, g.out->write.id);

    rig_message(&g, offer(40, 3)); /* a late one, or its answer was lost: proven again */
    assert_int_equal(g.out->need_snapshot_index, 0);
    assert_int_equal(rig_sent(&g, RAFT_MSG_APPEND_REPLY, 2, 0)->msg.append_reply.match, 44);
    rig_stop(&g);
}

static void what_it_holds_it_does_not_fetch(void **state)
{
    (void)state;
    struct rig g;
    struct raft_config config = rig_config("vvv");
    rig_start_with(&g, (struct raft_options){.id = 1}, 0, 50, 5, &config);
    rig_message(&g, offer(40, 1));
    assert_int_equal(g.out->need_snapshot_index, 0);
    assert_int_equal(raft_commit_index(g.core), 40);
    assert_int_equal(raft_last_index(g.core), 50);
    rig_message(&g, offer(45, 2)); /* another entry stands there */
    assert_int_equal(g.out->need_snapshot_index, 45);
    assert_int_equal(raft_commit_index(g.core), 40);
    rig_stop(&g);
}

static void a_tail_that_belongs_to_it_stays(void **state)
{
    (void)state;
    struct rig g;
    struct raft_config config = rig_config("vvv");
    rig_start_with(&g, (struct raft_options){.id = 1}, 0, 50, 5, &config);
    struct raft_event installed = {
        .kind = RAFT_INSTALLED,
        .installed = {.index = 40, .term = 1, .config_index = 1, .config = &config}};
    rig_step(&g, installed);
    assert_int_equal(g.out->write.restart_index, 0);
    assert_int_equal(raft_last_index(g.core), 50);
    assert_int_equal(raft_commit_index(g.core), 40);
    installed.installed.index = 30; /* behind what is committed: nothing happens */
    rig_step(&g, installed);
    assert_int_equal(raft_commit_index(g.core), 40);
    rig_stop(&g);
}

static void nonsense_is_dropped(void **state)
{
    (void)state;
    struct rig g;
    rig_start(&g, 0, 10, "vvv");
    rig_message(&g, offer(0, 0));
    rig_message(&g, offer(20, 10)); /* of a term above the sender's */
    rig_message(&g, offer(20, 0));
    assert_int_equal(raft_dropped_messages(g.core), 3);
    assert_int_equal(g.out->need_snapshot_index, 0);
    rig_stop(&g);
}

/* What is under way to the disk was cut off by the restart, and says nothing about what follows. */
static void late_completions_raise_nothing(void **state)
{
    (void)state;
    struct rig g;
    struct raft_config config = rig_config("vvv");
    rig_start(&g, 0, 10, "vvv");
    struct raft_entry_meta metas[40];
    for (int i = 0; i < 40; i++)
        metas[i] = (struct raft_entry_meta){.term = 2, .bytes = 1, .kind = RAFT_ENTRY_COMMAND};
    rig_message(&g,
                (struct raft_msg){
                    .kind = RAFT_MSG_APPEND,
                    .from = 2,
                    .term = 9,
                    .append = {.prev_index = 10, .prev_term = 1, .count = 40, .entries = metas}});
    uint64_t late = g.out->write.id;
    rig_step(&g, (struct raft_event){
                     .kind = RAFT_INSTALLED,
                     .installed = {.index = 20, .term = 3, .config_index = 1, .config = &config}});
    assert_int_equal(g.out->write.restart_index, 20);
    metas[0].term = 9;
    rig_message(&g,
                (struct raft_msg){
                    .kind = RAFT_MSG_APPEND,
                    .from = 2,
                    .term = 9,
                    .append = {.prev_index = 20, .prev_term = 3, .count = 1, .entries = metas}});
    assert_int_equal(raft_last_index(g.core), 21);
    rig_step(&g, (struct raft_event){.kind = RAFT_PERSISTED, .persisted = {late}});
    assert_int_equal(raft_durable_index(g.core), 20);
    rig_persist(&g);
    assert_int_equal(raft_durable_index(g.core), 21);
    rig_stop(&g);
}

/* A crash lost the hard state but not the state machine, which has seen a later term. */
static void a_term_known_by_the_state_machine_counts(void **state)
{
    (void)state;
    struct rig g = {.now_us = 1};
    struct raft_options options = {.id = 1,
                                   .heartbeat_us = RIG_HEARTBEAT_US,
                                   .election_us = RIG_ELECTION_US,
                                   .term_run_capacity = 4,
                                   .entry_size_capacity = 4};
    g.core = raft_init(memory_zalloc(raft_bytes(&options)), &options);
    g.out = memory_zalloc(sizeof(*g.out));
    rig_step(&g,
             (struct raft_event){
                 .kind = RAFT_START,
                 .start = {.base_index = 7, .base_term = 5, .last_index = 7, .applied_index = 7}});
    assert_int_equal(raft_term(g.core), 5);
    assert_true(g.out->write.has_hard);
    rig_stop(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leader_offers_what_it_has_compacted),
        cmocka_unit_test(a_member_that_moves_behind_the_base_is_noticed),
        cmocka_unit_test(refused_at_the_base_it_contradicts_what_is_committed),
        cmocka_unit_test(a_member_wants_one_until_it_stands_there),
        cmocka_unit_test(what_it_holds_it_does_not_fetch),
        cmocka_unit_test(a_tail_that_belongs_to_it_stays),
        cmocka_unit_test(nonsense_is_dropped),
        cmocka_unit_test(late_completions_raise_nothing),
        cmocka_unit_test(a_term_known_by_the_state_machine_counts),
    };
    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
