/* SPDX-License-Identifier: MIT */
/* Real snapshots, served to members that the test plays. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../store/harness.h"
#include "base/memory.h"
#include "node/serving.h"
#include "store/snapshot.h"

enum { ASKER = 5, PATIENCE_S = 60 };

static char dir[128];
static const atomic_bool never;
static struct serving *serving;
static uint64_t seq;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t woken = PTHREAD_COND_INITIALIZER;
static bool wake;

static raft_id sent_to;
static struct raft_net_snapshot_piece sent;
static struct buf *sent_data;
static uint64_t missing;
static uint32_t damaged;

/* ---- What it calls ---- */

bool raft_driver_snapshot_piece(struct raft_driver *d, raft_id to,
                                const struct raft_net_snapshot_piece *piece, struct buf *data)
{
    (void)d;
    buf_unref(sent_data);
    sent_to = to;
    sent = *piece;
    sent_data = buf_ref(data);
    return true;
}

static void on_wake(void *ctx)
{
    (void)ctx;
    pthread_mutex_lock(&lock);
    wake = true;
    pthread_cond_signal(&woken);
    pthread_mutex_unlock(&lock);
}

static void on_missing(void *ctx, uint64_t min_index)
{
    (void)ctx;
    missing = min_index;
}

static void on_damaged(void *ctx)
{
    (void)ctx;
    damaged++;
}

/* ---- What the test does ---- */

static struct snapshot take(void)
{
    struct snapshot taken;
    assert_int_equal(snapshot_take(store, dir, &never, &taken), 0);
    return taken;
}

static void ask(raft_id from, uint64_t id, uint64_t min_index, uint64_t offset)
{
    serving_ask(serving, from,
                &(struct raft_net_snapshot_ask){.seq = ++seq,
                                                .id = id,
                                                .min_index = min_index,
                                                .offset = offset,
                                                .bytes = RAFT_NET_PIECE_BYTES});
}

/* Until the answer to the last ask is sent. */
static void await_answer(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    while (sent.seq != seq) {
        pthread_mutex_lock(&lock);
        while (!wake)
            assert_int_equal(pthread_cond_timedwait(&woken, &lock, &until), 0);
        wake = false;
        pthread_mutex_unlock(&lock);
        serving_pump(serving, NULL);
    }
}

static void get(uint64_t id, uint64_t min_index, uint64_t offset)
{
    ask(ASKER, id, min_index, offset);
    await_answer();
}

static int set_up(void **state)
{
    char why[STORE_WHY_BYTES];
    struct snapshot found[SNAPSHOT_KEPT];
    int error = harness_setup(state);
    snprintf(dir, sizeof(dir), "%s/snapshots", top);
    missing = damaged = 0;
    sent_to = 0;
    sent = (struct raft_net_snapshot_piece){0};
    if (!error)
        error = snapshot_open_dir(dir, found, why);
    serving = serving_init(&(struct serving_options){
        .dir = dir, .wake = on_wake, .on_missing = on_missing, .on_damaged = on_damaged});
    return error;
}

static int tear_down(void **state)
{
    serving_close(serving);
    buf_unref(sent_data);
    sent_data = NULL;
    return harness_teardown(state);
}

/* Its content by the pieces must be the file's. */
static void check_whole(const struct snapshot *s, const uint8_t *expected)
{
    for (uint64_t offset = 0; offset < s->bytes; offset += sent.bytes) {
        get(s->id, s->index, offset);
        assert_int_equal(sent.status, 0);
        assert_int_equal(sent.id, s->id);
        assert_int_equal(sent.offset, offset);
        assert_true(sent.bytes > 0 && sent_data->bytes == sent.bytes);
        assert_memory_equal(sent_data->data, expected + offset, sent.bytes);
    }
}

