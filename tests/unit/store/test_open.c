/* SPDX-License-Identifier: MIT */
/* Opening what is missing, foreign, newer or damaged; reading while applying; crashing. */
#include "replica.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/sql.h"
#include "store/vfs.h"

#define ROOT STORE_ROOT_INO

static char why[STORE_WHY_BYTES];

static int try_open(uint64_t incarnation)
{
    struct store_options options;
    struct store *other = NULL;
    harness_open_options(&options, top, false);
    options.incarnation = incarnation;
    why[0] = '\0';
    int error = store_open(&options, &other, why);
    if (error == 0)
        store_close(other);
    return error;
}

static void run_sql(const char *text)
{
    struct sql sql;
    char path[128];
    snprintf(path, sizeof(path), "%s/store.db", top);
    assert_int_equal(sql_open(&sql, path, SQLITE_OPEN_READWRITE), 0);
    assert_int_equal(sql_exec(&sql, text), 0);
    sql_close(&sql);
}

static int setup_closed(void **state)
{
    int error = harness_setup(state);
    do_put(ROOT, "key", "value");
    store_close(store);
    return error;
}

static int remove_dir(void **state)
{
    (void)state;
    harness_remove_top();
    return 0;
}

static void a_missing_store_is_not_made_anew(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof(path), "%s/store.db", top);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(try_open(INCARNATION), -ENOENT);
    assert_non_null(strstr(why, path));
    assert_int_not_equal(access(path, F_OK), 0);
}

static void another_directorys_store_is_refused(void **state)
{
    (void)state;
    assert_int_equal(try_open(INCARNATION + 1), -ESTALE);
    assert_non_null(strstr(why, "store.db"));
    assert_int_equal(try_open(INCARNATION), 0);
}

static void another_format_is_refused(void **state)
{
    (void)state;
    run_sql("UPDATE meta SET format=4");
    assert_int_equal(try_open(INCARNATION), -EPROTO);
    assert_non_null(strstr(why, "format 4"));
    assert_non_null(strstr(why, "newer raftfs"));
    run_sql("UPDATE meta SET format=1");
    assert_int_equal(try_open(INCARNATION), -EPROTO);
    assert_non_null(strstr(why, "format 1"));
    assert_non_null(strstr(why, "older raftfs"));
}

/* As the version before this one has left it. */
static void format_2_is_brought_to_this_one(void **state)
{
    (void)state;
    static char data[10 * STORE_CHUNK_BYTES + 1];
    harness_setup(NULL);
    memset(data, 'd', sizeof(data) - 1);
    assert_int_equal(do_put(ROOT, "big", data), 0);
    uint64_t ino = result.attr.ino;
    assert_int_equal(do_write(ino, sizeof(data), data, sizeof(data), 0), 0);
    uint64_t before = fingerprint();
    store_close(store);
    replica_make_format_2(top, "store.db");
    assert_int_equal(try_open(INCARNATION + 1), -ESTALE);
    replica_open(top);
    assert_int_equal(fingerprint(), before);
    check_fingerprint();
    assert_int_equal(do_put(ROOT, "big", "little"), 0);
    assert_true(store_has_garbage(store));
    while (store_has_garbage(store))
        assert_int_equal(store_reclaim(store), 0);
    check_fingerprint();
    harness_reopen();
    assert_string_equal(content_of(ino), "little");
    store_close(store);
}

static void rubbish_is_refused(void **state)
{
    (void)state;
    char command[256];
    snprintf(command, sizeof(command), "head -c 8192 /dev/urandom > %s/store.db", top);
    assert_int_equal(system(command), 0);
    assert_int_equal(try_open(INCARNATION), -EUCLEAN);
}

