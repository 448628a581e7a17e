/* SPDX-License-Identifier: MIT */
/*
 * Threads that ask and threads that save, while lone entries are applied. What an entry does
 * follows from its index, and its time is its index: so each answer tells which entry was visible,
 * and what was visible must be in every answer to a question that was asked later, by whomever, to
 * whatever part of the tree.
 */
#include "harness.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "store/internal.h"

#define ROOT STORE_ROOT_INO

#ifdef __SANITIZE_THREAD__
enum { ENTRIES = 6000 }; /* it takes far longer there, and meets less */
#else
enum { ENTRIES = 30000 };
#endif

enum {
    READERS = 3,
    ASKING = READERS + 1, /* and the saver */
    FORGET_EVERY = 41,
    BATCH_EVERY = 101,
    TICK_NS = 10000000,
    STOPPED_US = 100
};

/* By index, modulo KINDS. */
enum kind { WRITE_FILE, MAKE_NAME, MAKE_DIR, WRITE_OTHER, KINDS };

static uint64_t files[KINDS], first_index;
static _Atomic(uint64_t) seen_index; /* the latest entry of which anybody has seen something */
static _Atomic(uint64_t) done_index; /* its applying has returned */
static atomic_bool ended, stopper_ended;
static atomic_uint wrong, answered, unsaved;

static void see(uint64_t index)
{
    uint64_t seen = atomic_load(&seen_index);
    while (seen < index && !atomic_compare_exchange_weak(&seen_index, &seen, index))
        ;
}

static void check(bool right, const char *what, uint64_t got, uint64_t floor)
{
    atomic_fetch_add(&answered, 1);
    if (!right && atomic_fetch_add(&wrong, 1) < 5)
        print_message("%s: %ju where %ju had been seen\n", what, (uintmax_t)got, (uintmax_t)floor);
}

/* The last entry of that kind up to this one. */
static uint64_t last_of(enum kind kind, uint64_t index)
{
    return index - (index + KINDS - kind) % KINDS;
}

static uint64_t ino_made_by(uint64_t index)
{
    return ((uint64_t)1 << 32) | (1000000 + index);
}

/* Half of them are too long for the cache. */
static size_t name_made_by(uint64_t index, char name[80])
{
    int pad = index / KINDS % 2 ? CACHE_NAME_BYTES + 10 : 1;
    return (size_t)snprintf(name, 80, "%0*ju", pad, (uintmax_t)index);
}

/* ---- Those who ask ---- */

static unsigned roll(unsigned *random, unsigned sides)
{
    *random = *random * 1103515245 + 12345;
    return (*random >> 16) % sides;
}

static void check_attr(const struct store_attr *attr, enum kind kind, uint64_t floor,
                       const char *what)
{
    uint64_t index = (uint64_t)attr->ctime_ns / TICK_NS;
    check(index >= last_of(kind, floor), what, index, floor);
    see(index);
}

static void ask_inode(enum kind kind)
{
    struct store_attr attr;
    uint64_t floor = atomic_load(&seen_index);
    int status = store_getattr(store, files[kind], &attr);
    check(status == 0, "getattr", 0, floor);
    check_attr(&attr, kind, floor, "getattr");
}

static void ask_file_by_name(enum kind kind)
{
    struct store_attr attr;
    uint64_t floor = atomic_load(&seen_index);
    int status = store_lookup(store, ROOT, kind == WRITE_FILE ? "f" : "o", 1, &attr);
    check(status == 0 && attr.ino == files[kind], "lookup of the file", 0, floor);
    check_attr(&attr, kind, floor, "lookup of the file");
}

static void ask_content(enum kind kind)
{
    struct store_attr attr;
    char text[17] = "";
    size_t got = 0;
    uint64_t floor = atomic_load(&seen_index);
    int status = store_read(store, files[kind], 0, sizeof(text) - 1, text, &got, &attr);
    check(status == 0, "read", 0, floor);
    check_attr(&attr, kind, floor, "read");
    check(strtoull(text, NULL, 10) == (uint64_t)attr.ctime_ns / TICK_NS, "content",
          strtoull(text, NULL, 10), (uint64_t)attr.ctime_ns / TICK_NS);
}

