/* SPDX-License-Identifier: MIT */
/* applier.c over a store that this test plays. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "node/applier.h"

enum {
    SLOW_MS = 100
}; /* far more than what the applier takes for slow, and than it waits to save */

/* What the store is to do, and what it has done. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;

    int status; /* of store_apply() */
    int unsaved_status;
    int save_status;
    int reclaim_status;
    bool held;          /* whoever applies waits, */
    unsigned waiting;   /* so many do */
    unsigned slow_ms;   /* store_apply_unsaved() takes this long */
    uint64_t add_when;  /* this one is answered, the next one is added */
    uint64_t add_until; /* likewise with each before this one */

    uint64_t applied_index;
    uint64_t saved_index;
    uint64_t answered_index;
    unsigned applies;
    unsigned lone; /* of them by store_apply_unsaved() */
    unsigned saves;
    unsigned makes;   /* garbage, with what is applied next */
    unsigned garbage; /* pieces */
    unsigned reclaims;
    unsigned reclaims_then; /* when it answered or was called last */
    unsigned results;
    unsigned configs;
    unsigned calls;
    unsigned damages;
    pthread_t answered_by;
} store = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static struct applier *applier;

/* ---- The store ---- */

static void pass_gate(void)
{
    store.waiting++;
    pthread_cond_broadcast(&store.changed);
    while (store.held)
        pthread_cond_wait(&store.changed, &store.lock);
    store.waiting--;
}

static void take(const struct store_entry *entries, uint32_t count, struct store_result *results)
{
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(entries[i].index, ++store.applied_index);
        results[i] = (struct store_result){.seq = entries[i].index};
    }
    store.garbage += store.makes;
    store.makes = 0;
}

int store_apply(struct store *s, const struct store_entry *entries, uint32_t count,
                struct store_result *results)
{
    (void)s;
    pthread_mutex_lock(&store.lock);
    pass_gate();
    int status = store.status;
    store.applies++;
    if (status == 0) {
        take(entries, count, results);
        store.saved_index = store.applied_index;
    }
    pthread_cond_broadcast(&store.changed);
    pthread_mutex_unlock(&store.lock);
    return status;
}

int store_apply_unsaved(struct store *s, const struct store_entry *entry,
                        struct store_result *result)
{
    (void)s;
    pthread_mutex_lock(&store.lock);
    pass_gate();
    int status = entry->kind == STORE_ENTRY_CONFIG ? -EAGAIN : store.unsaved_status;
    unsigned slow_ms = store.slow_ms;
    if (status == 0) {
        take(entry, 1, result);
        store.applies++;
        store.lone++;
    }
    pthread_mutex_unlock(&store.lock);
    if (slow_ms)
        nanosleep(&(struct timespec){.tv_nsec = slow_ms * 1000000L}, NULL);
    return status;
}

int store_save(struct store *s)
{
    (void)s;
    pthread_mutex_lock(&store.lock);
    int status = store.save_status;
    store.saves++;
    if (status == 0)
        store.saved_index = store.applied_index;
    pthread_cond_broadcast(&store.changed);
    pthread_mutex_unlock(&store.lock);
    return status;
}

bool store_has_garbage(const struct store *s)
{
    (void)s;
    pthread_mutex_lock(&store.lock);
    bool garbage = store.garbage > 0;
    pthread_mutex_unlock(&store.lock);
    return garbage;
}

int store_reclaim(struct store *s)
{
    (void)s;
    pthread_mutex_lock(&store.lock);
    pass_gate();
    int status = store.reclaim_status;
    store.reclaims++;
    if (status == 0) {
        store.saved_index = store.applied_index;
        store.garbage--;
    }
    pthread_cond_broadcast(&store.changed);
    pthread_mutex_unlock(&store.lock);
    return status;
}

/* ---- The node ---- */

static struct raft_entry entry_at(uint64_t index, enum raft_entry_kind kind)
{
    return (struct raft_entry){
        .index = index, .term = 1, .kind = kind, .payload = buf_copy("payload", 7)};
}

static void add(uint64_t index)
{
    struct raft_entry entry = entry_at(index, RAFT_ENTRY_COMMAND);
    applier_add(applier, &entry, 1);
}

static void add_two(uint64_t index)
{
    struct raft_entry entries[2] = {entry_at(index, RAFT_ENTRY_COMMAND),
                                    entry_at(index + 1, RAFT_ENTRY_COMMAND)};
    applier_add(applier, entries, 2);
}

