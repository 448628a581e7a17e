/* SPDX-License-Identifier: MIT */
/* applier.c over a store that this test plays. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/applier.h"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned tries;
    uint64_t applied_index;
    int status;
    unsigned calls;
    uint64_t tried_index; /* what is tried and neither applied nor undone; 0: nothing */
    uint64_t last_tried_index;
} store = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

int store_apply(struct store *s, const struct store_entry *entries, uint32_t count,
                struct store_result *results)
{
    (void)s, (void)results;
    pthread_mutex_lock(&store.lock);
    int status = store.status;
    store.tries++;
    if (status == 0) {
        assert_int_equal(entries[0].index, store.applied_index + 1);
        store.applied_index = entries[count - 1].index;
    }
    store.tried_index = 0;
    pthread_cond_broadcast(&store.changed);
    pthread_mutex_unlock(&store.lock);
    return status;
}

bool store_try(struct store *s, const struct store_entry *entry)
{
    (void)s;
    pthread_mutex_lock(&store.lock);
    store.tried_index = store.last_tried_index = entry->index;
    pthread_cond_broadcast(&store.changed);
    pthread_mutex_unlock(&store.lock);
    return true;
}

void store_undo(struct store *s)
{
    (void)s;
    pthread_mutex_lock(&store.lock);
    store.tried_index = 0;
    pthread_cond_broadcast(&store.changed);
    pthread_mutex_unlock(&store.lock);
}

static void set_status(int status)
{
    pthread_mutex_lock(&store.lock);
    store.status = status;
    store.tries = 0;
    store.applied_index = 0;
    store.tried_index = store.last_tried_index = 0;
    store.calls = 0;
    pthread_mutex_unlock(&store.lock);
}

static void wait_tried(void)
{
    pthread_mutex_lock(&store.lock);
    while (store.tries == 0)
        pthread_cond_wait(&store.changed, &store.lock);
    pthread_mutex_unlock(&store.lock);
}

static void wait_for_try_of(uint64_t index)
{
    pthread_mutex_lock(&store.lock);
    while (store.last_tried_index != index)
        pthread_cond_wait(&store.changed, &store.lock);
    pthread_mutex_unlock(&store.lock);
}

static void wait_for_undo(void)
{
    pthread_mutex_lock(&store.lock);
    while (store.tried_index != 0)
        pthread_cond_wait(&store.changed, &store.lock);
    pthread_mutex_unlock(&store.lock);
}

static void on_applied(void *ctx, uint64_t index, uint64_t log_bytes)
{
    (void)ctx, (void)log_bytes;
    assert_int_equal(index, store.applied_index);
}

static void add(struct applier *a, uint64_t index)
{
    applier_add(a, &(struct raft_entry){.index = index, .term = 1, .kind = RAFT_ENTRY_NOOP}, 1);
}

static void expect(struct applier *a, uint64_t index)
{
    applier_expect(a, &(struct raft_entry){.index = index, .term = 1, .kind = RAFT_ENTRY_NOOP});
}

static void count_call(void *ctx)
{
    (void)ctx;
    pthread_mutex_lock(&store.lock);
    assert_int_equal(store.tried_index, 0);
    store.calls++;
    pthread_cond_broadcast(&store.changed);
    pthread_mutex_unlock(&store.lock);
}

static void what_was_added_is_applied_before_it_closes(void **state)
{
    (void)state;
    set_status(0);
    struct applier *a = applier_init(&(struct applier_options){.on_applied = on_applied});
    for (uint64_t i = 1; i <= 3000; i++)
        add(a, i);
    applier_close(a);
    assert_int_equal(store.applied_index, 3000);
}

static void a_full_disk_does_not_keep_it_from_closing(void **state)
{
    (void)state;
    set_status(-ENOSPC);
    struct applier *a = applier_init(&(struct applier_options){.on_applied = on_applied});
    add(a, 1);
    wait_tried();
    add(a, 2);
    applier_call(a, count_call, NULL);
    applier_close(a);
    assert_int_equal(store.applied_index, 0);
    assert_int_equal(store.calls, 0);
}

static void what_is_expected_is_tried_while_nothing_else_is_to_be_done(void **state)
{
    (void)state;
    set_status(0);
    struct applier *a = applier_init(&(struct applier_options){.on_applied = on_applied});
    for (uint64_t i = 1; i <= 100; i++) {
        expect(a, i);
        if (i % 3 == 0)
            wait_for_try_of(i);
        add(a, i);
    }
    applier_close(a);
    assert_int_equal(store.applied_index, 100);
    assert_int_equal(store.tried_index, 0);
}

/* Whoever waits for SQLite's lock of writers must get it, with a quorum or without one. */
static void what_is_not_committed_soon_is_undone(void **state)
{
    (void)state;
    set_status(0);
    struct applier *a = applier_init(&(struct applier_options){.on_applied = on_applied});
    expect(a, 1);
    wait_for_try_of(1);
    wait_for_undo();
    add(a, 1);
    applier_close(a);
    assert_int_equal(store.applied_index, 1);
}

static void a_call_finds_nothing_tried(void **state)
{
    (void)state;
    set_status(0);
    struct applier *a = applier_init(&(struct applier_options){.on_applied = on_applied});
    expect(a, 1);
    wait_for_try_of(1);
    applier_call(a, count_call, NULL);
    pthread_mutex_lock(&store.lock);
    while (store.calls == 0)
        pthread_cond_wait(&store.changed, &store.lock);
    pthread_mutex_unlock(&store.lock);
    applier_close(a);
}

static void what_is_tried_when_it_closes_is_undone(void **state)
{
    (void)state;
    set_status(0);
    struct applier *a = applier_init(&(struct applier_options){.on_applied = on_applied});
    expect(a, 1);
    wait_for_try_of(1);
    applier_close(a);
    assert_int_equal(store.tried_index, 0);
    assert_int_equal(store.applied_index, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_added_is_applied_before_it_closes),
        cmocka_unit_test(a_full_disk_does_not_keep_it_from_closing),
        cmocka_unit_test(what_is_expected_is_tried_while_nothing_else_is_to_be_done),
        cmocka_unit_test(what_is_not_committed_soon_is_undone),
        cmocka_unit_test(a_call_finds_nothing_tried),
        cmocka_unit_test(what_is_tried_when_it_closes_is_undone),
    };
    return cmocka_run_group_tests_name("applier", tests, NULL, NULL);
}