static void ask_made_by(uint64_t index)
{
    char name[80];
    struct store_attr attr;
    uint64_t floor = atomic_load(&seen_index);
    if (index < first_index)
        return;
    int status = store_lookup(store, ROOT, name, name_made_by(index, name), &attr);
    check(status == 0 || (status == -ENOENT && index > floor), "lookup", index, floor);
    if (status == 0)
        see(index);
}

/* Of one that may have been made already, or is about to be: it must be there if it was seen. */
static void ask_made(unsigned *random, enum kind kind)
{
    uint64_t floor = atomic_load(&seen_index);
    ask_made_by(last_of(kind, floor) + KINDS - KINDS * roll(random, 4));
}

static void ask_in_new_directory(unsigned *random)
{
    struct store_attr attr;
    uint64_t floor = atomic_load(&seen_index);
    uint64_t index = last_of(MAKE_DIR, floor) + KINDS - KINDS * roll(random, 3);
    if (index < first_index)
        return;
    int status = store_lookup(store, ino_made_by(index), "absent", 6, &attr);
    check(status == -ENOENT || (status == -ESTALE && index > floor), "new directory", index, floor);
    if (status == -ENOENT)
        see(index);
}

static void ask_root(void)
{
    struct store_attr attr;
    uint64_t floor = atomic_load(&seen_index);
    int status = store_getattr(store, ROOT, &attr);
    check(status == 0, "getattr of the root", 0, floor);
    check_attr(&attr, MAKE_DIR, floor, "getattr of the root");
    check_attr(&attr, MAKE_NAME, floor, "getattr of the root");
}

/* They follow what a batch has committed, which SQLite may have shown already. */
static void ask_how_it_stands(void)
{
    struct store_totals totals;
    uint64_t floor = atomic_load(&done_index), seen = atomic_load(&seen_index);
    store_totals(store, &totals);
    check(totals.applied_index >= floor, "totals", totals.applied_index, floor);
    check(totals.applied_index + 1 >= seen, "totals", totals.applied_index, seen);
    see(totals.applied_index);
    enum kind kind = totals.applied_index % KINDS;
    if (kind == WRITE_FILE || kind == WRITE_OTHER)
        ask_content(kind);
    else
        ask_made_by(totals.applied_index);
}

static void *reader(void *arg)
{
    unsigned random = 1 + *(unsigned *)arg;
    while (!ended) {
        enum kind kind = roll(&random, 2) ? WRITE_FILE : WRITE_OTHER;
        switch (roll(&random, 24)) {
        case 0:
            ask_content(kind);
            break;
        case 1:
        case 2:
            ask_how_it_stands();
            break;
        case 3:
        case 4:
            ask_in_new_directory(&random);
            break;
        case 5:
        case 6:
            ask_root();
            break;
        case 7:
        case 8:
        case 9:
        case 10:
            ask_inode(kind);
            break;
        case 11:
        case 12:
        case 13:
        case 14:
            ask_file_by_name(kind);
            break;
        default:
            ask_made(&random, roll(&random, 2) ? MAKE_NAME : MAKE_DIR);
        }
    }
    return NULL;
}

/* ---- Who stops them ---- */

static void stop_for_a_moment(int signal)
{
    (void)signal;
    int error = errno;
    nanosleep(&(struct timespec){.tv_nsec = STOPPED_US * 1000}, NULL);
    errno = error;
}

static void *stopper(void *arg)
{
    unsigned random = 7;
    const pthread_t *threads = arg;
    while (!stopper_ended) {
        /* The loop most of the time: the last one. */
        unsigned which = roll(&random, 2) ? ASKING : roll(&random, ASKING);
        pthread_kill(threads[which], SIGUSR1);
        nanosleep(&(struct timespec){.tv_nsec = (long)roll(&random, STOPPED_US) * 1000}, NULL);
    }
    return NULL;
}

