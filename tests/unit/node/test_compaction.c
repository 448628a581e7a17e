/* SPDX-License-Identifier: MIT */
/* How far the log is cut, against a driver that the test plays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "node/compaction.h"

enum { SECOND_US = 1000 * 1000 };

/* The world that compaction.c sees: one member besides this node. */
static struct {
    uint64_t now_us;
    bool leads;
    uint64_t match;
    uint64_t silent_us; /* UINT64_MAX: it was not heard yet */
    uint64_t log_bytes;
    uint64_t snapshot_bytes;
    uint64_t cut;
} world;

static struct compaction *compaction;

bool raft_driver_leads(const struct raft_driver *d)
{
    (void)d;
    return world.leads;
}

uint64_t raft_driver_least_match(struct raft_driver *d, uint64_t contact_us, bool unheard)
{
    (void)d;
    bool counts = world.silent_us == UINT64_MAX ? unheard : world.silent_us <= contact_us;
    return counts ? world.match : UINT64_MAX;
}

uint64_t raft_driver_log_bytes(const struct raft_driver *d)
{
    (void)d;
    return world.log_bytes;
}

void raft_driver_compact(struct raft_driver *d, uint64_t index)
{
    (void)d;
    world.cut = index;
}

static uint64_t cut_after(uint64_t passed_us, uint64_t needless)
{
    world.now_us += passed_us;
    struct compaction_needs needs = {needless, world.snapshot_bytes};
    compaction_pump(compaction, NULL, &needs, world.now_us);
    return world.cut;
}

static int set_up(void **state)
{
    (void)state;
    memset(&world, 0, sizeof(world));
    world.now_us = 1000 * (uint64_t)SECOND_US;
    compaction = compaction_init(100);
    compaction_applied(compaction, 100000, 1000);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    compaction_close(compaction);
    return 0;
}

static void the_newest_entries_stay(void **state)
{
    (void)state;
    assert_int_equal(cut_after(0, 200000), 100000 - 100);
    assert_int_equal(cut_after(2 * SECOND_US, 5000), 5000); /* and what is needed */
}

static void it_looks_now_and_then(void **state)
{
    (void)state;
    assert_int_equal(cut_after(0, 200000), 100000 - 100);
    compaction_applied(compaction, 200000, 1000);
    struct compaction_needs needs = {200000, 0};
    assert_int_equal(compaction_pump(compaction, NULL, &needs, world.now_us),
                     world.now_us + SECOND_US);
    assert_int_equal(world.cut, 100000 - 100);
    assert_int_equal(cut_after(SECOND_US, 200000), 200000 - 100);
    assert_int_equal(cut_after(1, 150000), 150000); /* at once, when there is news */
}

static void fewer_stay_where_they_are_large(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 90; i++) /* one of a MiB after the other */
        compaction_applied(compaction, 100000 + i, 1024 * 1024);
    assert_int_equal(cut_after(0, 200000), 100090 - 63);
}

static void a_member_that_answers_is_waited_for(void **state)
{
    (void)state;
    world.leads = true;
    world.match = 7;
    assert_int_equal(cut_after(0, 200000), 7);
    assert_int_equal(cut_after(600 * (uint64_t)SECOND_US, 200000), 7);
    world.log_bytes = (uint64_t)1 << 30;
    world.snapshot_bytes = world.log_bytes + 1; /* that one is on its way, perhaps */
    assert_int_equal(cut_after(2 * SECOND_US, 200000), 7);
    world.log_bytes += 2; /* but not at any price */
    assert_int_equal(cut_after(2 * SECOND_US, 200000), 100000 - 100);
}

static void one_that_has_gone_silent_for_a_while(void **state)
{
    (void)state;
    world.leads = true;
    world.match = 99500;
    world.silent_us = 10 * SECOND_US;
    assert_int_equal(cut_after(0, 200000), 99500);
    world.match = 7; /* much more than a restart takes */
    assert_int_equal(cut_after(2 * SECOND_US, 200000), 100000 - 10 * 100);
    world.match = 99500;
    world.silent_us = 61 * SECOND_US;
    assert_int_equal(cut_after(2 * SECOND_US, 200000), 100000 - 100);
}

static void a_new_leader_waits_to_hear_from_all(void **state)
{
    (void)state;
    world.leads = true;
    world.silent_us = UINT64_MAX; /* it knows of nobody what he has */
    assert_int_equal(cut_after(0, 200000), 0);
    assert_int_equal(cut_after(10 * SECOND_US, 200000), 100000 - 10 * 100);
    assert_int_equal(cut_after(60 * SECOND_US, 200000), 100000 - 100);
    world.leads = false;
    cut_after(2 * SECOND_US, 200000);
    world.leads = true; /* again: from the start */
    assert_int_equal(cut_after(2 * SECOND_US, 200000), 0);
}

static void a_short_log_stays_whole(void **state)
{
    (void)state;
    struct compaction *young = compaction_init(0);
    compaction_applied(young, COMPACTION_KEPT_ENTRIES, 1000);
    world.cut = 99;
    compaction_pump(young, NULL, &(struct compaction_needs){200000, 0}, world.now_us);
    assert_int_equal(world.cut, 0);
    compaction_close(young);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_newest_entries_stay),
        TEST(it_looks_now_and_then),
        TEST(fewer_stay_where_they_are_large),
        TEST(a_member_that_answers_is_waited_for),
        TEST(one_that_has_gone_silent_for_a_while),
        TEST(a_new_leader_waits_to_hear_from_all),
        TEST(a_short_log_stays_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