static void on_result(void *ctx, const struct store_result *result)
{
    (void)ctx;
    pthread_mutex_lock(&store.lock);
    assert_int_equal(result->seq, ++store.results + store.configs);
    pthread_mutex_unlock(&store.lock);
}

static void on_config(void *ctx, const struct raft_entry *entry)
{
    (void)ctx;
    pthread_mutex_lock(&store.lock);
    assert_int_equal(entry->index, store.results + ++store.configs);
    pthread_mutex_unlock(&store.lock);
}

static void on_applied(void *ctx, uint64_t index, uint64_t log_bytes)
{
    (void)ctx;
    pthread_mutex_lock(&store.lock);
    assert_int_equal(index, store.applied_index);
    assert_int_equal(index, store.results + store.configs);
    assert_true(log_bytes >= 7 * (index - store.answered_index));
    store.answered_index = index;
    store.answered_by = pthread_self();
    store.reclaims_then = store.reclaims;
    bool more = index == store.add_when || index < store.add_until;
    pthread_cond_broadcast(&store.changed);
    pthread_mutex_unlock(&store.lock);
    if (more)
        add(index + 1);
}

static void on_damage(void *ctx)
{
    (void)ctx;
    pthread_mutex_lock(&store.lock);
    store.damages++;
    pthread_cond_broadcast(&store.changed);
    pthread_mutex_unlock(&store.lock);
}

static void count_call(void *ctx)
{
    (void)ctx;
    pthread_mutex_lock(&store.lock);
    pass_gate();
    store.calls++;
    store.reclaims_then = store.reclaims;
    pthread_cond_broadcast(&store.changed);
    pthread_mutex_unlock(&store.lock);
}

static int setup(void **state)
{
    (void)state;
    memset((char *)&store + offsetof(__typeof__(store), status), 0,
           sizeof(store) - offsetof(__typeof__(store), status));
    applier = applier_init(&(struct applier_options){.on_result = on_result,
                                                     .on_config = on_config,
                                                     .on_applied = on_applied,
                                                     .on_damage = on_damage});
    return 0;
}

#define WAIT_UNTIL(condition)                               \
    do {                                                    \
        pthread_mutex_lock(&store.lock);                    \
        while (!(condition))                                \
            pthread_cond_wait(&store.changed, &store.lock); \
        pthread_mutex_unlock(&store.lock);                  \
    } while (0)

#define SET(what, value)                        \
    do {                                        \
        pthread_mutex_lock(&store.lock);        \
        store.what = (value);                   \
        pthread_cond_broadcast(&store.changed); \
        pthread_mutex_unlock(&store.lock);      \
    } while (0)

/* ---- Order, and the end ---- */

static void what_was_added_is_applied_before_it_closes(void **state)
{
    (void)state;
    uint64_t next = 1;
    while (next <= 3000) {
        if (next % 7 == 0) {
            add_two(next);
            next += 2;
        } else {
            add(next++);
        }
    }
    applier_close(applier);
    assert_int_equal(store.answered_index, next - 1);
}

static void a_full_disk_does_not_keep_it_from_closing(void **state)
{
    (void)state;
    SET(status, -ENOSPC);
    SET(unsaved_status, -EAGAIN);
    add(1);
    WAIT_UNTIL(store.applies > 0);
    add(2);
    applier_call(applier, count_call, NULL);
    applier_close(applier);
    assert_int_equal(store.applied_index, 0);
    assert_int_equal(store.calls, 0);
}

static void a_call_finds_all_applied(void **state)
{
    (void)state;
    add(1);
    add(2);
    applier_call(applier, count_call, NULL);
    WAIT_UNTIL(store.calls > 0);
    assert_int_equal(store.answered_index, 2);
    applier_close(applier);
}

/* ---- Who applies a lone entry ---- */

static void the_loop_does_when_there_is_nothing_else(void **state)
{
    (void)state;
    add(1);
    assert_int_equal(store.lone, 1);
    assert_int_equal(store.answered_index, 1);
    assert_true(pthread_equal(store.answered_by, pthread_self()));
    applier_close(applier);
}

static void two_are_for_the_thread(void **state)
{
    (void)state;
    add_two(1);
    WAIT_UNTIL(store.answered_index == 2);
    assert_int_equal(store.lone, 0);
    assert_false(pthread_equal(store.answered_by, pthread_self()));
    applier_close(applier);
}

