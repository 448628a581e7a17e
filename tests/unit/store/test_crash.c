/* SPDX-License-Identifier: MIT */
/*
 * Crashes and power cuts at every step of receiving, installing, taking and restoring a snapshot:
 * the store opens, on the old or the new state and never on less than was promised; a snapshot is
 * whole or not there; what had come is gone on with.
 */
#include "replica.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "disk.h"
#include "store/install.h"
#include "store/snapshot_sink.h"
#include "store/snapshot_source.h"
#include "store/vfs.h"

#define ROOT STORE_ROOT_INO

enum { PATH_BYTES = 256, PIECE_BYTES = 16 * VFS_PAGE_BYTES, MOST_INDEX = 256, MOST_MARKS = 64 };

static const atomic_bool never;
static char why[STORE_WHY_BYTES];
static uint64_t fingerprints[MOST_INDEX]; /* by applied index */
static uint8_t *original;                 /* the snapshot that is received */

/* What had been promised by then. */
static struct mark {
    unsigned step;
    uint64_t applied_index;
    uint64_t durable_index;
    uint64_t snapshot_ids[2];
} marks[MOST_MARKS], now;
static unsigned mark_count;

static void mark(void)
{
    now.step = disk_steps();
    now.applied_index = store_applied_index(store);
    now.durable_index = store_durable_index(store);
    assert_true(now.applied_index < MOST_INDEX && mark_count < MOST_MARKS);
    fingerprints[now.applied_index] = fingerprint();
    marks[mark_count++] = now;
}

/* ---- The workload ---- */

static void receive_until(struct snapshot_sink *sink, uint64_t end)
{
    for (uint64_t at; (at = snapshot_sink_offset(sink)) < end;) {
        uint64_t left = replica.snapshot.bytes - at;
        uint32_t bytes = left < PIECE_BYTES ? (uint32_t)left : PIECE_BYTES;
        assert_int_equal(snapshot_sink_write(sink, at, original + at, bytes), 0);
    }
}

static void finish(struct snapshot_sink *sink, struct snapshot *out)
{
    receive_until(sink, replica.snapshot.bytes);
    assert_int_equal(snapshot_sink_finish(sink, out), 0);
    snapshot_sink_close(sink);
}

static void receive(const char *dir, struct snapshot *out)
{
    struct snapshot_sink *sink;
    assert_int_equal(snapshot_sink_open(&sink, dir, &replica.snapshot), 0);
    receive_until(sink, 2 * PIECE_BYTES);
    snapshot_sink_close(sink);
    assert_int_equal(snapshot_sink_open(&sink, dir, &replica.snapshot), 0);
    finish(sink, out);
}

static void install(const char *dir, const struct snapshot *s)
{
    char path[PATH_BYTES];
    uint64_t index, term;
    snprintf(path, sizeof(path), "%s/%s", dir, s->name);
    assert_int_equal(store_install(store, path, &index, &term), 0);
    assert_int_equal(index, replica.snapshot.index);
    assert_int_equal(store_durable_index(store), index);
}

static void put_and_mark(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(do_put(ROOT, "more", "value"), 0);
        mark();
    }
}

static void work(void)
{
    struct snapshot s;
    char dir[128];
    snprintf(dir, sizeof(dir), "%s/snapshots", top);
    replica_open(top);
    mark();
    put_and_mark(3);
    receive(dir, &s);
    now.snapshot_ids[0] = s.id;
    mark();
    install(dir, &s);
    mark();
    put_and_mark(3);
    assert_int_equal(snapshot_take(store, dir, &never, &s), 0);
    now.snapshot_ids[1] = s.id;
    mark();
    put_and_mark(2);
    assert_int_equal(store_sync(store), 0);
    mark();
    put_and_mark(2);
    store_close(store);
}

static void load_original(void)
{
    FILE *f = fopen(replica.file, "rb");
    original = malloc(replica.snapshot.bytes);
    assert_int_equal(fread(original, 1, replica.snapshot.bytes, f), replica.snapshot.bytes);
    fclose(f);
}

