/* SPDX-License-Identifier: MIT */
/* barriers.c against a driver that this test plays. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "node/barriers.h"

enum { TIMEOUT_US = 5000000 };

static struct {
    raft_id leader;
    bool refuses;
    unsigned reads;
    uint64_t token;
} driver;

bool raft_driver_read(struct raft_driver *d, uint64_t token)
{
    (void)d;
    driver.reads++;
    driver.token = token;
    return !driver.refuses;
}

raft_id raft_driver_leader(const struct raft_driver *d)
{
    (void)d;
    return driver.leader;
}

static struct contact contact;
static struct barriers *barriers;

static pthread_mutex_t done_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t done_cond = PTHREAD_COND_INITIALIZER;

struct request {
    struct backend_barrier barrier;
    unsigned done;
    int status;
};

static void on_done(struct backend_barrier *barrier, int status)
{
    struct request *r = (struct request *)barrier;
    pthread_mutex_lock(&done_lock);
    r->done++;
    r->status = status;
    pthread_cond_broadcast(&done_cond);
    pthread_mutex_unlock(&done_lock);
}

static unsigned times_done(struct request *r)
{
    pthread_mutex_lock(&done_lock);
    unsigned done = r->done;
    pthread_mutex_unlock(&done_lock);
    return done;
}

static int await(struct request *r)
{
    pthread_mutex_lock(&done_lock);
    while (r->done == 0)
        pthread_cond_wait(&done_cond, &done_lock);
    int status = r->status;
    pthread_mutex_unlock(&done_lock);
    return status;
}

static void ask(struct request *r, bool need_session)
{
    *r = (struct request){.barrier = {.need_session = need_session, .done = on_done}};
    barriers_submit(barriers, &r->barrier);
}

static void pump(void)
{
    barriers_pump(barriers, NULL, clock_mono_us());
}

static void start(bool local)
{
    uint64_t now_us = clock_mono_us();
    driver = (typeof(driver)){.leader = 1};
    contact_init(&contact, TIMEOUT_US, now_us);
    contact_leader(&contact, true, now_us);
    barriers = barriers_init(&contact, local);
    barriers_applied(barriers, 10);
}

static int setup(void **state)
{
    (void)state;
    start(false);
    return 0;
}

static int setup_local(void **state)
{
    (void)state;
    start(true);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    barriers_close(barriers);
    return 0;
}

/* The leader may answer what this node asked before it was restarted. */
static void no_two_lives_use_the_same_token(void **state)
{
    (void)state;
    struct request r;
    uint64_t before;
    ask(&r, false);
    pump();
    before = driver.token;
    barriers_read_done(barriers, before, 10, true);
    assert_int_equal(await(&r), 0);
    barriers_close(barriers);
    start(false);
    ask(&r, false);
    pump();
    assert_true(driver.token > before);
    barriers_read_done(barriers, driver.token, 10, true);
    assert_int_equal(await(&r), 0);
}

static void all_who_wait_share_one_read_index(void **state)
{
    (void)state;
    struct request r[5];
    for (int i = 0; i < 5; i++)
        ask(&r[i], false);
    pump();
    assert_int_equal(driver.reads, 1);
    barriers_read_done(barriers, driver.token, 10, true);
    for (int i = 0; i < 5; i++)
        assert_int_equal(await(&r[i]), 0);
}

/* Who asks after a round began may have seen a later write: it needs a round of its own. */
static void a_late_comer_needs_the_next_round(void **state)
{
    (void)state;
    struct request early, late;
    ask(&early, false);
    pump();
    uint64_t first = driver.token;
    ask(&late, false);
    barriers_read_done(barriers, first, 10, true);
    assert_int_equal(await(&early), 0);
    assert_int_equal(times_done(&late), 0);
    pump();
    assert_true(driver.token != first);
    barriers_read_done(barriers, driver.token, 10, true);
    assert_int_equal(await(&late), 0);
}

static void a_look_waits_until_the_index_is_applied(void **state)
{
    (void)state;
    struct request r;
    ask(&r, false);
    pump();
    barriers_read_done(barriers, driver.token, 12, true);
    barriers_applied(barriers, 11);
    assert_int_equal(times_done(&r), 0);
    barriers_applied(barriers, 12);
    assert_int_equal(await(&r), 0);
}

