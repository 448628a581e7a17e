/* SPDX-License-Identifier: MIT */
#include "replica.h"

#include <stdio.h>
#include <stdlib.h>

#include "store/sql.h"

#define ROOT STORE_ROOT_INO

struct replica replica;
static char ahead_top[64];

void replica_copy_store(const char *from, const char *to)
{
    char command[2 * REPLICA_PATH_BYTES];
    snprintf(command, sizeof(command), "cp %s/store.db %s/", from, to);
    assert_int_equal(system(command), 0);
}

void replica_remove_dir(const char *dir)
{
    char command[REPLICA_PATH_BYTES];
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

void replica_make_format_2(const char *dir, const char *name)
{
    char path[2 * REPLICA_PATH_BYTES];
    struct sql sql;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(sql_open(&sql, path, SQLITE_OPEN_READWRITE), 0);
    assert_int_equal(sql_exec(&sql,
                              "DROP VIEW chunk; DROP VIEW content; DROP TABLE garbage;"
                              "CREATE VIEW chunk AS SELECT ino, 0 AS n, head AS data FROM inode"
                              " WHERE length(head) > 0 UNION ALL SELECT ino, n, data FROM body;"
                              "UPDATE meta SET format=2"),
                     0);
    sql_close(&sql);
}

void replica_open(const char *dir)
{
    struct store_options options;
    char why[STORE_WHY_BYTES] = "";
    if (dir != top)
        snprintf(top, sizeof(top), "%s", dir);
    harness_open_options(&options, top, false);
    if (store_open(&options, &store, why) != 0)
        fail_msg("%s", why);
}

static void put_many(const char *prefix, unsigned files, unsigned file_bytes)
{
    char name[32], *value = calloc(1, file_bytes + 1);
    memset(value, prefix[0], file_bytes);
    for (unsigned i = 0; i < files; i++) {
        snprintf(name, sizeof(name), "%s%u", prefix, i);
        assert_int_equal(do_put(ROOT, name, value), 0);
    }
    free(value);
}

static void make_old(unsigned files, unsigned file_bytes)
{
    do_put(ROOT, "gone", "of old");
    replica.gone_ino = result.attr.ino;
    do_put(ROOT, "kept", "before");
    replica.kept_ino = result.attr.ino;
    put_many("old", files, file_bytes);
    replica.old_entries = files + 2;
}

static int make_new(unsigned files, unsigned file_bytes)
{
    static const atomic_bool never;
    struct snapshot found[SNAPSHOT_KEPT];
    char why[STORE_WHY_BYTES];
    do_unlink(ROOT, "gone", root_user);
    do_put(ROOT, "kept", "after");
    do_unlink(ROOT, "old7", root_user);
    put_many("new", files, file_bytes);
    replica.new_entries = 2 * files;
    apply_bytes("members", 7, STORE_ENTRY_CONFIG);
    replica.fingerprint = fingerprint();
    snprintf(replica.dir, sizeof(replica.dir), "%s/s", top);
    snapshot_open_dir(replica.dir, found, why);
    int error = snapshot_take(store, replica.dir, &never, &replica.snapshot);
    snprintf(replica.file, sizeof(replica.file), "%s/%s", replica.dir, replica.snapshot.name);
    return error;
}

int replica_setup(unsigned files, unsigned file_bytes)
{
    char behind_top[] = "/tmp/raftfs-store-XXXXXX";
    if (harness_setup(NULL) || !mkdtemp(behind_top))
        return -1;
    make_old(files, file_bytes);
    store_close(store);
    replica_copy_store(top, behind_top);
    replica_open(top);
    int error = make_new(files, file_bytes);
    store_close(store);
    memcpy(ahead_top, top, sizeof(top));
    replica_open(behind_top);
    return error;
}

int replica_teardown(void **state)
{
    replica_remove_dir(ahead_top);
    return harness_teardown(state);
}

void replica_check_new(void)
{
    assert_int_equal(store_applied_index(store), replica.snapshot.index);
    assert_int_equal(store_applied_term(store), replica.snapshot.term);
    assert_int_equal(fingerprint(), replica.fingerprint);
    check_fingerprint();
    assert_int_equal(ino_of(ROOT, "gone"), 0);
    assert_string_equal(content_of(replica.kept_ino), "after");
}
