/* SPDX-License-Identifier: MIT */
/*
 * Transactions of lone entries that come to nothing, for want of room or by damage: what was
 * visible stays so or cannot be read, is never old, and is saved once that can be done.
 */
#include "lone.h"
#include "replica.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "store/install.h"
#include "store/internal.h"
#include "store/vfs.h"

#define ROOT STORE_ROOT_INO

enum { BIG_BYTES = 16000 }; /* more than an inode's row holds, and little still */

static unsigned damages; /* how often the store has told of it */
static char big[BIG_BYTES + 1];

static int setup(void **state)
{
    lone_seq = LONE_FIRST_SEQ;
    damages = 0;
    memset(big, 'd', BIG_BYTES);
    return harness_setup(state);
}

static void on_damage(void *ctx)
{
    (void)ctx;
    damages++;
}
/* With nothing in memory, and one entry applied. */
static void reopen_to_hear_of_damage(void)
{
    struct store_options options;
    char why[STORE_WHY_BYTES];
    store_close(store);
    harness_open_options(&options, top, false);
    options.on_damage = on_damage;
    assert_int_equal(store_open(&options, &store, why), 0);
    put_saved("first", "value");
}
/* Spoils the pages that are full of 'd', or makes them good again. */
static void flip_big_content(void)
{
    char path[128], page[VFS_PAGE_BYTES];
    unsigned flipped = 0;
    snprintf(path, sizeof(path), "%s/store.db", top);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    for (long at = 0; fread(page, sizeof(page), 1, f) == 1; at += VFS_PAGE_BYTES) {
        if (memcmp(page + 2000, big, 400) == 0) {
            page[3000] ^= 1;
            fseek(f, at, SEEK_SET);
            fwrite(page, sizeof(page), 1, f);
            fseek(f, at + VFS_PAGE_BYTES, SEEK_SET);
            flipped++;
        }
    }
    assert_int_equal(fclose(f), 0);
    assert_true(flipped >= (BIG_BYTES / VFS_PAGE_BYTES));
}

/* SQLite's connections do so when another one has written. */
static void make_writer_forget_its_pages(void)
{
    char path[128];
    struct sql sql;
    snprintf(path, sizeof(path), "%s/store.db", top);
    assert_int_equal(sql_open(&sql, path, SQLITE_OPEN_READWRITE), 0);
    assert_int_equal(sql_exec(&sql, "UPDATE progress SET a=a+1 WHERE slot=0"), 0);
    assert_int_equal(sql_exec(&sql, "UPDATE progress SET a=a-1 WHERE slot=0"), 0);
    sql_close(&sql);
}

/* The log's file may not grow, as far as this process is concerned. */
static struct rlimit take_room(void)
{
    struct rlimit unlimited, limited;
    struct stat st;
    char path[128];
    snprintf(path, sizeof(path), "%s/store.db-wal", top);
    assert_int_equal(stat(path, &st), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
    limited = unlimited;
    limited.rlim_cur = (rlim_t)st.st_size;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limited), 0);
    return unlimited;
}

static void give_room(struct rlimit unlimited)
{
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
}

static int save_without_room(void)
{
    struct rlimit unlimited = take_room();
    int status = store_save(store);
    give_room(unlimited);
    return status;
}

static uint64_t put_victim(void)
{
    uint64_t victim = put_saved("victim", big);
    reopen_to_hear_of_damage();
    assert_int_equal(attr_of(victim).size_bytes, BIG_BYTES); /* it is known to be little */
    return victim;
}

static void an_entry_that_fails_takes_no_other_with_it(void **state)
{
    (void)state;
    uint64_t victim = put_victim();
    uint64_t key = put_unsaved("key", "value"), index = store_applied_index(store);
    uint64_t before = fingerprint();
    flip_big_content();
    assert_int_equal(unsaved(write_of(victim, 8000, "w")), -EUCLEAN);
    assert_int_equal(store_applied_index(store), index);
    assert_int_equal(fingerprint(), before);
    assert_int_equal(ino_of(ROOT, "key"), key);
    assert_false(store_is_saved(store));
    assert_int_equal(index_on_disk(), index - 1);
    assert_int_equal(unsaved(put_of("key", "other")), -EAGAIN);
    assert_int_equal(store_applied_index(store), index);
    assert_string_equal(content_of(key), "value");
    assert_int_equal(index_on_disk(), index);

    put_unsaved("key", "third");
    assert_int_equal(apply_by(apply_saved, write_of(victim, 8000, "w")), -EUCLEAN);
    assert_int_equal(store_applied_index(store), index + 1);
    assert_string_equal(content_of(key), "third");
    flip_big_content();
    assert_int_equal(apply_by(apply_saved, write_of(victim, 8000, "w")), 0);
    assert_int_equal(result.status, 0);
    check_fingerprint();
}

static bool count_names(void *ctx, const char *name, size_t name_bytes, uint64_t cookie,
                        const struct store_attr *attr)
{
    (void)name, (void)name_bytes, (void)cookie, (void)attr;
    ++*(unsigned *)ctx;
    return true;
}

static int read_some(uint64_t ino, char text[16])
{
    struct store_attr attr;
    size_t got = 0;
    int status = store_read(store, ino, 0, 15, text, &got, &attr);
    text[got] = '\0';
    return status;
}