static void a_failed_round_is_asked_again(void **state)
{
    (void)state;
    struct request r;
    ask(&r, false);
    pump();
    barriers_read_done(barriers, driver.token, 0, false);
    assert_int_equal(times_done(&r), 0);
    /* Not at once: whoever refuses does so as fast as it is asked. */
    uint64_t now_us = clock_mono_us();
    uint64_t again_us = barriers_pump(barriers, NULL, now_us);
    assert_int_equal(driver.reads, 1);
    assert_in_range(again_us, now_us, now_us + 1000000);
    assert_int_equal(barriers_pump(barriers, NULL, again_us), UINT64_MAX);
    assert_int_equal(driver.reads, 2);
    barriers_read_done(barriers, driver.token, 3, true);
    assert_int_equal(await(&r), 0);
}

static void a_lost_round_is_asked_again_of_the_next_leader(void **state)
{
    (void)state;
    struct request r;
    ask(&r, false);
    pump();
    uint64_t lost = driver.token;
    barriers_resend(barriers);
    pump();
    assert_int_equal(driver.reads, 2);
    barriers_read_done(barriers, lost, 3, true); /* nobody's any more */
    assert_int_equal(times_done(&r), 0);
    barriers_read_done(barriers, driver.token, 3, true);
    assert_int_equal(await(&r), 0);
}

static void without_an_answer_it_times_out_and_then_refuses(void **state)
{
    (void)state;
    struct request first, second;
    ask(&first, false);
    pump();
    barriers_expire(barriers, clock_mono_us() + TIMEOUT_US);
    assert_int_equal(await(&first), -ETIMEDOUT);
    ask(&second, false);
    assert_int_equal(times_done(&second), 1);
    assert_int_equal(second.status, -ETIMEDOUT);
    /* Nobody is let through to find out that the cluster answers again, so a probe does. */
    barriers_pump(barriers, NULL, clock_mono_us() + 1000000);
    assert_int_equal(driver.reads, 2);
    barriers_read_done(barriers, driver.token, 3, true);
    assert_false(contact_refuses(&contact, clock_mono_us()));
}

static void a_change_to_come_waits_for_the_session(void **state)
{
    (void)state;
    struct request r;
    ask(&r, true);
    pump();
    barriers_read_done(barriers, driver.token, 3, true);
    assert_int_equal(times_done(&r), 0);
    barriers_session_open(barriers);
    assert_int_equal(await(&r), 0);
}

static void the_dead_are_answered_once(void **state)
{
    (void)state;
    struct request asked, looking;
    ask(&asked, false);
    barriers_cancel(barriers, &asked.barrier);
    assert_int_equal(await(&asked), -EINTR);
    ask(&looking, false);
    pump();
    barriers_read_done(barriers, driver.token, 99, true);
    barriers_cancel(barriers, &looking.barrier);
    barriers_cancel(barriers, &looking.barrier);
    assert_int_equal(await(&looking), -EINTR);
    barriers_applied(barriers, 99);
    assert_int_equal(times_done(&looking), 1);
}

static void with_local_consistency_nobody_is_asked(void **state)
{
    (void)state;
    struct request r;
    driver.leader = 0;
    ask(&r, false);
    assert_int_equal(times_done(&r), 1);
    assert_int_equal(r.status, 0);
    assert_int_equal(driver.reads, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(all_who_wait_share_one_read_index),
        T(no_two_lives_use_the_same_token),
        T(a_late_comer_needs_the_next_round),
        T(a_look_waits_until_the_index_is_applied),
        T(a_failed_round_is_asked_again),
        T(a_lost_round_is_asked_again_of_the_next_leader),
        T(without_an_answer_it_times_out_and_then_refuses),
        T(a_change_to_come_waits_for_the_session),
        T(the_dead_are_answered_once),
        cmocka_unit_test_setup_teardown(with_local_consistency_nobody_is_asked, setup_local,
                                        teardown),
    };
    return cmocka_run_group_tests_name("barriers", tests, NULL, NULL);
}
