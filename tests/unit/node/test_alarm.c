/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/alarm.h"

enum { AFTER_MS = 20, EVENTS = 5000 };

static int went_off;

static void on_alarm(uv_timer_t *timer)
{
    (void)timer;
    went_off++;
}

static int open_loop(void **state)
{
    static uv_loop_t loop;
    static uv_timer_t timer;
    went_off = 0;
    uv_loop_init(&loop);
    uv_timer_init(&loop, &timer);
    *state = &timer;
    return 0;
}

static int close_loop(void **state)
{
    uv_timer_t *timer = *state;
    uv_loop_t *loop = timer->loop;
    uv_close((uv_handle_t *)timer, NULL);
    uv_run(loop, UV_RUN_DEFAULT);
    return uv_loop_close(loop);
}

/* One turn of the loop, with an event in it that takes a millisecond. */
static void turn(uv_timer_t *timer, uint64_t in_ms)
{
    uv_sleep(1);
    uv_run(timer->loop, UV_RUN_NOWAIT);
    alarm_within(timer, on_alarm, in_ms);
}

static void it_goes_off_however_often_it_is_set(void **state)
{
    uv_timer_t *timer = *state;
    for (int i = 0; i < EVENTS && went_off < 3; i++)
        turn(timer, AFTER_MS);
    assert_int_equal(went_off, 3);
}

static void it_is_brought_forward(void **state)
{
    uv_timer_t *timer = *state;
    alarm_within(timer, on_alarm, 1000 * 1000);
    alarm_within(timer, on_alarm, 1);
    uv_run(timer->loop, UV_RUN_DEFAULT);
    assert_int_equal(went_off, 1);
}

static void it_is_stopped(void **state)
{
    uv_timer_t *timer = *state;
    alarm_within(timer, on_alarm, AFTER_MS);
    alarm_within(timer, on_alarm, ALARM_NEVER);
    uv_run(timer->loop, UV_RUN_DEFAULT); /* ends at once: nothing is awaited */
    assert_int_equal(went_off, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_goes_off_however_often_it_is_set, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(it_is_brought_forward, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(it_is_stopped, open_loop, close_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