static void one_that_the_store_wants_saved_is_for_the_thread(void **state)
{
    (void)state;
    SET(unsaved_status, -EAGAIN);
    add(1);
    WAIT_UNTIL(store.answered_index == 1);
    SET(unsaved_status, -EIO); /* happened to nothing: the thread finds out why */
    add(2);
    WAIT_UNTIL(store.answered_index == 2);
    SET(unsaved_status, 0);
    struct raft_entry config = entry_at(3, RAFT_ENTRY_CONFIG);
    applier_add(applier, &config, 1);
    WAIT_UNTIL(store.answered_index == 3);
    assert_int_equal(store.configs, 1);
    assert_int_equal(store.lone, 0);
    applier_close(applier);
}

static void it_comes_after_what_the_thread_has_to_do(void **state)
{
    (void)state;
    SET(held, true);
    add_two(1);
    WAIT_UNTIL(store.waiting == 1);
    add(3);
    add(4);
    assert_int_equal(store.applied_index, 0);
    SET(held, false);
    WAIT_UNTIL(store.answered_index == 4);
    assert_int_equal(store.lone, 0);
    applier_close(applier);
}

static void it_waits_for_a_call(void **state)
{
    (void)state;
    SET(held, true);
    applier_call(applier, count_call, NULL);
    WAIT_UNTIL(store.waiting == 1);
    add(1);
    assert_int_equal(store.applied_index, 0);
    SET(held, false);
    WAIT_UNTIL(store.answered_index == 1);
    assert_int_equal(store.lone, 0);
    assert_int_equal(store.calls, 1);
    applier_close(applier);
}

static void after_a_slow_one_the_thread_does_for_a_while(void **state)
{
    (void)state;
    SET(slow_ms, SLOW_MS);
    add(1);
    uint64_t since_us = clock_mono_us(), index = 2;
    assert_int_equal(store.lone, 1);
    SET(slow_ms, 0);
    add(index);
    WAIT_UNTIL(store.answered_index == 2);
    if (clock_mono_us() - since_us < 100000) /* else this machine has been slow */
        assert_int_equal(store.lone, 1);
    for (unsigned lone = store.lone; store.lone == lone;) {
        add(++index);
        WAIT_UNTIL(store.answered_index == index);
    }
    applier_close(applier);
}

/* What is committed while it is answered, as the driver finds out then. */
static void one_added_while_another_is_answered_follows_it(void **state)
{
    (void)state;
    for (uint64_t i = 1; i < 200; i += 2) {
        SET(add_when, i);
        add(i);
        WAIT_UNTIL(store.answered_index == i + 1);
    }
    applier_close(applier);
    assert_int_equal(store.answered_index, 200);
}

/* ---- Saving ---- */

static void what_is_unsaved_is_saved_when_nothing_follows(void **state)
{
    (void)state;
    uint64_t index = 0;
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 10; i++)
            add(++index);
        WAIT_UNTIL(store.saved_index == index);
    }
    applier_close(applier);
}

static void it_is_saved_though_its_time_came_while_the_loop_was_busy(void **state)
{
    (void)state;
    for (uint64_t i = 1; i < 10; i += 2) {
        add(i);
        SET(slow_ms, SLOW_MS);
        add(i + 1);
        SET(slow_ms, 0);
        WAIT_UNTIL(store.saved_index == i + 1);
    }
    applier_close(applier);
}

static void a_save_that_fails_is_tried_again(void **state)
{
    (void)state;
    SET(save_status, -ENOSPC);
    add(1);
    WAIT_UNTIL(store.saves >= 3);
    assert_int_equal(store.saved_index, 0);
    SET(save_status, 0);
    WAIT_UNTIL(store.saved_index == 1);
    assert_int_equal(store.damages, 0);
    add(2);
    WAIT_UNTIL(store.saved_index == 2);
    applier_close(applier);
}

static void one_that_finds_damage_ends_it(void **state)
{
    (void)state;
    SET(save_status, -EUCLEAN);
    add(1);
    WAIT_UNTIL(store.damages > 0);
    for (uint64_t i = 2; i < 1000; i++)
        add(i);
    add_two(1000);
    applier_close(applier);
    assert_int_equal(store.applied_index, 1);
    assert_int_equal(store.damages, 1);
    assert_int_equal(store.saves, 1);
}

static void it_closes_with_something_unsaved(void **state)
{
    (void)state;
    SET(save_status, -ENOSPC);
    add(1);
    applier_close(applier);
    assert_int_equal(store.answered_index, 1);
}

