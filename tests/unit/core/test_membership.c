/* SPDX-License-Identifier: MIT */
/* A member that comes back under another id takes the place of what it was. */
#include "rig.h"

static void change(struct rig *g, enum raft_change_kind kind, raft_id id, raft_id replaces)
{
    struct raft_event e = {.kind = RAFT_CHANGE, .change = {.kind = kind, .replaces = replaces}};
    e.change.member = (struct raft_member){.id = id, .name = "c", .address = "host:9"};
    rig_step(g, e);
}

/* All that is in the log becomes durable on nodes 1 and 2, and so committed. */
static void commit(struct rig *g)
{
    rig_persist(g);
    rig_answer(g, 2, true, raft_last_index(g->core), 0);
    assert_int_equal(raft_commit_index(g->core), raft_last_index(g->core));
}

/* Voters "1 2 3", joint "1 2 3>1 2 4", learners behind a bar, who replaces whom as 4=3. */
static const char *text(struct rig *g)
{
    static char out[200];
    const struct raft_config *c = raft_config(g->core, NULL);
    char *p = out;
    bool joint = false;
    for (uint32_t i = 0; i < c->count; i++)
        joint |= c->members[i].voter_out;
    for (uint32_t i = 0; joint && i < c->count; i++)
        if (c->members[i].voter_out)
            *p++ = (char)('0' + c->members[i].id);
    if (joint)
        *p++ = '>';
    for (uint32_t i = 0; i < c->count; i++)
        if (c->members[i].voter)
            *p++ = (char)('0' + c->members[i].id);
    for (uint32_t i = 0; i < c->count; i++) {
        const struct raft_member *m = &c->members[i];
        if (m->voter || m->voter_out)
            continue;
        *p++ = ' ';
        *p++ = (char)('0' + m->id);
        if (m->promote)
            *p++ = '+';
        if (m->replaces) {
            *p++ = '=';
            *p++ = (char)('0' + m->replaces);
        }
    }
    *p = '\0';
    return out;
}

static void catch_up(struct rig *g, raft_id id)
{
    for (int i = 0; i < 3; i++)
        rig_answer(g, id, true, raft_last_index(g->core), 0);
}

static void a_voter_is_replaced_in_one_joint_step(void **state)
{
    (void)state;
    struct rig g;
    rig_start(&g, 0, 10, "vvv");
    rig_lead(&g);
    change(&g, RAFT_CHANGE_REPLACE, 4, 3);
    assert_int_equal(g.out->refusal, RAFT_ACCEPTED);
    assert_string_equal(text(&g), "123 4=3");
    commit(&g);
    assert_string_equal(text(&g), "123 4=3");
    catch_up(&g, 4);
    assert_string_equal(text(&g), "123>124");
    rig_persist(&g);
    rig_answer(&g, 2, true, raft_last_index(g.core), 0);
    rig_answer(&g, 4, true, raft_last_index(g.core), 0);
    rig_echo(&g, 2);
    assert_string_equal(text(&g), "124");
    assert_string_equal(raft_config_find(raft_config(g.core, NULL), 4)->name, "c");
    change(&g, RAFT_CHANGE_REPLACE, 4, 3); /* asked again */
    assert_int_equal(g.out->refusal, RAFT_ACCEPTED);
    assert_int_equal(g.out->write.id, 0);
    rig_stop(&g);
}

static void a_learner_is_replaced_at_once(void **state)
{
    (void)state;
    struct rig g;
    rig_start(&g, 0, 10, "vvl");
    rig_lead(&g);
    change(&g, RAFT_CHANGE_REPLACE, 4, 3);
    assert_string_equal(text(&g), "12 4");
    rig_stop(&g);
}

static void wiped_again_on_the_way_back(void **state)
{
    (void)state;
    struct rig g;
    rig_start(&g, 0, 10, "vvv");
    rig_lead(&g);
    change(&g, RAFT_CHANGE_REPLACE, 4, 3);
    commit(&g);
    change(&g, RAFT_CHANGE_REPLACE, 5, 3); /* it names what it was first, */
    assert_string_equal(text(&g), "123 5=3");
    commit(&g);
    change(&g, RAFT_CHANGE_REPLACE, 6, 5); /* or last */
    assert_string_equal(text(&g), "123 6=3");
    rig_stop(&g);
}

static void what_is_removed_meanwhile(void **state)
{
    (void)state;
    struct rig g;
    rig_start(&g, 0, 10, "vvv");
    rig_lead(&g);
    change(&g, RAFT_CHANGE_REPLACE, 4, 3);
    commit(&g);
    change(&g, RAFT_CHANGE_PROMOTE, 4, 0);
    assert_int_equal(g.out->refusal, RAFT_INVALID);
    change(&g, RAFT_CHANGE_REMOVE, 3, 0);
    assert_string_equal(text(&g), "12 4+");
    rig_stop(&g);
}

