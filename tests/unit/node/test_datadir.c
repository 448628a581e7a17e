/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/datadir.h"

static char top[64];
static char path[128];
static char why[DATADIR_WHY_BYTES];

static int setup(void **state)
{
    (void)state;
    snprintf(top, sizeof(top), "/tmp/raftfs-datadir-XXXXXX");
    if (!mkdtemp(top))
        return -1;
    snprintf(path, sizeof(path), "%s/a/b", top);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", top);
    return system(command);
}

static int open_as(struct datadir *dir, const char *name, bool joining)
{
    return datadir_open(dir, path, name, "127.0.0.1:8001", joining, why);
}

static void write_identity(const char *text)
{
    char file[160];
    mkdir(top, 0700);
    snprintf(file, sizeof(file), "%s/a", top);
    mkdir(file, 0700);
    mkdir(path, 0700);
    snprintf(file, sizeof(file), "%s/identity", path);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void a_new_directory_draws_an_identity_and_keeps_it(void **state)
{
    (void)state;
    struct datadir dir;
    assert_int_equal(open_as(&dir, "node1", false), 0);
    assert_true(dir.fresh);
    assert_int_equal(dir.state, DATADIR_FOUNDING);
    assert_true(dir.identity.id != 0 && dir.identity.cluster != 0);
    struct raft_net_identity first = dir.identity;
    dir.state = DATADIR_MEMBER;
    assert_int_equal(datadir_save(&dir), 0);
    datadir_close(&dir);

    assert_int_equal(open_as(&dir, "node1", true), 0);
    assert_false(dir.fresh);
    assert_int_equal(dir.state, DATADIR_MEMBER);
    assert_memory_equal(&dir.identity, &first, sizeof(first));
    datadir_close(&dir);
}

static void a_joining_directory_has_no_cluster_and_stays_joining(void **state)
{
    (void)state;
    struct datadir dir;
    assert_int_equal(open_as(&dir, "node2", true), 0);
    assert_int_equal(dir.identity.cluster, 0);
    datadir_close(&dir);
    assert_int_equal(open_as(&dir, "node2", false), 0);
    assert_int_equal(dir.state, DATADIR_JOINING);
    datadir_close(&dir);
}

static void another_nodes_directory_is_refused(void **state)
{
    (void)state;
    struct datadir dir;
    assert_int_equal(open_as(&dir, "node1", false), 0);
    datadir_close(&dir);
    assert_int_equal(open_as(&dir, "node2", false), -EEXIST);
    assert_non_null(strstr(why, "belongs to node node1"));
}

static void a_directory_in_use_is_refused(void **state)
{
    (void)state;
    struct datadir dir, other;
    assert_int_equal(open_as(&dir, "node1", false), 0);
    assert_int_equal(open_as(&other, "node1", false), -EBUSY);
    assert_non_null(strstr(why, "in use"));
    datadir_close(&dir);
    assert_int_equal(open_as(&other, "node1", false), 0);
    datadir_close(&other);
}

static void a_newer_format_is_refused(void **state)
{
    (void)state;
    struct datadir dir;
    write_identity("raftfs 2\nname node1\n");
    assert_int_equal(open_as(&dir, "node1", false), -EPROTO);
    assert_non_null(strstr(why, "newer"));
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "hello\n",
        "raftfs 1\nname node1\naddress a:1\ncluster 1\nincarnation 0\nstate member\nboot 1\n",
        "raftfs 1\nname node1\naddress a:1\ncluster 1\nincarnation 1\nstate chief\n",
        "raftfs 1\nname node1\naddress a:1\ncluster 1\nincarnation 1\nstate member\nboot 1",
        "raftfs 1\nname node1\naddress a:1\ncluster 1\nincarnation 1\nstate member\nboot 1\nmore\n",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct datadir dir;
        write_identity(texts[i]);
        assert_int_equal(open_as(&dir, "node1", false), -EUCLEAN);
        assert_non_null(strstr(why, "identity"));
    }
}