static uint8_t *content(const struct snapshot *s)
{
    char path[512];
    uint8_t *out = memory_alloc(s->bytes);
    snprintf(path, sizeof(path), "%s/%s", dir, s->name);
    int fd = open(path, O_RDONLY);
    assert_int_equal(pread(fd, out, s->bytes, 0), s->bytes);
    close(fd);
    return out;
}

/* ---- The tests ---- */

static void the_newest_comes_in_pieces(void **state)
{
    (void)state;
    take();
    do_put(STORE_ROOT_INO, "k", "v");
    struct snapshot newest = take();
    get(0, newest.index, 0);
    assert_int_equal(sent_to, ASKER);
    assert_int_equal(sent.status, 0);
    assert_int_equal(sent.id, newest.id);
    assert_int_equal(sent.index, newest.index);
    assert_int_equal(sent.term, newest.term);
    assert_int_equal(sent.total_bytes, newest.bytes);
    uint8_t *expected = content(&newest);
    check_whole(&newest, expected);
    memory_free(expected);
    get(newest.id, newest.index, newest.bytes); /* behind its end there is nothing */
    assert_int_equal(sent.status, 0);
    assert_int_equal(sent.bytes, 0);
}

static void one_that_is_asked_for_stays(void **state)
{
    (void)state;
    struct snapshot old = take();
    uint8_t *expected = content(&old);
    get(0, 1, 0);
    for (int i = 0; i < SNAPSHOT_KEPT; i++) { /* push it out of the directory */
        do_put(STORE_ROOT_INO, "k", "v");
        take();
    }
    check_whole(&old, expected);
    memory_free(expected);
    get(0, 1, 0); /* whoever comes now gets the newest */
    assert_true(sent.index > old.index);
}

static void what_is_not_here_is_refused(void **state)
{
    (void)state;
    get(0, 1, 0);
    assert_int_equal(sent.status, -ENOENT);
    assert_int_equal(missing, 1);
    struct snapshot s = take();
    get(0, s.index + 1, 0);
    assert_int_equal(sent.status, -ENOENT);
    assert_int_equal(missing, s.index + 1);
    missing = 0;
    get(s.id + 1, 0, 0); /* a certain one is not made for anybody */
    assert_int_equal(sent.status, -ENOENT);
    assert_int_equal(missing, 0);
}

static void a_damaged_one_stays_here(void **state)
{
    (void)state;
    char path[512], name[16], value[3000];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (int i = 0; i < 60; i++) { /* most of it is content then */
        snprintf(name, sizeof(name), "k%d", i);
        do_put(STORE_ROOT_INO, name, value);
    }
    struct snapshot s = take();
    snprintf(path, sizeof(path), "%s/%s", dir, s.name);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "rot", 3, (off_t)s.bytes / 2), 3);
    close(fd);
    get(s.id, s.index, 0);
    assert_int_not_equal(sent.status, 0);
    assert_null(sent_data);
    assert_int_equal(damaged, 1);
}

static void a_newer_ask_takes_the_place_of_the_last(void **state)
{
    (void)state;
    struct snapshot s = take();
    for (int i = 0; i < 100; i++)
        ask(ASKER, s.id, s.index, (uint64_t)i % 3 * 4096);
    await_answer();
    assert_int_equal(sent.seq, seq);
    assert_int_equal(sent.offset, 99 % 3 * 4096);
}

static void many_ask_at_once(void **state)
{
    (void)state;
    struct snapshot s = take();
    uint64_t first = seq + 1;
    for (raft_id from = 1; from <= 2 * RAFT_MAX_MEMBERS; from++)
        ask(from, s.id, s.index, 0);
    seq = first + RAFT_MAX_MEMBERS - 1; /* more than members are not remembered */
    await_answer();
    assert_int_equal(sent_to, RAFT_MAX_MEMBERS);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_newest_comes_in_pieces),
        TEST(one_that_is_asked_for_stays),
        TEST(what_is_not_here_is_refused),
        TEST(a_damaged_one_stays_here),
        TEST(a_newer_ask_takes_the_place_of_the_last),
        TEST(many_ask_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