/* ---- What a crash left ---- */

static void check_state(unsigned step, enum disk_crash crash)
{
    uint64_t least = 0;
    for (unsigned i = 0; i < mark_count && marks[i].step <= step; i++)
        least = crash == DISK_KILLED ? marks[i].applied_index : marks[i].durable_index;
    uint64_t index = store_applied_index(store);
    assert_in_range(index, least, MOST_INDEX - 1);
    assert_int_equal(fingerprint(), fingerprints[index]);
    check_fingerprint();
}

/* The same bytes as every whole copy of that snapshot has. */
static void check_snapshot(const char *dir, uint64_t id)
{
    struct snapshot_source *source;
    assert_int_equal(snapshot_source_open(&source, dir, id, 0), 0);
    uint64_t bytes = snapshot_source_info(source)->bytes;
    uint8_t *data = malloc(bytes);
    assert_int_equal(snapshot_source_read(source, 0, (uint32_t)bytes, data), 0);
    if (id == replica.snapshot.id)
        assert_memory_equal(data, original, bytes);
    free(data);
    snapshot_source_close(source);
}

static void check_snapshots(const char *dir, unsigned step)
{
    struct snapshot found[SNAPSHOT_KEPT];
    int count = snapshot_open_dir(dir, found, why);
    assert_in_range(count, 0, 2);
    for (int i = 0; i < count; i++)
        check_snapshot(dir, found[i].id);
    for (unsigned i = 0; i < mark_count && marks[i].step <= step; i++)
        for (int k = 0; k < 2; k++)
            if (marks[i].snapshot_ids[k])
                check_snapshot(dir, marks[i].snapshot_ids[k]);
}

/* Whatever was left, the node gets on: it receives the rest, installs it and applies more. */
static void get_on(const char *dir)
{
    struct snapshot_sink *sink;
    struct snapshot s;
    uint64_t before = store_applied_index(store);
    assert_int_equal(snapshot_sink_open(&sink, dir, &replica.snapshot), 0);
    finish(sink, &s);
    check_snapshot(dir, s.id);
    if (before >= replica.snapshot.index)
        return;
    install(dir, &s);
    assert_int_equal(fingerprint(), replica.fingerprint);
    check_fingerprint();
}

static void check_image(unsigned step, enum disk_crash crash)
{
    char image[] = "/tmp/raftfs-store-XXXXXX", dir[64];
    assert_non_null(mkdtemp(image));
    snprintf(dir, sizeof(dir), "%s/snapshots", image);
    assert_int_equal(mkdir(dir, 0700), 0);
    disk_image(step, crash, image);
    replica_open(image);
    check_state(step, crash);
    check_snapshots(dir, step);
    if (step % DISK_CRASHES == crash)
        get_on(dir);
    store_close(store);
    replica_remove_dir(image);
}

/* Around syncs, names and commits each step; of a long row of writes every few stand for all. */
static bool is_wanted(unsigned step)
{
    if (step == disk_steps() || step % 40 == 0)
        return true;
    unsigned near = step ? step - 1 : 0;
    while (near < disk_steps() && near < step + 20 && !disk_step_is_special(near))
        near++;
    return near < disk_steps() && near < step + 20;
}

static void each_step(void (*check)(unsigned step, enum disk_crash crash))
{
    for (unsigned step = 0; step <= disk_steps(); step++)
        for (int crash = 0; crash < DISK_CRASHES && is_wanted(step); crash++)
            check(step, (enum disk_crash)crash);
}

static void old_or_new_and_never_less_than_promised(void **state)
{
    (void)state;
    struct snapshot found[SNAPSHOT_KEPT];
    char dir[128], before[sizeof(top)];
    memcpy(before, top, sizeof(top));
    snprintf(dir, sizeof(dir), "%s/snapshots", top);
    assert_int_equal(snapshot_open_dir(dir, found, why), 0);
    load_original();
    store_close(store);
    fingerprints[replica.snapshot.index] = replica.fingerprint;
    disk_record(top);
    work();
    disk_stop();
    print_message("%u steps\n", disk_steps());
    each_step(check_image);
    disk_forget();
    free(original);
    replica_open(before);
}