static void clearing_takes_log_and_store_alone(void **state)
{
    (void)state;
    struct datadir dir;
    char file[160];
    assert_int_equal(open_as(&dir, "node1", false), 0);
    snprintf(file, sizeof(file), "%s/log", path);
    mkdir(file, 0700);
    snprintf(file, sizeof(file), "%s/log/1.seg", path);
    close(open(file, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(datadir_clear(&dir), 0);
    assert_int_equal(access(file, F_OK), -1);
    snprintf(file, sizeof(file), "%s/identity", path);
    assert_int_equal(access(file, F_OK), 0);
    datadir_close(&dir);
}

static void peers_are_kept(void **state)
{
    (void)state;
    struct datadir dir;
    assert_int_equal(open_as(&dir, "node1", true), 0);
    assert_string_equal(dir.peers, "");
    memset(dir.peers, 'a', sizeof(dir.peers) - 1);
    assert_int_equal(datadir_save(&dir), 0);
    datadir_close(&dir);
    assert_int_equal(open_as(&dir, "node1", true), 0);
    assert_int_equal(strlen(dir.peers), sizeof(dir.peers) - 1);
    dir.peers[0] = '\0';
    assert_int_equal(datadir_save(&dir), 0);
    datadir_close(&dir);
    assert_int_equal(open_as(&dir, "node1", true), 0);
    assert_string_equal(dir.peers, "");
    datadir_close(&dir);
}

static void make_file(const char *name)
{
    char file[192];
    snprintf(file, sizeof(file), "%s/%s", path, name);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fclose(f);
}

static bool exists(const char *name)
{
    char file[192];
    snprintf(file, sizeof(file), "%s/%s", path, name);
    return access(file, F_OK) == 0;
}

static void starting_over_sets_all_aside_and_joins(void **state)
{
    (void)state;
    struct datadir dir;
    char aside[DATADIR_PATH_BYTES];
    assert_int_equal(open_as(&dir, "node1", false), 0);
    uint64_t before = dir.identity.id, after = datadir_draw();
    assert_true(after != 0 && after != before);
    snprintf(dir.peers, sizeof(dir.peers), "h:1,h:2");
    dir.state = DATADIR_MEMBER;
    assert_int_equal(datadir_save(&dir), 0);
    make_file("store.db");
    make_file("store.db-wal");
    make_file("log"); /* as good as a directory */
    make_file("other");
    assert_int_equal(datadir_start_over(&dir, after, aside), 0);
    assert_non_null(strstr(aside, "/corrupt-1"));
    assert_true(exists("corrupt-1/store.db") && exists("corrupt-1/store.db-wal") &&
                exists("corrupt-1/log") && exists("corrupt-1/identity"));
    assert_false(exists("store.db") || exists("store.db-wal") || exists("log"));
    assert_true(exists("other"));
    datadir_close(&dir);
    assert_int_equal(open_as(&dir, "node1", false), 0);
    assert_int_equal(dir.identity.id, after);
    assert_int_equal(dir.state, DATADIR_JOINING);
    assert_int_equal(dir.boot, 2);
    assert_string_equal(dir.peers, "h:1,h:2");
    make_file("store.db"); /* and again */
    assert_int_equal(datadir_start_over(&dir, datadir_draw(), aside), 0);
    assert_true(exists("corrupt-2/store.db") && exists("corrupt-1/store.db"));
    datadir_close(&dir);
}

static void a_lost_identity_is_not_replaced(void **state)
{
    (void)state;
    struct datadir dir;
    char file[192];
    assert_int_equal(open_as(&dir, "node1", false), 0);
    datadir_close(&dir);
    make_file("store.db");
    snprintf(file, sizeof(file), "%s/identity", path);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(open_as(&dir, "node1", false), -EUCLEAN);
    assert_non_null(strstr(why, "no identity"));
    assert_int_equal(open_as(&dir, "node1", true), -EUCLEAN);
    assert_true(exists("store.db"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_new_directory_draws_an_identity_and_keeps_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_joining_directory_has_no_cluster_and_stays_joining, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(another_nodes_directory_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_in_use_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_newer_format_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(nonsense_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(peers_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(starting_over_sets_all_aside_and_joins, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_identity_is_not_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(clearing_takes_log_and_store_alone, setup, teardown),
    };
    return cmocka_run_group_tests_name("datadir", tests, NULL, NULL);
}