static void flip(int fd, off_t at)
{
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

/* Looks at all that the store has; the first error. */
static bool look(void *ctx, const char *name, size_t bytes, uint64_t cookie,
                 const struct store_attr *attr)
{
    (void)name, (void)bytes, (void)cookie;
    static char data[STORE_CHUNK_BYTES * 2];
    size_t got;
    struct store_attr now;
    int *error = ctx;
    *error = store_read(store, attr->ino, 0, sizeof(data), data, &got, &now);
    for (size_t i = 0; *error == 0 && i < got; i++)
        assert_int_equal(data[i], 'd');
    return *error == 0;
}

static void a_flipped_bit_is_never_served(void **state)
{
    (void)state;
    static char data[100000];
    memset(data, 'd', sizeof(data));
    data[sizeof(data) - 1] = '\0';
    harness_setup(NULL);
    assert_int_equal(do_put(ROOT, "big", data), 0);
    store_close(store);
    char path[128];
    snprintf(path, sizeof(path), "%s/store.db", top);
    int fd = open(path, O_RDWR);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size % VFS_PAGE_BYTES, 0);
    unsigned found = 0;
    for (off_t page = 0; page < st.st_size / VFS_PAGE_BYTES; page++) {
        off_t at = page * VFS_PAGE_BYTES + (page * 613) % VFS_PAGE_BYTES;
        flip(fd, at);
        struct store_options options;
        harness_open_options(&options, top, false);
        int error = store_open(&options, &store, why);
        if (error == 0) {
            int read_error = 0;
            error = store_readdir(store, ROOT, 0, look, &read_error);
            error = error ? error : read_error;
            store_close(store);
        }
        if (error) {
            assert_int_equal(error, -EUCLEAN);
            found++;
        }
        flip(fd, at);
    }
    close(fd);
    assert_true(found > st.st_size / VFS_PAGE_BYTES / 2);
    assert_int_equal(try_open(INCARNATION), 0);
}

static atomic_bool stop;

/* Both keys get the same value in one batch: no reader may find them different. */
static void *read_pairs(void *arg)
{
    uint64_t dir = *(uint64_t *)arg;
    uint64_t reads = 0, last = 0;
    while (!atomic_load(&stop) || reads == 0) {
        uint64_t before = store_applied_index(store);
        char value[32] = "";
        size_t got;
        struct store_attr attr;
        if (store_read(store, dir, 0, sizeof(value) - 1, value, &got, &attr) != 0)
            abort();
        if (attr.version > store_applied_index(store) + 1 || attr.version < last)
            abort();
        /* What was published before the query began must be seen by it. */
        if (before > 10 && strtoull(value, NULL, 10) + 1 < before)
            abort();
        last = attr.version;
        reads++;
    }
    return NULL;
}

static void *read_on(void *arg)
{
    uint64_t ino = *(uint64_t *)arg;
    static _Thread_local char value[STORE_CHUNK_BYTES];
    size_t got;
    struct store_attr attr;
    for (uint64_t at = 0; !atomic_load(&stop); at += sizeof(value))
        if (store_read(store, ino, at % 8000000, sizeof(value), value, &got, &attr) != 0)
            abort();
    return NULL;
}

static void queries_see_each_batch_whole_and_at_once(void **state)
{
    (void)state;
    harness_setup(NULL);
    do_put(ROOT, "key", "0");
    uint64_t ino = result.attr.ino;
    pthread_t threads[3];
    atomic_store(&stop, false);
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, read_pairs, &ino);
    int failed = 0;
    for (uint64_t i = 0; i < 1500 && !failed; i++) {
        char value[32];
        snprintf(value, sizeof(value), "%llu", (unsigned long long)store_applied_index(store) + 1);
        struct command c = {.op = COMMAND_WRITE,
                            .flags = COMMAND_TRUNCATE,
                            .ino = ino,
                            .data = value,
                            .data_bytes = (uint32_t)strlen(value),
                            .session = 1,
                            .seq = 10 + i,
                            .lowest_awaited = 10 + i};
        failed = apply_as_is(&c);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(failed, 0);
    assert_int_equal(store_sync(store), 0);
    assert_int_equal(store_durable_index(store), store_applied_index(store));
    check_fingerprint();
    store_close(store);
}

/*
 * Readers that never pause must not keep it from starting over. Under TSan they are slow to let the
 * writer in: there it writes just enough to have to wait for a checkpoint.
 */
static void the_write_ahead_log_stays_bounded(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    enum { WRITES = 80 }; /* more than CHECKPOINT_MAX_PAGES */
#else
    enum { WRITES = 150 };
#endif
    harness_setup(NULL);
    do_put(ROOT, "key", "0");
    uint64_t ino = result.attr.ino, index = store_applied_index(store);
    static char data[1000000];
    pthread_t threads[3];
    atomic_store(&stop, false);
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, read_on, &ino);
    int failed = 0;
    for (int i = 0; i < WRITES && !failed; i++) {
        struct command c = {.op = COMMAND_WRITE,
                            .ino = ino,
                            .offset = (uint64_t)(i % 8) * sizeof(data),
                            .data = data,
                            .data_bytes = sizeof(data),
                            .session = 1,
                            .seq = 10 + (uint64_t)i,
                            .lowest_awaited = 10 + (uint64_t)i};
        failed = apply_as_is(&c);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(failed, 0);
    char path[128];
    struct stat st;
    snprintf(path, sizeof(path), "%s/store.db-wal", top);
    assert_int_equal(stat(path, &st), 0);
    assert_in_range(st.st_size, 0, 100 << 20);
    assert_true(store_durable_index(store) > index);
    store_close(store);
}