/* As others do whose question needs it. */
static void *saver(void *arg)
{
    unsigned random = 99;
    (void)arg;
    while (!ended) {
        uint64_t until = store_applied_index(store) + roll(&random, 30);
        while (store_applied_index(store) < until && !ended)
            sched_yield();
        check(batch_save(store) == 0, "save", 0, 0);
    }
    return NULL;
}

/* ---- The loop ---- */

static struct command command_at(uint64_t index, char text[80])
{
    enum kind kind = index % KINDS;
    struct command c = {.session = 1, .time_ns = index * TICK_NS};
    c.seq = c.lowest_awaited = 1000 + index;
    if (kind == WRITE_FILE || kind == WRITE_OTHER) {
        c.op = COMMAND_WRITE;
        c.ino = files[kind];
        c.data = text;
        c.data_bytes = (uint32_t)snprintf(text, 80, "%016ju", (uintmax_t)index);
        return c;
    }
    c.op = kind == MAKE_NAME ? COMMAND_CREATE : COMMAND_MKDIR;
    c.ino = ino_made_by(index);
    c.parent = ROOT;
    c.mode = 0755;
    c.name = text;
    c.name_bytes = (uint8_t)name_made_by(index, text);
    return c;
}

static void apply_next(void)
{
    char text[80];
    uint64_t index = store_applied_index(store) + 1;
    struct command c = command_at(index, text);
    struct buf *b = command_encode(&c);
    struct store_entry entry = {
        .index = index, .term = 1, .kind = STORE_ENTRY_COMMAND, .data = b->data, .bytes = b->bytes};
    if (index % BATCH_EVERY && store_apply_unsaved(store, &entry, &result) == 0)
        atomic_fetch_add(&unsaved, 1);
    else
        assert_int_equal(store_apply(store, &entry, 1, &result), 0);
    atomic_store(&done_index, index);
    see(index);
    assert_int_equal(result.status, 0);
    buf_unref(b);
}

/* So that what is asked next comes from SQLite, and is kept. */
static void forget(void)
{
    cache_end_epoch(store->cache);
    cache_forget(store->cache);
    cache_begin_epoch(store->cache, NULL, 0);
}

static void make_files(void)
{
    assert_int_equal(do_put(ROOT, "f", ""), 0);
    files[WRITE_FILE] = result.attr.ino;
    assert_int_equal(do_put(ROOT, "o", ""), 0);
    files[WRITE_OTHER] = result.attr.ino;
    first_index = store_applied_index(store) + 1;
    for (unsigned i = 0; i < KINDS; i++)
        apply_next();
}

static void nobody_sees_less_than_anybody_before(void **state)
{
    (void)state;
    pthread_t threads[ASKING + 1] = {[ASKING] = pthread_self()}, stopping;
    unsigned numbers[READERS];
    make_files();
    sigaction(SIGUSR1, &(struct sigaction){.sa_handler = stop_for_a_moment, .sa_flags = SA_RESTART},
              NULL);
    for (unsigned i = 0; i < READERS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, reader, &numbers[i]), 0);
    }
    assert_int_equal(pthread_create(&threads[READERS], NULL, saver, NULL), 0);
    assert_int_equal(pthread_create(&stopping, NULL, stopper, threads), 0);
    for (unsigned i = 1; i < ENTRIES || answered < ENTRIES; i++) {
        apply_next();
        if (i % FORGET_EVERY == 0)
            forget();
    }
    stopper_ended = true;
    pthread_join(stopping, NULL);
    ended = true;
    for (unsigned i = 0; i < ASKING; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(wrong, 0);
    assert_true(unsaved > ENTRIES / 4);
    check_fingerprint();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nobody_sees_less_than_anybody_before, harness_setup,
                                        harness_teardown),
    };
    return cmocka_run_group_tests_name("unsaved-races", tests, NULL, NULL);
}