/* ---- Cutting off and freeing ---- */

enum { ROWS = 30 };

static uint64_t big_ino;

/* Of many rows with little in each. */
static void make_big(void)
{
    assert_int_equal(do_put(ROOT, "big", "small"), 0);
    big_ino = result.attr.ino;
    for (uint64_t i = 0; i < ROWS; i++)
        assert_int_equal(do_write(big_ino, i * STORE_CHUNK_BYTES, "row", 3, 0), 0);
    assert_int_equal(store_sync(store), 0);
}

static void check_cut(unsigned step, enum disk_crash crash)
{
    char image[] = "/tmp/raftfs-store-XXXXXX";
    if ((step + crash) % 2)
        return; /* what a step leaves, its neighbours leave likewise */
    assert_non_null(mkdtemp(image));
    disk_image(step, crash, image);
    replica_open(image);
    uint64_t index = store_applied_index(store);
    check_state(step, crash);
    while (store_has_garbage(store))
        assert_int_equal(store_reclaim(store), 0);
    assert_int_equal(fingerprint(), fingerprints[index]);
    check_fingerprint();
    if (attr_of(big_ino).size_bytes == 5)
        assert_string_equal(content_of(big_ino), "small");
    store_close(store);
    replica_remove_dir(image);
}

static void what_is_half_freed_is_freed_later(void **state)
{
    (void)state;
    char before[sizeof(top)];
    memcpy(before, top, sizeof(top));
    mark_count = 0;
    now = (struct mark){0};
    make_big();
    store_close(store);
    disk_record(top);
    replica_open(top);
    mark();
    assert_int_equal(do_put(ROOT, "big", "small"), 0);
    mark();
    assert_int_equal(store_reclaim(store), 0);
    put_and_mark(1);
    assert_int_equal(store_sync(store), 0);
    mark();
    while (store_has_garbage(store))
        assert_int_equal(store_reclaim(store), 0);
    put_and_mark(1);
    store_close(store);
    disk_stop();
    print_message("%u steps\n", disk_steps());
    each_step(check_cut);
    disk_forget();
    replica_open(before);
}

/* ---- Restoring ---- */

static uint64_t restored_fingerprint;

static void check_restored(unsigned step, enum disk_crash crash)
{
    char image[] = "/tmp/raftfs-store-XXXXXX", path[PATH_BYTES];
    assert_non_null(mkdtemp(image));
    disk_image(step, crash, image);
    snprintf(path, sizeof(path), "%s/store.db", image);
    if (access(path, F_OK) != 0) {
        assert_true(step < disk_steps()); /* it had not returned */
        assert_int_equal(store_restore(replica.file, image, INCARNATION, why), 0);
    }
    replica_open(image);
    assert_int_equal(store_applied_index(store), replica.snapshot.index);
    assert_int_equal(fingerprint(), restored_fingerprint);
    check_fingerprint();
    store_close(store);
    replica_remove_dir(image);
}

static void restored_whole_or_not_at_all(void **state)
{
    (void)state;
    char fresh[] = "/tmp/raftfs-store-XXXXXX", before[sizeof(top)];
    memcpy(before, top, sizeof(top));
    store_close(store);
    assert_non_null(mkdtemp(fresh));
    disk_record(fresh);
    assert_int_equal(store_restore(replica.file, fresh, INCARNATION, why), 0);
    disk_stop();
    replica_open(fresh);
    restored_fingerprint = fingerprint();
    store_close(store);
    replica_remove_dir(fresh);
    each_step(check_restored);
    disk_forget();
    replica_open(before);
}

static int setup(void **state)
{
    (void)state;
    return replica_setup(8, 15000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, replica_teardown)
        T(old_or_new_and_never_less_than_promised),
        T(what_is_half_freed_is_freed_later),
        T(restored_whole_or_not_at_all),
    };
    return cmocka_run_group_tests_name("crash", tests, NULL, NULL);
}
