/* SPDX-License-Identifier: MIT */
/* Exactly once: sessions, their marks and results, in memory and in their rows. */
#include "harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "store/sql.h"

#define ROOT STORE_ROOT_INO

static void a_session_applies_a_command_once(void **state)
{
    (void)state;
    do_put(ROOT, "f", "");
    uint64_t ino = result.attr.ino;
    struct command c = {.op = COMMAND_WRITE,
                        .flags = COMMAND_APPEND,
                        .ino = ino,
                        .data = "x",
                        .data_bytes = 1,
                        .session = 1,
                        .seq = 50,
                        .lowest_awaited = 50};
    assert_int_equal(apply_as_is(&c), 0);
    assert_int_equal(apply_as_is(&c), 0);
    assert_int_equal(result.seq, 50);
    assert_int_equal(result.attr.ino, ino);
    assert_int_equal(attr_of(ino).size_bytes, 1);

    c.seq = 52;
    c.lowest_awaited = 52;
    assert_int_equal(apply_as_is(&c), 0);
    c.seq = 51; /* given up: it must not land any more */
    apply_as_is(&c);
    assert_int_equal(result.seq, 0);
    assert_int_equal(attr_of(ino).size_bytes, 2);

    struct command boot = {.op = COMMAND_SESSION, .incarnation = 5, .boot = 2};
    assert_int_equal(apply_as_is(&boot), 0);
    assert_int_equal(result.session, 2);
    c.seq = 53;
    assert_int_equal(apply_as_is(&c), -EROFS); /* of the boot before */
    assert_int_equal(attr_of(ino).size_bytes, 2);
    boot.boot = 1;
    assert_int_equal(apply_as_is(&boot), -ESTALE);
    boot.boot = 2;
    assert_int_equal(apply_as_is(&boot), 0);
    assert_int_equal(result.session, 2);
    check_fingerprint();
}

static void results_stay_bounded(void **state)
{
    (void)state;
    do_put(ROOT, "f", "");
    struct command c = {.op = COMMAND_WRITE, .ino = result.attr.ino, .session = 1};
    c.lowest_awaited = 2;
    enum { N = STORE_MAX_RESULTS + 100, BATCH = 512 };
    static struct store_entry entries[BATCH];
    static struct store_result results[BATCH];
    struct buf *bufs[BATCH];
    for (uint64_t seq = 2; seq < N;) {
        uint32_t n = 0;
        for (; n < BATCH && seq < N; n++, seq++) {
            c.seq = seq;
            bufs[n] = command_encode(&c);
            entries[n] = (struct store_entry){.index = store_applied_index(store) + 1 + n,
                                              .term = 1,
                                              .kind = STORE_ENTRY_COMMAND,
                                              .data = bufs[n]->data,
                                              .bytes = bufs[n]->bytes};
        }
        assert_int_equal(store_apply(store, entries, n, results), 0);
        for (uint32_t i = 0; i < n; i++)
            buf_unref(bufs[i]);
    }
    check_fingerprint();
    c.seq = 50; /* forgotten */
    apply_as_is(&c);
    assert_int_equal(result.seq, 0);
    c.seq = N - STORE_MAX_RESULTS; /* the oldest one kept */
    apply_as_is(&c);
    assert_int_equal(result.seq, N - STORE_MAX_RESULTS);
}

static unsigned progress_rows(void)
{
    char path[128];
    struct sql sql;
    sqlite3_stmt *s;
    snprintf(path, sizeof(path), "%s/store.db", top);
    assert_int_equal(sql_open(&sql, path, SQLITE_OPEN_READONLY), 0);
    assert_int_equal(sqlite3_prepare_v2(sql.db, "SELECT count(*) FROM progress", -1, &s, NULL), 0);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    unsigned rows = (unsigned)sql_u64(s, 0);
    sqlite3_finalize(s);
    sql_close(&sql);
    return rows;
}

static void rows_of_what_is_forgotten_are_used_again(void **state)
{
    (void)state;
    enum { AWAITED = 70, COMMANDS = 1000 };
    struct command c = {.op = COMMAND_WRITE, .ino = 12345, .session = 1};
    for (uint64_t seq = 1; seq <= COMMANDS; seq++) {
        c.seq = seq;
        c.lowest_awaited = seq > AWAITED ? seq - AWAITED + 1 : 1;
        assert_int_equal(apply_as_is(&c), -ESTALE);
        if (seq % 300 == 0)
            harness_reopen();
    }
    check_fingerprint();
    /* The state, the session, and each result while its successor is made. */
    assert_in_range(progress_rows(), 2 + AWAITED, 2 + AWAITED + 1);
}

/* ---- Against a model ---- */

enum { SESSIONS = 3, NUMBERS = 40000, MOST_BATCH = 6 };

static struct {
    uint64_t lowest;
    uint64_t offsets[NUMBERS]; /* where the append went; 1 + offset, 0: not applied */
} model[SESSIONS + 1];

static uint64_t appended_to, appended_bytes;

