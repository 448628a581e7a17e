/* SPDX-License-Identifier: MIT */
/*
 * The state machine of fetching.c against members, a disk and an apply thread that the test plays:
 * whatever they do, a snapshot is installed once they behave, and nothing waits without a timer.
 */
#include "fetching_world.h"

/* ---- The tests ---- */

static void nothing_happens_without_a_need(void **state)
{
    (void)state;
    assert_int_equal(pump(), UINT64_MAX);
    world.applied_index = 400;
    need(400); /* it is there already */
    assert_int_equal(pump(), UINT64_MAX);
    assert_false(world.job_waits);
}

static void a_snapshot_comes_in_pieces_and_is_installed(void **state)
{
    (void)state;
    start_receiving();
    assert_int_equal(world.asked, LEADER);
    receive_the_rest();
    assert_int_equal(world.asks, 4); /* what it is, and three pieces */
    check_installed();
}

static void what_an_earlier_try_left_goes_on(void **state)
{
    (void)state;
    need(400);
    pump();
    do_job(INTAKE_LOOK, (struct intake_result){.snapshot = whole, .offset = 2 * PIECE});
    assert_int_equal(world.ask.id, whole.id);
    assert_int_equal(world.ask.offset, 2 * PIECE);
    receive_the_rest();
    check_installed();
}

static void a_whole_one_is_installed_without_asking(void **state)
{
    (void)state;
    need(400);
    pump();
    do_job(INTAKE_LOOK, (struct intake_result){.snapshot = whole, .whole = true});
    check_installed();
    assert_int_equal(world.asks, 0);
}

static void silence_sends_the_ask_to_the_next_member(void **state)
{
    (void)state;
    start_receiving();
    struct raft_net_snapshot_ask late = world.ask;
    uint64_t again_us = pump();
    assert_true(again_us > world.now_us && again_us != UINT64_MAX);
    world.now_us = again_us;
    need(400);
    pump();
    assert_int_equal(world.asked, OTHER);
    assert_int_equal(world.ask.id, whole.id);
    struct raft_net_snapshot_piece piece = piece_of(&late);
    answer_with(LEADER, &piece); /* nobody waits for it any more */
    assert_false(world.job_waits);
    receive_the_rest();
    check_installed();
}

static void a_lost_connection_asks_again_at_once(void **state)
{
    (void)state;
    start_receiving();
    world.up[LEADER] = false;
    fetching_peer_changed(fetching, LEADER);
    pump();
    assert_int_equal(world.asked, OTHER);
    receive_the_rest();
    check_installed();
}

static void one_that_nobody_has_any_more_is_given_up(void **state)
{
    (void)state;
    start_receiving();
    refuse(-ENOENT);
    assert_int_equal(world.asked, OTHER);
    refuse(-ENOENT);
    do_job(INTAKE_DISCARD, (struct intake_result){0});
    assert_int_equal(world.ask.id, 0);
    assert_int_equal(world.asked, LEADER);
    answer();
    do_job(INTAKE_OPEN, (struct intake_result){0});
    receive_the_rest();
    check_installed();
}

static void where_nobody_has_any_it_asks_on(void **state)
{
    (void)state;
    look_in_vain();
    for (int round = 0; round < 3; round++) {
        assert_int_equal(world.asked, LEADER);
        refuse(-ENOENT);
        assert_int_equal(world.asked, OTHER);
        refuse(-EIO);
        uint32_t asks = world.asks;
        world.now_us = pump();
        assert_int_equal(world.asks, asks); /* not before a pause is over */
        need(400);
        pump();
        assert_int_equal(world.asks, asks + 1);
    }
    answer();
    do_job(INTAKE_OPEN, (struct intake_result){0});
    receive_the_rest();
    check_installed();
}

static void where_nobody_is_it_waits(void **state)
{
    (void)state;
    world.up[LEADER] = world.up[OTHER] = false;
    look_in_vain();
    for (int i = 0; i < 5; i++) {
        uint64_t again_us = pump();
        assert_true(again_us > world.now_us && again_us != UINT64_MAX);
        world.now_us = again_us;
        need(400);
    }
    assert_int_equal(world.asks, 0);
    world.up[OTHER] = true;
    pump();
    assert_int_equal(world.asked, OTHER);
}