static void demoted_meanwhile(void **state)
{
    (void)state;
    struct rig g;
    rig_start(&g, 0, 10, "vvv");
    rig_lead(&g);
    change(&g, RAFT_CHANGE_REPLACE, 4, 3);
    commit(&g);
    change(&g, RAFT_CHANGE_DEMOTE, 3, 0);
    commit(&g);
    catch_up(&g, 4);
    assert_string_equal(text(&g), "12 4");
    rig_stop(&g);
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    static const struct {
        raft_id id, replaces;
        const char *name;
    } table[] = {{4, 9, "c"}, {4, 0, "c"}, {0, 3, "c"}, {2, 3, "c"}, {4, 3, "a"}, {4, 3, ""}};
    struct rig g;
    rig_start(&g, 0, 10, "vvv");
    rig_lead(&g);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct raft_event e = {
            .kind = RAFT_CHANGE,
            .change = {.kind = RAFT_CHANGE_REPLACE, .replaces = table[i].replaces}};
        e.change.member = (struct raft_member){.id = table[i].id, .address = "host:9"};
        memcpy(e.change.member.name, table[i].name, strlen(table[i].name));
        rig_step(&g, e);
        assert_int_equal(g.out->refusal, RAFT_INVALID);
    }
    rig_stop(&g);
}

/* Led in term 2, heard of a configuration without 3 in term 3, leads again in term 4. */
static void what_was_known_in_an_earlier_office_is_forgotten(void **state)
{
    (void)state;
    struct rig g;
    uint8_t bytes[RAFT_MAX_CONFIG_BYTES];
    struct raft_config two = rig_config("vv");
    rig_start(&g, 0, 10, "vvv");
    rig_lead(&g);
    rig_answer(&g, 3, true, 11, 0);
    assert_int_equal(raft_peer_status(g.core, 3, g.now_us).match, 11);
    struct raft_entry_meta meta = {.term = 3, .kind = RAFT_ENTRY_CONFIG, .config = bytes};
    meta.bytes = (uint32_t)raft_config_encode(&two, bytes, sizeof(bytes));
    rig_message(
        &g, (struct raft_msg){
                .kind = RAFT_MSG_APPEND,
                .from = 2,
                .term = 3,
                .append = {
                    .prev_index = 11, .prev_term = 2, .commit = 12, .count = 1, .entries = &meta}});
    rig_persist(&g);
    rig_message(&g, (struct raft_msg){.kind = RAFT_MSG_TIMEOUT_NOW, .from = 2, .term = 3});
    rig_persist(&g);
    rig_message(&g, (struct raft_msg){.kind = RAFT_MSG_VOTE_REPLY,
                                      .from = 2,
                                      .term = 4,
                                      .vote_reply = {.election_term = 4, .granted = true}});
    assert_int_equal(raft_role(g.core), RAFT_LEADER);
    rig_persist(&g);
    rig_message(&g, (struct raft_msg){.kind = RAFT_MSG_APPEND_REPLY,
                                      .from = 2,
                                      .term = 4,
                                      .append_reply = {.ok = true, .match = 13}});
    change(&g, RAFT_CHANGE_ADD, 3, 0);
    assert_int_equal(g.out->refusal, RAFT_ACCEPTED);
    assert_int_equal(raft_peer_status(g.core, 3, g.now_us).match, 0);
    rig_stop(&g);
}

static void it_is_encoded(void **state)
{
    (void)state;
    uint8_t bytes[RAFT_MAX_CONFIG_BYTES];
    struct raft_config config = rig_config("vvvl"), back;
    config.members[3].replaces = 2;
    size_t length = raft_config_encode(&config, bytes, sizeof(bytes));
    assert_true(raft_config_decode(&back, bytes, length));
    assert_int_equal(back.members[3].replaces, 2);
    assert_int_equal(back.members[2].replaces, 0);
    config.members[3].replaces = 4; /* itself */
    length = raft_config_encode(&config, bytes, sizeof(bytes));
    assert_false(raft_config_decode(&back, bytes, length));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_voter_is_replaced_in_one_joint_step),
        cmocka_unit_test(a_learner_is_replaced_at_once),
        cmocka_unit_test(wiped_again_on_the_way_back),
        cmocka_unit_test(what_is_removed_meanwhile),
        cmocka_unit_test(demoted_meanwhile),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(what_was_known_in_an_earlier_office_is_forgotten),
        cmocka_unit_test(it_is_encoded),
    };
    return cmocka_run_group_tests_name("membership", tests, NULL, NULL);
}
