/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/contact.h"

enum { TIMEOUT = 5000 };

static void a_leaderless_node_refuses_after_the_timeout(void **state)
{
    (void)state;
    struct contact c;
    contact_init(&c, TIMEOUT, 1000);
    assert_false(contact_refuses(&c, 1000 + TIMEOUT - 1));
    assert_true(contact_refuses(&c, 1000 + TIMEOUT));
    contact_leader(&c, true, 7000);
    assert_false(contact_refuses(&c, 7000));
}

static void the_deadline_runs_from_when_contact_was_lost(void **state)
{
    (void)state;
    struct contact c;
    contact_init(&c, TIMEOUT, 0);
    contact_leader(&c, true, 1);
    contact_progress(&c, 20000);
    contact_leader(&c, false, 21000);
    /* Asked late in the outage: it does not get a full timeout of its own. */
    assert_false(contact_expired(&c, 25000, 25999));
    assert_true(contact_expired(&c, 25000, 26000));
}

static void no_progress_fails_all_and_then_new_ones_at_once(void **state)
{
    (void)state;
    struct contact c;
    contact_init(&c, TIMEOUT, 0);
    contact_leader(&c, true, 1);
    contact_progress(&c, 10000);
    contact_watch(&c, 12000, 16999);
    assert_false(contact_refuses(&c, 16999));
    contact_watch(&c, 12000, 17000);
    assert_true(contact_refuses(&c, 17000));
    assert_true(contact_expired(&c, 16900, 17000));
    contact_progress(&c, 17500);
    assert_false(contact_refuses(&c, 17500));
}

static void an_idle_time_is_no_stall(void **state)
{
    (void)state;
    struct contact c;
    contact_init(&c, TIMEOUT, 0);
    contact_leader(&c, true, 1);
    contact_progress(&c, 10);
    contact_watch(&c, 1000000, 1000001);
    assert_false(contact_refuses(&c, 1000001));
}

static void a_request_that_starves_fails_alone(void **state)
{
    (void)state;
    struct contact c;
    contact_init(&c, TIMEOUT, 0);
    contact_leader(&c, true, 1);
    contact_progress(&c, 20000);
    contact_watch(&c, 11000, 21000);
    assert_true(contact_expired(&c, 11000, 21000));
    assert_false(contact_expired(&c, 12000, 21000));
}

static void a_new_leader_ends_a_stall(void **state)
{
    (void)state;
    struct contact c;
    contact_init(&c, TIMEOUT, 0);
    contact_leader(&c, true, 1);
    contact_watch(&c, 1, 1 + TIMEOUT);
    assert_true(contact_refuses(&c, 1 + TIMEOUT));
    contact_leader(&c, false, 6003);
    contact_leader(&c, true, 6004);
    assert_false(contact_refuses(&c, 6005));
}

/* Followers of a paused leader may hear of the next one without a time between them. */
static void a_leader_that_takes_over_ends_a_stall(void **state)
{
    (void)state;
    struct contact c;
    contact_init(&c, TIMEOUT, 0);
    contact_leader(&c, true, 1);
    contact_watch(&c, 1, 1 + TIMEOUT);
    contact_leader(&c, true, 6000);
    contact_watch(&c, 1, 6001); /* one who has waited all the time goes on waiting */
    assert_false(contact_refuses(&c, 6001));
    contact_watch(&c, 1, 6000 + TIMEOUT);
    assert_true(contact_refuses(&c, 6000 + TIMEOUT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leaderless_node_refuses_after_the_timeout),
        cmocka_unit_test(the_deadline_runs_from_when_contact_was_lost),
        cmocka_unit_test(no_progress_fails_all_and_then_new_ones_at_once),
        cmocka_unit_test(an_idle_time_is_no_stall),
        cmocka_unit_test(a_request_that_starves_fails_alone),
        cmocka_unit_test(a_new_leader_ends_a_stall),
        cmocka_unit_test(a_leader_that_takes_over_ends_a_stall),
    };
    return cmocka_run_group_tests_name("contact", tests, NULL, NULL);
}