/* Applies puts until it is killed, telling each applied index. */
static void child_main(int out)
{
    for (uint64_t i = 0;; i++) {
        char name[16];
        snprintf(name, sizeof(name), "k%llu", (unsigned long long)(i % 50));
        struct command c = {.op = COMMAND_CREATE,
                            .flags = COMMAND_WITH_DATA | COMMAND_TRUNCATE,
                            .parent = ROOT,
                            .name = name,
                            .name_bytes = (uint8_t)strlen(name),
                            .ino = ((uint64_t)1 << 32) | (10000 + i),
                            .mode = 0644,
                            .data = name,
                            .data_bytes = (uint32_t)strlen(name),
                            .session = 1,
                            .seq = store_applied_index(store) + 1,
                            .lowest_awaited = store_applied_index(store) + 1};
        apply_as_is(&c);
        uint64_t index = store_applied_index(store);
        if (write(out, &index, sizeof(index)) != sizeof(index))
            _exit(1);
    }
}

static void a_killed_store_opens_whole(void **state)
{
    (void)state;
    for (int round = 0; round < 10; round++) {
        harness_setup(NULL);
        store_close(store);
        int pipes[2];
        assert_int_equal(pipe(pipes), 0);
        pid_t child = fork();
        if (child == 0) {
            struct store_options options;
            harness_open_options(&options, top, false);
            if (store_open(&options, &store, why) != 0)
                _exit(1);
            child_main(pipes[1]);
        }
        close(pipes[1]);
        uint64_t index = 0;
        while (index < 40u + (unsigned)round * 37)
            assert_int_equal(read(pipes[0], &index, sizeof(index)), sizeof(index));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        close(pipes[0]);
        struct store_options options;
        harness_open_options(&options, top, false);
        assert_int_equal(store_open(&options, &store, why), 0);
        assert_true(store_applied_index(store) >= index);
        check_fingerprint();
        harness_teardown(NULL);
    }
}

/* What a killed process left in the write-ahead log counts as durable once it is in store.db. */
static void what_counts_as_durable_is_in_the_database(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct store_options options;
        harness_open_options(&options, top, false);
        if (store_open(&options, &store, why) != 0)
            _exit(1);
        for (int i = 0; i < 20; i++)
            do_put(ROOT, "another", "value");
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    struct store_options options;
    harness_open_options(&options, top, false);
    assert_int_equal(store_open(&options, &store, why), 0);
    uint64_t durable = store_durable_index(store);
    assert_int_equal(durable, store_applied_index(store));
    char alone[] = "/tmp/raftfs-store-XXXXXX", command[256];
    assert_non_null(mkdtemp(alone));
    snprintf(command, sizeof(command), "cp %s/store.db %s/", top, alone);
    assert_int_equal(system(command), 0);
    store_close(store);
    harness_open_options(&options, alone, false);
    assert_int_equal(store_open(&options, &store, why), 0);
    assert_true(store_applied_index(store) >= durable);
    store_close(store);
    snprintf(command, sizeof(command), "rm -r %s", alone);
    assert_int_equal(system(command), 0);
}

static void a_sync_makes_what_is_applied_durable(void **state)
{
    (void)state;
    harness_setup(NULL);
    for (int i = 0; i < 3; i++) {
        do_put(ROOT, "key", "value");
        assert_true(store_durable_index(store) < store_applied_index(store));
        assert_int_equal(store_sync(store), 0);
        assert_int_equal(store_durable_index(store), store_applied_index(store));
    }
    assert_int_equal(store_sync(store), 0);
    store_close(store);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup_closed, remove_dir)
    const struct CMUnitTest tests[] = {
        TEST(a_missing_store_is_not_made_anew),
        TEST(another_directorys_store_is_refused),
        TEST(another_format_is_refused),
        TEST(rubbish_is_refused),
        TEST(what_counts_as_durable_is_in_the_database),
        cmocka_unit_test_teardown(format_2_is_brought_to_this_one, remove_dir),
        cmocka_unit_test_teardown(a_flipped_bit_is_never_served, remove_dir),
        cmocka_unit_test_teardown(queries_see_each_batch_whole_and_at_once, remove_dir),
        cmocka_unit_test_teardown(the_write_ahead_log_stays_bounded, remove_dir),
        cmocka_unit_test_teardown(a_sync_makes_what_is_applied_durable, remove_dir),
        cmocka_unit_test(a_killed_store_opens_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