static void a_damaged_piece_is_had_from_another(void **state)
{
    (void)state;
    start_receiving();
    answer();
    do_job(INTAKE_WRITE, (struct intake_result){.status = -EUCLEAN});
    assert_int_equal(world.asked, OTHER);
    assert_int_equal(world.ask.offset, 0);
    receive_the_rest();
    check_installed();
}

static void a_full_disk_is_waited_for(void **state)
{
    (void)state;
    start_receiving();
    answer();
    do_job(INTAKE_WRITE, (struct intake_result){.status = -ENOSPC});
    uint32_t asks = world.asks;
    uint64_t again_us = pump();
    assert_true(again_us > world.now_us && again_us != UINT64_MAX);
    world.now_us = again_us;
    need(400);
    pump();
    assert_int_equal(world.asks, asks + 1);
    receive_the_rest();
    check_installed();
}

static void an_installation_that_failed_is_tried_again(void **state)
{
    (void)state;
    start_receiving();
    receive_the_rest();
    world.install_status = -ENOSPC;
    run_install();
    assert_false(world.paused);
    do_job(INTAKE_CLOSE, (struct intake_result){0});
    world.install_status = 0;
    world.now_us += 5 * SECOND_US;
    need(400);
    pump();
    do_job(INTAKE_LOOK, (struct intake_result){.snapshot = whole, .whole = true});
    check_installed();
}

static void one_that_is_damaged_is_fetched_again(void **state)
{
    (void)state;
    need(400);
    pump();
    do_job(INTAKE_LOOK, (struct intake_result){.snapshot = whole, .whole = true});
    world.install_status = -EUCLEAN;
    run_install();
    do_job(INTAKE_CLOSE, (struct intake_result){0});
    world.install_status = 0;
    world.now_us += 5 * SECOND_US;
    need(400);
    pump();
    assert_int_equal(world.job.damaged_id, whole.id);
    do_job(INTAKE_LOOK, (struct intake_result){.status = -ENOENT});
    answer();
    do_job(INTAKE_OPEN, (struct intake_result){0});
    receive_the_rest();
    check_installed();
}

/* Nothing may be applied to a state that could be another after a power cut. */
static void an_installation_that_cannot_be_synced_goes_on(void **state)
{
    (void)state;
    start_receiving();
    receive_the_rest();
    world.install_status = -EIO;
    world.install_unsynced = true;
    for (int i = 0; i < 3; i++) {
        run_install();
        assert_true(world.paused);
        assert_null(world.call);
        uint64_t again_us = pump();
        assert_true(again_us > world.now_us && again_us != UINT64_MAX);
        world.now_us = again_us;
        pump();
    }
    world.install_status = 0;
    check_installed();
}

static void a_need_that_is_over_ends_it(void **state)
{
    (void)state;
    start_receiving();
    world.now_us += 60 * SECOND_US; /* nobody says any more that it is needed */
    pump();
    do_job(INTAKE_CLOSE, (struct intake_result){0});
    uint32_t asks = world.asks;
    assert_int_equal(pump(), UINT64_MAX);
    assert_int_equal(world.asks, asks);
}

static void the_log_overtakes_the_snapshot(void **state)
{
    (void)state;
    start_receiving();
    world.applied_index = whole.index + 1; /* another leader had the entries */
    answer();
    do_job(INTAKE_WRITE, (struct intake_result){.offset = PIECE});
    do_job(INTAKE_CLOSE, (struct intake_result){0});
    assert_int_equal(world.installs, 0);
}

static void a_newer_need_starts_anew_only_where_nothing_comes(void **state)
{
    (void)state;
    start_receiving();
    need(whole.index + 100);
    answer(); /* it comes: one snapshot after the other is better than none ever */
    do_job(INTAKE_WRITE, (struct intake_result){.offset = PIECE});
    assert_int_equal(world.ask.id, whole.id);
    for (int i = 0; i < 10 && !world.job_waits; i++) {
        world.now_us = pump();
        need(whole.index + 100);
        pump();
    }
    do_job(INTAKE_DISCARD, (struct intake_result){0});
    assert_int_equal(world.ask.id, 0);
    assert_int_equal(world.ask.min_index, whole.index + 100);
}

/* ---- Anything at all, and then order ---- */

static bool chance(int of)
{
    return rand() % of == 0;
}