static struct command random_append(void)
{
    unsigned session = 1 + (unsigned)rand() % SESSIONS;
    int spread = rand() % 8 ? 24 : 300;
    uint64_t seq = model[session].lowest + (uint64_t)(rand() % spread);
    seq -= seq > 4 ? (uint64_t)(rand() % 4) : 0; /* some of them given up */
    if (seq >= NUMBERS)
        seq = NUMBERS - 1;
    return (struct command){.op = COMMAND_WRITE,
                            .flags = COMMAND_APPEND,
                            .ino = appended_to,
                            .data = "x",
                            .data_bytes = 1,
                            .session = session,
                            .seq = seq,
                            .lowest_awaited = seq - (uint64_t)(rand() % spread) % seq};
}

/* What the store must say of it. */
static void check_against_model(const struct command *c, const struct store_result *r)
{
    uint64_t *known = &model[c->session].offsets[c->seq];
    assert_int_equal(r->session, c->session);
    if (c->seq < model[c->session].lowest) {
        assert_int_equal(r->seq, 0);
        return;
    }
    assert_int_equal(r->seq, c->seq);
    assert_int_equal(r->status, 0);
    if (!*known) {
        *known = 1 + appended_bytes++;
        if (c->lowest_awaited > model[c->session].lowest)
            model[c->session].lowest = c->lowest_awaited;
    }
    assert_int_equal(r->offset, *known - 1);
}

static void a_random_batch(unsigned count, int expected)
{
    struct command commands[MOST_BATCH];
    struct store_entry entries[MOST_BATCH];
    struct store_result results[MOST_BATCH];
    struct buf *bufs[MOST_BATCH];
    for (unsigned i = 0; i < count; i++) {
        commands[i] = random_append();
        bufs[i] = command_encode(&commands[i]);
        entries[i] = (struct store_entry){.index = store_applied_index(store) + 1 + i,
                                          .term = 1,
                                          .kind = STORE_ENTRY_COMMAND,
                                          .data = bufs[i]->data,
                                          .bytes = bufs[i]->bytes};
    }
    assert_int_equal(store_apply(store, entries, count, results), expected);
    for (unsigned i = 0; i < count; i++) {
        if (expected == 0)
            check_against_model(&commands[i], &results[i]);
        buf_unref(bufs[i]);
    }
    if (expected == 0)
        check_fingerprint();
    assert_int_equal(attr_of(appended_to).size_bytes, appended_bytes);
}

static void start_model(void)
{
    memset(model, 0, sizeof(model));
    appended_bytes = 0;
    srand(1);
    for (unsigned i = 2; i <= SESSIONS; i++) {
        struct command c = {.op = COMMAND_SESSION, .incarnation = 5 + i, .boot = 1};
        assert_int_equal(apply_as_is(&c), 0);
        assert_int_equal(result.session, i);
    }
    assert_int_equal(do_put(ROOT, "f", ""), 0);
    appended_to = result.attr.ino;
    for (unsigned i = 1; i <= SESSIONS; i++)
        model[i].lowest = 1;
    model[1].offsets[1] = 1; /* the put's number: not used here */
    model[1].lowest = 2;
    struct command c = {
        .op = COMMAND_WRITE, .ino = appended_to, .session = 1, .seq = 2, .lowest_awaited = 2};
    assert_int_equal(apply_as_is(&c), 0);
    model[1].offsets[2] = 1; /* writes nothing, at 0 */
}

static void each_number_is_applied_once_whatever_the_batches(void **state)
{
    (void)state;
    start_model();
    for (int i = 0; i < 300; i++) {
        a_random_batch(1 + (unsigned)rand() % MOST_BATCH, 0);
        if (i % 50 == 49)
            harness_reopen();
    }
    assert_in_range(appended_bytes, 300, 300 * MOST_BATCH);
}

/* A commit that finds no room for its frames, as far as this process is concerned. */
static void a_batch_that_fails_is_as_if_it_had_never_been(void **state)
{
    (void)state;
    struct rlimit unlimited, limited;
    struct stat st;
    char path[128];
    start_model();
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
    snprintf(path, sizeof(path), "%s/store.db-wal", top);
    for (int i = 0; i < 60; i++) {
        assert_int_equal(stat(path, &st), 0);
        limited = unlimited;
        limited.rlim_cur = (rlim_t)st.st_size + (rlim_t)(i % 3) * 1500;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limited), 0);
        a_random_batch(1 + (unsigned)i % MOST_BATCH, -EIO);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
        for (int k = 0; k < 3; k++)
            a_random_batch(1 + (unsigned)rand() % MOST_BATCH, 0);
    }
    harness_reopen();
    a_random_batch(MOST_BATCH, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, harness_setup, harness_teardown)
        TEST(a_session_applies_a_command_once),
        TEST(results_stay_bounded),
        TEST(rows_of_what_is_forgotten_are_used_again),
        TEST(each_number_is_applied_once_whatever_the_batches),
        TEST(a_batch_that_fails_is_as_if_it_had_never_been),
    };
    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
