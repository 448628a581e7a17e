/* SPDX-License-Identifier: MIT */
/*
 * Threads that ask while batches are applied. One file is written and goes to and fro between two
 * names; every change raises its ctime, whose parity says under which name it then is. So every
 * answer can be checked: nobody sees less than what anybody had seen before he asked, be it from
 * memory or from SQLite, and no name shows what the file only was under the other one.
 */
#include "harness.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "store/internal.h"

#define ROOT STORE_ROOT_INO

enum { READERS = 3, BATCHES = 4000, FORGET_EVERY = 7, TICK_NS = 1000000 };

static const char *const names[2] = {"a", "b"};
static uint64_t file;
static _Atomic(int64_t) seen_ns; /* the latest ctime that anybody has seen */
static atomic_bool ended;
static atomic_uint wrong, answered;

static void see(int64_t ctime_ns)
{
    int64_t seen = atomic_load(&seen_ns);
    while (seen < ctime_ns && !atomic_compare_exchange_weak(&seen_ns, &seen, ctime_ns))
        ;
}

static void check(bool right)
{
    if (!right)
        atomic_fetch_add(&wrong, 1);
}

static void check_answer(int64_t floor_ns, const struct store_attr *attr)
{
    check(attr->ino == file && attr->ctime_ns >= floor_ns);
    see(attr->ctime_ns);
    atomic_fetch_add(&answered, 1);
}

static void ask_name(unsigned k)
{
    struct store_attr attr;
    int64_t floor_ns = atomic_load(&seen_ns);
    int status = store_lookup(store, ROOT, names[k], 1, &attr);
    check(status == 0 || status == -ENOENT);
    if (status != 0)
        return;
    check_answer(floor_ns, &attr);
    check(attr.ctime_ns / TICK_NS % 2 == k);
}

static void ask_inode(void)
{
    struct store_attr attr;
    int64_t floor_ns = atomic_load(&seen_ns);
    check(store_getattr(store, file, &attr) == 0);
    check_answer(floor_ns, &attr);
}

/* SQLite's answer. */
static void ask_content(void)
{
    struct store_attr attr;
    char text[16];
    size_t got;
    int64_t floor_ns = atomic_load(&seen_ns);
    check(store_read(store, file, 0, sizeof(text), text, &got, &attr) == 0);
    check_answer(floor_ns, &attr);
}

static void *reader(void *arg)
{
    unsigned random = 1 + *(unsigned *)arg;
    while (!ended) {
        random = random * 1103515245 + 12345;
        switch (random >> 16 & 7) {
        case 0:
            ask_content();
            break;
        case 1:
        case 2:
            ask_inode();
            break;
        default:
            ask_name(random >> 20 & 1);
        }
    }
    return NULL;
}

/* The file stands under names[at] afterwards. */
static void change(uint64_t seq, unsigned *at)
{
    uint64_t tick = 2 * seq + *at;
    struct command c = {.op = COMMAND_WRITE, .ino = file, .data = "x", .data_bytes = 1};
    if (seq % 3) {
        tick = 2 * seq + !*at;
        c = (struct command){.op = COMMAND_RENAME,
                             .parent = ROOT,
                             .name = names[*at],
                             .name_bytes = 1,
                             .new_parent = ROOT,
                             .new_name = names[!*at],
                             .new_name_bytes = 1};
        *at = !*at;
    }
    c.session = 1;
    c.seq = c.lowest_awaited = seq;
    c.time_ns = tick * TICK_NS;
    assert_int_equal(apply_as_is(&c), 0);
    assert_int_equal(result.attr.ctime_ns, c.time_ns);
    see(result.attr.ctime_ns);
}

/* So that what is asked next comes from SQLite, and is kept. */
static void forget(void)
{
    cache_end_epoch(store->cache);
    cache_forget(store->cache);
    cache_begin_epoch(store->cache, NULL, 0);
}

static void nobody_sees_less_than_before_nor_a_mixture(void **state)
{
    (void)state;
    pthread_t threads[READERS];
    unsigned numbers[READERS], at = 0;
    assert_int_equal(do_put(ROOT, "a", "1"), 0);
    file = result.attr.ino;
    change(9, &at); /* a write: now its ctime has a parity */
    for (unsigned i = 0; i < READERS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, reader, &numbers[i]), 0);
    }
    for (uint64_t seq = 10; seq < BATCHES || answered < BATCHES; seq++) {
        change(seq, &at);
        if (seq % FORGET_EVERY == 0)
            forget();
    }
    ended = true;
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nobody_sees_less_than_before_nor_a_mixture, harness_setup,
                                        harness_teardown),
    };
    return cmocka_run_group_tests_name("cache-races", tests, NULL, NULL);
}
