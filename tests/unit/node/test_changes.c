/* SPDX-License-Identifier: MIT */
/* changes.c against a driver that this test plays: it refuses, loses and delivers at will. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/memory.h"
#include "node/changes.h"

enum { INCARNATION = 77, SESSION = 5, TIMEOUT_US = 5000000 };

static struct {
    enum raft_driver_sent answer;
    raft_id leader;
    unsigned calls;
    uint64_t seq;
    uint32_t count;
    struct command last; /* the last payload proposed, decoded */
} driver;

enum raft_driver_sent raft_driver_propose(struct raft_driver *d, uint64_t seq,
                                          struct buf *const *payloads, uint32_t count)
{
    static uint32_t groups[COMMAND_MAX_GROUPS];
    (void)d;
    driver.calls++;
    driver.seq = seq;
    driver.count = count;
    assert_true(command_decode(&driver.last, groups, payloads[count - 1]->data,
                               payloads[count - 1]->bytes));
    return driver.answer;
}

bool raft_driver_read(struct raft_driver *d, uint64_t token)
{
    (void)d, (void)token;
    return false;
}

raft_id raft_driver_leader(const struct raft_driver *d)
{
    (void)d;
    return driver.leader;
}

static struct contact contact;
static struct changes *changes;

struct request {
    struct backend_change change;
    unsigned done;
    int status;
};

static void on_done(struct backend_change *change, int status, const struct store_result *result)
{
    struct request *r = (struct request *)change;
    assert_true((status == 0) == (result != NULL));
    r->done++;
    r->status = status;
}

static void ask_to_write(struct request *r)
{
    struct command write = {.op = COMMAND_WRITE, .ino = 2, .data = "x", .data_bytes = 1};
    *r = (struct request){.change = {.command = command_encode(&write), .done = on_done}};
    changes_submit(changes, &r->change);
}

static void ask(struct request *r)
{
    struct command unlink = {.op = COMMAND_UNLINK, .parent = 1, .name = "x", .name_bytes = 1};
    *r = (struct request){.change = {.command = command_encode(&unlink), .done = on_done}};
    changes_submit(changes, &r->change);
}

static void pump(void)
{
    changes_pump(changes, NULL, clock_mono_us());
}

static void open_session(void)
{
    pump();
    assert_int_equal(driver.last.op, COMMAND_SESSION);
    struct store_result opened = {
        .session = SESSION, .incarnation = INCARNATION, .boot = driver.last.boot};
    assert_true(changes_applied(changes, &opened));
    assert_int_equal(changes_session(changes), SESSION);
}

static void apply(uint64_t seq)
{
    changes_applied(changes, &(struct store_result){.session = SESSION, .seq = seq});
}

