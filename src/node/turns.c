/* SPDX-License-Identifier: MIT */
/*
 * turns.c - the loop's thread, and who may take a turn of the loop in its place.
 *
 * All that moves the node runs in turns: an event of the loop's (a message, a timer, a write that
 * ended), then settle(), which sends on whatever can move now, then what that came to goes to the
 * disk and to the others. One turn at a time: `turn` is held throughout, and given up only while
 * the loop's thread waits for the next event.
 *
 * So a request that comes while the loop waits need not wake it: whoever brings it takes the turn
 * itself, and a single client's write or look is on its way a thread's wake-up earlier, on each
 * node that it passes. Only where nothing else is on its way. Under load it is left to the loop,
 * because what comes together during one turn of its leaves in one message and one write.
 *
 * uv_run() is told not to wait, and the loop's own descriptor is waited for instead (as a loop is
 * embedded in another), at first awake, then asleep. libuv then has nothing going on while somebody
 * else has the turn, and what he starts is noticed: where it would end the wait earlier than the
 * loop's thread thinks, that is woken. What uv_run() itself came to is sent before the wait once
 * more: since libuv 1.45 timers are the last that it runs, behind the prepare and check handles
 * that would have sent it.
 *
 * Wherever else "the loop" or "the loop's thread" is named, it is whoever has the turn. Others only
 * ever try for it, and never wait: so he may call `done` of a request, which may bring the next
 * one.
 */
#include <poll.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/spin.h"
#include "base/thread.h"
#include "node/alarm.h"
#include "node/internal.h"

enum {
    HOUSEKEEPING_MS = 50, /* only while something waits */
    HAND_OVER_MS = 1500,
    AWAKE_US = 1000,        /* from one change to the next of a client that does nothing else */
    LOOK_US = 200,          /* for a disk */
    ASLEEP_US = 500 * 1000, /* where the processors are crowded */
    LATE_MS = 2, /* a timer may be: less than what a needless wake-up would cost others */
};

static void on_driver_closed(void *ctx)
{
    struct node *n = ctx;
    uv_close((uv_handle_t *)&n->housekeeping, NULL);
    n->loop_ended = true;
}

static void close_driver(struct node *n)
{
    n->closing = true;
    raft_driver_close(n->driver, on_driver_closed, n);
}

/* Hands leadership over first, so that the cluster need not find out by a timeout. */
static void stop_when_handed_over(struct node *n, uint64_t now_us)
{
    if (n->closing)
        return;
    if (n->hand_over_until_us == 0) {
        bool asked = raft_driver_hand_over(n->driver);
        n->hand_over_until_us = asked ? now_us + HAND_OVER_MS * 1000 : now_us;
    }
    struct raft_driver_status *status = memory_alloc(sizeof(*status));
    raft_driver_status(n->driver, status);
    bool leads = status->role == RAFT_LEADER;
    memory_free(status);
    if (!leads || now_us >= n->hand_over_until_us)
        close_driver(n);
}

static void on_housekeeping(uv_timer_t *timer);

static void arm_housekeeping(struct node *n, uint64_t now_us, uint64_t again_us)
{
    bool waiting = n->hand_over_until_us || changes_pending(n->changes) ||
                   barriers_pending(n->barriers) || contact_refuses(&n->contact, now_us);
    uint64_t in_ms = waiting ? HOUSEKEEPING_MS : ALARM_NEVER;
    if (again_us != UINT64_MAX) {
        uint64_t again_ms = again_us > now_us ? (again_us - now_us + 999) / 1000 : 0;
        in_ms = again_ms < in_ms ? again_ms : in_ms;
    }
    alarm_within(&n->housekeeping, on_housekeeping, in_ms);
}

static uint64_t earlier(uint64_t a_us, uint64_t b_us)
{
    return a_us < b_us ? a_us : b_us;
}

void node_settle(void *ctx)
{
    struct node *n = ctx;
    if (n->closing)
        return;
    uint64_t now_us = clock_mono_us();
    raft_driver_applied(n->driver, store_applied_index(n->store));
    if (atomic_exchange(&n->joined, false))
        raft_driver_join_stop(n->driver); /* by invitation, perhaps, while nobody answered */
    uint64_t ask_again_us = barriers_pump(n->barriers, n->driver, now_us);
    uint64_t again_us = changes_pump(n->changes, n->driver, now_us);
    again_us = earlier(again_us, ask_again_us);
    again_us = earlier(again_us, handover_pump(n->handover, n->driver, now_us));
    again_us = earlier(again_us, members_pump(n->members, n->driver, now_us));
    again_us = earlier(again_us, node_pump_catchup(n, now_us));
    atomic_store(&n->settle_wanted, raft_driver_commit_index(n->driver) >
                                        store_applied_index(n->store) + RAFT_MAX_APPEND_ENTRIES);
    arm_housekeeping(n, now_us, again_us);
    if (n->stopping)
        stop_when_handed_over(n, now_us);
}