static void play_disk(void)
{
    static const int errors[] = {-ENOSPC, -EIO, -EUCLEAN};
    struct intake_result result = {.kind = world.job.kind, .snapshot = whole};
    bool fails = chance(4);
    bool good = !fails && !chance(3);
    if (world.job.kind == INTAKE_LOOK)
        result.status = good ? 0 : -ENOENT;
    else if (fails && world.job.kind != INTAKE_CLOSE && world.job.kind != INTAKE_DISCARD)
        result.status = errors[rand() % 3];
    if (world.job.kind == INTAKE_WRITE)
        result.offset = world.job.offset + (result.status ? 0 : world.job.data->bytes);
    if (world.job.kind == INTAKE_LOOK && good)
        result.whole = chance(3);
    world.job_waits = false;
    buf_unref(world.job.data);
    world.result = result;
    world.result_waits = true;
}

static void play_member(void)
{
    struct raft_net_snapshot_piece piece = piece_of(&world.ask);
    if (chance(3))
        piece.status = chance(2) ? -ENOENT : -EIO;
    if (chance(5))
        piece.id++;
    if (chance(5))
        piece.seq--;
    if (chance(5))
        piece.offset += 4096;
    if (piece.status)
        piece.bytes = 0;
    answer_with(chance(5) ? OTHER : world.asked, &piece);
}

static void play(void)
{
    world.now_us += (uint64_t)(rand() % (2 * SECOND_US));
    if (!chance(3))
        need(400);
    if (world.job_waits && !chance(3))
        play_disk();
    else if (world.asks && world.ask.offset < whole.bytes && chance(2))
        play_member();
    else if (world.call && chance(2))
        run_install();
    if (chance(6)) {
        raft_id peer = chance(2) ? LEADER : OTHER;
        world.up[peer] = !world.up[peer];
        fetching_peer_changed(fetching, peer);
    }
    world.install_status = chance(2) ? -ENOSPC : 0;
    world.install_unsynced = chance(3);
    pump();
}

/* A disk with nothing on it that works, and members that answer. */
static void play_well(void)
{
    struct intake_result result = {.kind = world.job.kind, .snapshot = whole};
    if (world.job_waits) {
        if (world.job.kind == INTAKE_LOOK)
            result.status = -ENOENT;
        if (world.job.kind == INTAKE_WRITE)
            result.offset = world.job.offset + world.job.data->bytes;
        buf_unref(world.job.data);
        world.job_waits = false;
        world.result = result;
        world.result_waits = true;
    } else if (world.call) {
        run_install();
    } else if (world.asks && world.ask.offset < whole.bytes) {
        answer();
    }
}

static void whatever_happened_it_ends_well(void **state)
{
    for (unsigned seed = 0; seed < 300; seed++) {
        srand(seed);
        set_up(state);
        for (int i = 0; i < 200 && world.installs == 0; i++)
            play();
        world.install_status = 0;
        world.up[LEADER] = world.up[OTHER] = true;
        for (int i = 0; i < 200 && world.driver_installs == 0; i++) {
            need(400);
            play_well();
            uint64_t again_us = pump();
            if (again_us != UINT64_MAX && again_us > world.now_us)
                world.now_us = again_us;
        }
        assert_int_equal(world.driver_installs, 1);
        assert_false(world.paused);
        tear_down(state);
    }
    set_up(state);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(nothing_happens_without_a_need),
        TEST(a_snapshot_comes_in_pieces_and_is_installed),
        TEST(what_an_earlier_try_left_goes_on),
        TEST(a_whole_one_is_installed_without_asking),
        TEST(silence_sends_the_ask_to_the_next_member),
        TEST(a_lost_connection_asks_again_at_once),
        TEST(one_that_nobody_has_any_more_is_given_up),
        TEST(where_nobody_has_any_it_asks_on),
        TEST(where_nobody_is_it_waits),
        TEST(a_damaged_piece_is_had_from_another),
        TEST(a_full_disk_is_waited_for),
        TEST(an_installation_that_failed_is_tried_again),
        TEST(one_that_is_damaged_is_fetched_again),
        TEST(an_installation_that_cannot_be_synced_goes_on),
        TEST(a_need_that_is_over_ends_it),
        TEST(the_log_overtakes_the_snapshot),
        TEST(a_newer_need_starts_anew_only_where_nothing_comes),
        cmocka_unit_test(whatever_happened_it_ends_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