static void without_room_it_stays_visible_and_is_saved_later(void **state)
{
    (void)state;
    char text[16];
    struct store_attr attr;
    uint64_t other = put_saved("other", "as it was"), key = put_saved("key", "old");
    put_unsaved("new", "value");
    put_unsaved("key", "other");
    uint64_t index = store_applied_index(store), before = fingerprint();
    struct rlimit unlimited = take_room();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(store_save(store), -EIO);
        assert_false(store_is_saved(store));
        assert_int_equal(store_applied_index(store), index);
        assert_int_equal(fingerprint(), before);
        assert_int_equal(attr_of(key).size_bytes, 5);
        assert_int_not_equal(ino_of(ROOT, "new"), 0);
        assert_int_equal(ino_of(ROOT, "absent"), 0);
        assert_string_equal(content_of(other), "as it was");
        assert_int_equal(read_some(key, text), -EIO);
        assert_int_equal(store_lookup(store, ROOT, ".", 1, &attr), -EIO);
        assert_int_equal(store_sync(store), -EIO);
        assert_int_equal(unsaved(put_of("key", "third")), -EAGAIN);
        assert_int_equal(apply_by(apply_saved, put_of("key", "third")), -EIO);
        assert_int_equal(index_on_disk(), index - 2);
    }
    give_room(unlimited);
    assert_int_equal(checkpoint_all(store->checkpoint), 0);
    assert_int_equal(store_durable_index(store), index - 2);
    assert_int_equal(unsaved(put_of("key", "third")), -EAGAIN); /* there is more to do */
    assert_string_equal(content_of(key), "other");
    assert_int_equal(index_on_disk(), index);
    put_unsaved("key", "third");
    check_fingerprint();
    assert_string_equal(content_of(ino_of(ROOT, "new")), "value");
}

static void what_cannot_be_saved_fails_and_is_never_old(void **state)
{
    (void)state;
    char text[16];
    unsigned names = 0;
    struct store_attr attr;
    uint64_t victim = put_victim();
    assert_int_equal(unsaved(write_of(victim, 8000, "w")), 0);
    uint64_t version = result.attr.version;
    uint64_t first = put_unsaved("first", "other"), index = store_applied_index(store);
    uint64_t before = fingerprint();
    flip_big_content();
    assert_int_equal(save_without_room(), -EIO);
    make_writer_forget_its_pages();

    assert_int_equal(store_save(store), -EUCLEAN);
    assert_int_equal(damages, 0); /* whoever saves is told by it */
    assert_int_equal(store_applied_index(store), index);
    assert_int_equal(fingerprint(), before);
    assert_int_equal(attr_of(victim).version, version);
    assert_int_equal(ino_of(ROOT, "first"), first);
    assert_int_equal(ino_of(ROOT, "absent"), 0);
    assert_int_equal(read_some(first, text), -EUCLEAN);
    assert_int_equal(damages, 1);
    assert_int_equal(store_lookup(store, ROOT, "..", 2, &attr), -EUCLEAN);
    assert_int_equal(store_readdir(store, ROOT, 0, count_names, &names), -EUCLEAN);
    assert_int_equal(names, 0);
    assert_int_equal(damages, 3);
    assert_int_equal(store_sync(store), -EUCLEAN);
    assert_false(store_is_saved(store));
    assert_int_equal(store_applied_index(store), index);

    flip_big_content();
    assert_int_equal(read_some(first, text), 0);
    assert_string_equal(text, "other");
    assert_true(store_is_saved(store));
    assert_int_equal(attr_of(victim).version, version);
    check_fingerprint();
}
/* The new one has it as all have it. */
static void what_cannot_be_saved_gives_way_to_another_state(void **state)
{
    (void)state;
    uint64_t index, term;
    memset(big, 'o', BIG_BYTES); /* what the replica's files are full of */
    put_saved("first", "value");
    assert_int_equal(attr_of(ino_of(ROOT, "old3")).size_bytes, BIG_BYTES);
    assert_int_equal(unsaved(write_of(ino_of(ROOT, "old3"), 8000, "w")), 0);
    assert_int_equal(save_without_room(), -EIO);
    make_writer_forget_its_pages();
    flip_big_content();
    assert_int_equal(store_save(store), -EUCLEAN);
    assert_int_equal(store_install(store, replica.file, &index, &term), 0);
    assert_true(store_is_saved(store));
    replica_check_new();
    put_saved("first", "value");
    put_unsaved("first", "other");
    check_fingerprint();
}

static int setup_replica(void **state)
{
    (void)state;
    lone_seq = LONE_FIRST_SEQ;
    return replica_setup(30, BIG_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, harness_teardown)
        T(without_room_it_stays_visible_and_is_saved_later),
        T(an_entry_that_fails_takes_no_other_with_it),
        T(what_cannot_be_saved_fails_and_is_never_old),
        cmocka_unit_test_setup_teardown(what_cannot_be_saved_gives_way_to_another_state,
                                        setup_replica, replica_teardown),
    };
    return cmocka_run_group_tests_name("unsavable", tests, NULL, NULL);
}