static void on_housekeeping(uv_timer_t *timer)
{
    struct node *n = timer->data;
    uint64_t now_us = clock_mono_us();
    changes_expire(n->changes, now_us);
    barriers_expire(n->barriers, now_us);
    node_settle(n);
}

static void on_wake(uv_async_t *async)
{
    node_settle(async->data);
}

void node_wake(struct node *n)
{
    uv_async_send(&n->wake);
}

/* ---- The loop's thread ---- */

/* When the loop wants its turn if nothing happens, on its own clock. */
static uint64_t next_turn_ms(struct node *n)
{
    int in_ms = uv_backend_timeout(&n->loop);
    return in_ms < 0 ? UINT64_MAX : uv_now(&n->loop) + (uint64_t)in_ms;
}

/* Whether its thread, which waits, would miss that by more than a timer may be late. */
static bool oversleeps(struct node *n)
{
    uint64_t next_ms = next_turn_ms(n);
    return next_ms < n->waits_until_ms && n->waits_until_ms - next_ms > LATE_MS;
}

/* While others, or callers of its own, wait for commits, something will come soon. */
static void note_commit(struct node *n, uint64_t now_us)
{
    uint64_t commit_index = raft_driver_commit_index(n->driver);
    if (commit_index != n->seen_commit_index &&
        (raft_driver_votes(n->driver) || changes_pending(n->changes)))
        n->awake_until_us = now_us + AWAKE_US;
    n->seen_commit_index = commit_index;
}

static bool is_awake(struct node *n)
{
    if (n->options->no_spin)
        return false;
    uint64_t now_us = clock_mono_us();
    note_commit(n, now_us);
    return now_us >= n->asleep_until_us && now_us < n->awake_until_us;
}

/*
 * Holding the turn, which others may have meanwhile. After a crowd timers may be late: they have
 * their turn before the sleep.
 */
static void wait_for_event(struct node *n)
{
    struct pollfd events = {.fd = uv_backend_fd(&n->loop), .events = POLLIN};
    raft_driver_flush(n->driver);
    bool awake = is_awake(n);
    int in_ms = uv_backend_timeout(&n->loop);
    n->waits_until_ms = next_turn_ms(n);
    pthread_mutex_unlock(&n->turn);
    enum spin_seen seen = awake && in_ms != 0 ? spin_look(events.fd, NULL, LOOK_US) : SPIN_NOTHING;
    if (seen == SPIN_NOTHING)
        poll(&events, 1, in_ms);
    pthread_mutex_lock(&n->turn);
    if (seen == SPIN_LATE || seen == SPIN_CROWDED)
        n->asleep_until_us = clock_mono_us() + ASLEEP_US;
}

static void *run_loop(void *arg)
{
    struct node *n = arg;
    pthread_mutex_lock(&n->turn);
    node_settle(n);
    while (uv_run(&n->loop, UV_RUN_NOWAIT) && !n->loop_ended)
        wait_for_event(n);
    pthread_mutex_unlock(&n->turn);
    return NULL;
}

void node_start_loop(struct node *n)
{
    thread_start(&n->loop_thread, "loop", run_loop, n);
}

void node_stop_loop(struct node *n)
{
    n->stopping = true;
    node_wake(n);
    pthread_join(n->loop_thread, NULL);
}

void node_init_loop(struct node *n)
{
    pthread_mutex_init(&n->turn, NULL);
    uv_loop_init(&n->loop);
    uv_async_init(&n->loop, &n->wake, on_wake);
    uv_timer_init(&n->loop, &n->housekeeping);
    n->wake.data = n;
    n->housekeeping.data = n;
}

void node_close_loop(struct node *n)
{
    if (n->driver && !n->closing) {
        close_driver(n);
        while (!n->loop_ended)
            uv_run(&n->loop, UV_RUN_ONCE);
    } else if (!n->driver) {
        uv_close((uv_handle_t *)&n->housekeeping, NULL);
    }
    uv_close((uv_handle_t *)&n->wake, NULL);
    uv_run(&n->loop, UV_RUN_DEFAULT);
    uv_loop_close(&n->loop);
    pthread_mutex_destroy(&n->turn);
}

/* ---- Others ---- */

void node_take_turn(struct node *n)
{
    if (pthread_mutex_trylock(&n->turn) != 0) { /* whoever has it may be past what was added */
        node_wake(n);
        return;
    }
    bool ours = !n->stopping && !n->closing;
    if (ours) {
        uv_update_time(&n->loop);
        node_settle(n);
        raft_driver_flush(n->driver);
    }
    if (!ours || oversleeps(n))
        node_wake(n);
    pthread_mutex_unlock(&n->turn);
}