/* ---- Garbage ---- */

static void it_is_freed_when_there_is_nothing_else(void **state)
{
    (void)state;
    SET(makes, 20);
    add(1);
    WAIT_UNTIL(store.garbage == 0);
    assert_int_equal(store.lone, 1);
    assert_int_equal(store.reclaims, 20);
    SET(makes, 3);
    add_two(2);
    WAIT_UNTIL(store.reclaims == 23);
    applier_close(applier);
    assert_int_equal(store.garbage, 0);
    assert_int_equal(store.applied_index, 3);
}

static void what_comes_meanwhile_waits_for_one_piece(void **state)
{
    (void)state;
    SET(makes, 1000000);
    add(1); /* which the loop does: no batch that would be made up for */
    WAIT_UNTIL(store.reclaims > 0);
    SET(held, true);
    WAIT_UNTIL(store.waiting == 1);
    add(2);
    add(3);
    unsigned reclaims = store.reclaims;
    assert_true(store.applied_index <= 1);
    SET(held, false);
    WAIT_UNTIL(store.answered_index == 3);
    assert_int_equal(store.reclaims_then, reclaims + 1);
    applier_close(applier); /* which waits for no garbage */
    assert_true(store.garbage > 0);
}

static void it_is_freed_under_a_load_that_never_ends(void **state)
{
    (void)state;
    SET(makes, 1000000);
    SET(add_until, 2000);
    add_two(1);
    WAIT_UNTIL(store.answered_index == 2000);
    assert_true(store.reclaims_then > 0);
    applier_close(applier);
}

static void a_call_goes_before_it(void **state)
{
    (void)state;
    SET(makes, 1000000);
    SET(held, true);
    add_two(1);
    WAIT_UNTIL(store.waiting == 1);
    applier_call(applier, count_call, NULL);
    SET(held, false);
    WAIT_UNTIL(store.reclaims > 0);
    assert_int_equal(store.calls, 1);
    assert_int_equal(store.reclaims_then, 0);
    applier_close(applier);
}

static void a_full_disk_is_left_alone_for_a_while(void **state)
{
    (void)state;
    SET(reclaim_status, -ENOSPC);
    SET(makes, 3);
    uint64_t since_us = clock_mono_us(), index = 0;
    add(++index);
    WAIT_UNTIL(store.reclaims > 0);
    for (int i = 0; i < 50; i++) {
        add_two(index + 1);
        index += 2;
        WAIT_UNTIL(store.answered_index == index);
    }
    if (clock_mono_us() - since_us < 5000000) /* else this machine has been slow */
        assert_int_equal(store.reclaims, 1);
    applier_close(applier);
    assert_int_equal(store.damages, 0);
}

static void damage_met_there_ends_it(void **state)
{
    (void)state;
    SET(reclaim_status, -EUCLEAN);
    SET(makes, 3);
    add_two(1);
    WAIT_UNTIL(store.damages > 0);
    add_two(3);
    applier_close(applier);
    assert_int_equal(store.damages, 1);
    assert_int_equal(store.reclaims, 1);
    assert_int_equal(store.applied_index, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup(name, setup)
        T(what_was_added_is_applied_before_it_closes),
        T(a_full_disk_does_not_keep_it_from_closing),
        T(a_call_finds_all_applied),
        T(the_loop_does_when_there_is_nothing_else),
        T(two_are_for_the_thread),
        T(one_that_the_store_wants_saved_is_for_the_thread),
        T(it_comes_after_what_the_thread_has_to_do),
        T(it_waits_for_a_call),
        T(after_a_slow_one_the_thread_does_for_a_while),
        T(one_added_while_another_is_answered_follows_it),
        T(what_is_unsaved_is_saved_when_nothing_follows),
        T(it_is_saved_though_its_time_came_while_the_loop_was_busy),
        T(a_save_that_fails_is_tried_again),
        T(one_that_finds_damage_ends_it),
        T(it_closes_with_something_unsaved),
        T(it_is_freed_when_there_is_nothing_else),
        T(what_comes_meanwhile_waits_for_one_piece),
        T(it_is_freed_under_a_load_that_never_ends),
        T(a_call_goes_before_it),
        T(a_full_disk_is_left_alone_for_a_while),
        T(damage_met_there_ends_it),
    };
    return cmocka_run_group_tests_name("applier", tests, NULL, NULL);
}