static int setup(void **state)
{
    (void)state;
    driver = (typeof(driver)){.answer = RAFT_SENT_FORWARDED, .leader = 1};
    uint64_t now_us = clock_mono_us();
    contact_init(&contact, TIMEOUT_US, now_us);
    contact_leader(&contact, true, now_us);
    changes = changes_init(&contact, INCARNATION, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    changes_close(changes);
    return 0;
}

static void nothing_is_sent_before_the_session_is_open(void **state)
{
    (void)state;
    struct request r;
    ask(&r);
    pump();
    assert_int_equal(driver.last.op, COMMAND_SESSION);
    open_session();
    pump();
    assert_int_equal(driver.last.op, COMMAND_UNLINK);
    assert_int_equal(driver.last.session, SESSION);
    apply(driver.last.seq);
    assert_int_equal(r.done, 1);
    assert_int_equal(r.status, 0);
}

static void a_foreign_session_is_not_ours(void **state)
{
    (void)state;
    struct store_result other_boot = {.session = 9, .incarnation = INCARNATION, .boot = 2};
    struct store_result other_node = {.session = 9, .incarnation = 1, .boot = 1};
    assert_false(changes_applied(changes, &other_boot));
    assert_false(changes_applied(changes, &other_node));
    assert_int_equal(changes_session(changes), 0);
}

static void what_is_asked_together_is_sent_together(void **state)
{
    (void)state;
    struct request r[10];
    open_session();
    for (int i = 0; i < 10; i++)
        ask(&r[i]);
    driver.calls = 0;
    pump();
    assert_int_equal(driver.calls, 1);
    assert_int_equal(driver.count, 10);
    for (uint64_t seq = driver.seq; seq < driver.seq + 10; seq++)
        apply(seq);
    for (int i = 0; i < 10; i++)
        assert_int_equal(r[i].done, 1);
}

static void without_a_copy_out_there_nothing_happened(void **state)
{
    (void)state;
    struct request r;
    open_session();
    driver.answer = RAFT_SENT_NOWHERE;
    ask(&r);
    pump();
    changes_expire(changes, clock_mono_us() + TIMEOUT_US);
    assert_int_equal(r.status, -EROFS);
}

static void a_refused_copy_does_not_count(void **state)
{
    (void)state;
    struct request r;
    open_session();
    ask(&r);
    pump();
    changes_forwarded(changes, driver.seq, 1, RAFT_FORWARD_REFUSED, clock_mono_us());
    changes_expire(changes, clock_mono_us() + TIMEOUT_US);
    assert_int_equal(r.status, -EROFS);
}

static void with_one_of_two_copies_refused_the_outcome_is_unknown(void **state)
{
    (void)state;
    struct request r;
    open_session();
    ask(&r);
    pump();
    changes_resend(changes);
    pump();
    changes_forwarded(changes, driver.seq, 1, RAFT_FORWARD_REFUSED, clock_mono_us());
    changes_expire(changes, clock_mono_us() + TIMEOUT_US);
    assert_int_equal(r.status, -ETIMEDOUT);
}

static void full_disks_refuse_at_once(void **state)
{
    (void)state;
    struct request here, there;
    open_session();
    driver.answer = RAFT_SENT_FULL;
    ask_to_write(&here);
    pump();
    assert_int_equal(here.status, -ENOSPC);
    driver.answer = RAFT_SENT_FORWARDED;
    ask_to_write(&there);
    pump();
    changes_forwarded(changes, driver.seq, 1, RAFT_FORWARD_FULL, clock_mono_us());
    assert_int_equal(there.done, 1);
    assert_int_equal(there.status, -ENOSPC);
    assert_false(changes_pending(changes));
}

/* The first copy may be in a log. */
static void full_disks_do_not_refuse_what_may_have_happened(void **state)
{
    (void)state;
    struct request r;
    open_session();
    ask_to_write(&r);
    pump();
    changes_resend(changes);
    driver.answer = RAFT_SENT_FULL;
    pump();
    assert_int_equal(r.done, 0);
    changes_expire(changes, clock_mono_us() + TIMEOUT_US);
    assert_int_equal(r.status, -ETIMEDOUT);
}

static void removals_are_sent_apart(void **state)
{
    (void)state;
    struct request r[4];
    open_session();
    ask(&r[0]);
    ask(&r[1]);
    ask_to_write(&r[2]);
    ask(&r[3]);
    driver.calls = 0;
    pump();
    assert_int_equal(driver.calls, 3);
    for (uint64_t seq = driver.seq - 3; seq <= driver.seq; seq++)
        apply(seq);
}

static void a_lost_copy_is_sent_again_under_the_same_number(void **state)
{
    (void)state;
    struct request r;
    open_session();
    ask(&r);
    pump();
    uint64_t seq = driver.last.seq;
    changes_resend(changes);
    driver.calls = 0;
    pump();
    assert_int_equal(driver.calls, 1);
    assert_int_equal(driver.last.seq, seq);
    apply(seq);
    apply(seq); /* the other copy */
    assert_int_equal(r.done, 1);
}

/* The mark must pass a change that was given up, or it could land after the next one. */
static void what_was_given_up_is_no_longer_awaited(void **state)
{
    (void)state;
    struct request first, second;
    open_session();
    ask(&first);
    pump();
    uint64_t given_up = driver.last.seq;
    changes_expire(changes, clock_mono_us() + TIMEOUT_US);
    assert_int_equal(first.status, -ETIMEDOUT);
    contact_progress(&contact, clock_mono_us());
    ask(&second);
    pump();
    assert_true(driver.last.lowest_awaited > given_up);
    apply(given_up);
    assert_int_equal(second.done, 0);
    apply(driver.last.seq);
    assert_int_equal(second.done, 1);
}

static void a_stalled_cluster_refuses_at_once(void **state)
{
    (void)state;
    struct request first, second;
    open_session();
    ask(&first);
    pump();
    changes_expire(changes, clock_mono_us() + TIMEOUT_US);
    ask(&second);
    assert_int_equal(second.done, 1);
    assert_int_equal(second.status, -EROFS);
}

static void the_dead_are_answered_at_every_stage(void **state)
{
    (void)state;
    struct request asked, sent;
    open_session();
    ask(&asked);
    changes_cancel(changes, &asked.change);
    assert_int_equal(asked.status, -EINTR);
    ask(&sent);
    pump();
    uint64_t seq = driver.last.seq;
    changes_cancel(changes, &sent.change);
    assert_int_equal(sent.status, -EINTR);
    changes_cancel(changes, &sent.change);
    apply(seq);
    assert_int_equal(sent.done, 1);
}

static void more_than_a_window_waits_its_turn(void **state)
{
    (void)state;
    enum { MANY = STORE_MAX_RESULTS };
    struct request *r = memory_alloc(MANY * sizeof(*r));
    open_session();
    for (int i = 0; i < MANY; i++)
        ask(&r[i]);
    pump();
    uint64_t last = driver.seq + driver.count - 1;
    assert_true(last < MANY);
    for (uint64_t seq = 1; seq <= last; seq++)
        apply(seq);
    pump();
    assert_int_equal(driver.seq + driver.count - 1, MANY);
    for (uint64_t seq = last + 1; seq <= MANY; seq++)
        apply(seq);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(r[i].done, 1);
    memory_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(nothing_is_sent_before_the_session_is_open),
        T(a_foreign_session_is_not_ours),
        T(what_is_asked_together_is_sent_together),
        T(without_a_copy_out_there_nothing_happened),
        T(a_refused_copy_does_not_count),
        T(with_one_of_two_copies_refused_the_outcome_is_unknown),
        T(full_disks_refuse_at_once),
        T(full_disks_do_not_refuse_what_may_have_happened),
        T(removals_are_sent_apart),
        T(a_lost_copy_is_sent_again_under_the_same_number),
        T(what_was_given_up_is_no_longer_awaited),
        T(a_stalled_cluster_refuses_at_once),
        T(the_dead_are_answered_at_every_stage),
        T(more_than_a_window_waits_its_turn),
    };
    return cmocka_run_group_tests_name("changes", tests, NULL, NULL);
}
