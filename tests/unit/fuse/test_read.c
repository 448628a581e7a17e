/* SPDX-License-Identifier: MIT */
/*
 * Reading: one version at a time, and what the page cache serves.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fuse/pins.h"
#include "solo.h"

/* Reads as it is told: "OFFSET BYTES" prints what is there; "-" reads on. */
static const char reader[] = "import os, sys\n"
                             "f = os.open('f', os.O_RDONLY)\n"
                             "print('open', flush=True)\n"
                             "for line in sys.stdin:\n"
                             "    at, n = line.split()\n"
                             "    if at != '-': os.lseek(f, int(at), 0)\n"
                             "    print('[' + os.read(f, int(n)).decode() + ']', flush=True)\n";

static const char *read_at(struct solo_child *child, const char *what)
{
    solo_say(child, what);
    return solo_hear(child);
}

static void a_reader_sees_one_version_until_end_of_file(void **state)
{
    NEEDS_MOUNT(s);
    solo_create_elsewhere(s, "f", "abcdef");
    struct solo_child *child = solo_start(s, "python3", reader);
    assert_string_equal(solo_hear(child), "open");
    assert_string_equal(read_at(child, "0 2"), "[ab]");
    solo_write_elsewhere(s, "f", "ABCDEFGHIJ");
    assert_string_equal(read_at(child, "- 2"), "[cd]");
    assert_string_equal(read_at(child, "- 9"), "[ef]");
    assert_string_equal(read_at(child, "- 9"), "[]");
    assert_string_equal(read_at(child, "- 9"), "[GHIJ]"); /* as tail -f wants it */
    assert_string_equal(read_at(child, "0 3"), "[ABC]");
    solo_write_elsewhere(s, "f", "x");
    assert_string_equal(read_at(child, "0 3"), "[x]"); /* starting over */
    solo_unlink_elsewhere(s, "f");
    assert_string_equal(read_at(child, "- 3"), "[]");
    assert_string_equal(read_at(child, "0 3"), "[x]"); /* the private copy */
    assert_int_equal(solo_wait(child), 0);
}

static void descriptors_keep_their_own_versions(void **state)
{
    NEEDS_MOUNT(s);
    solo_create_elsewhere(s, "f", "one one");
    struct solo_child *a = solo_start(s, "python3", reader);
    struct solo_child *b = solo_start(s, "python3", reader);
    solo_hear(a);
    solo_hear(b);
    assert_string_equal(read_at(a, "0 3"), "[one]");
    solo_write_elsewhere(s, "f", "two two");
    assert_string_equal(read_at(b, "0 3"), "[two]");
    solo_write_elsewhere(s, "f", "six six");
    assert_string_equal(read_at(a, "- 9"), "[ one]");
    assert_string_equal(read_at(b, "- 9"), "[ two]");
    assert_int_equal(solo_wait(a), 0);
    assert_int_equal(solo_wait(b), 0);
}

/* Without room for a copy a reader may fail, but never sees a mixture. */
static void a_version_without_a_copy_is_never_mixed(void **state)
{
    NEEDS_MOUNT(s);
    enum { VIEWS = PINS_MAX_BYTES / PINS_VALUE_BYTES };
    static struct view views[VIEWS + 1];
    struct pins pins;
    struct store_attr attr;
    char out[4];
    size_t got;
    assert_int_equal(
        solo_bash(s, "for i in {0..64}; do dd if=/dev/zero of=$i bs=1M count=1 status=none; done"),
        0);
    pins_init(&pins);
    for (int i = 0; i <= VIEWS; i++) {
        char name[16];
        int n = snprintf(name, sizeof(name), "%d", i);
        assert_int_equal(store_lookup(s->store, STORE_ROOT_INO, name, (size_t)n, &attr), 0);
        assert_int_equal(pins_read(&pins, &views[i], s->store, attr.ino, 0, sizeof(out), out, &got),
                         0);
        assert_int_equal(got, sizeof(out));
    }
    assert_int_equal(pins.bytes, PINS_MAX_BYTES);
    assert_null(views[VIEWS].pin);
    assert_int_equal(pins_read(&pins, &views[VIEWS], s->store, attr.ino, 4, 4, out, &got), 0);
    solo_write_elsewhere(s, "64", "new and short");
    assert_int_equal(pins_read(&pins, &views[VIEWS], s->store, attr.ino, 8, 4, out, &got), -ESTALE);
    for (int i = 0; i <= VIEWS; i++)
        pins_drop(&pins, &views[i]);
    assert_int_equal(pins.bytes, 0);
    pins_close(&pins);
}

/* What was found by LOOKUP and is replaced before OPEN must not end in ESTALE. */
static void a_file_replaced_in_a_loop_can_always_be_opened(void **state)
{
    NEEDS_MOUNT(s);
    assert_int_equal(solo_bash(s, "echo 0 > f"), 0);
    struct solo_child *writer = solo_start(
        s, "bash", "for ((i = 1; i <= 400; i++)); do echo $i > new; mv new f; done; echo done");
    assert_int_equal(solo_python(s, "v = ''\n"
                                    "while v != '400\\n':\n"
                                    "    v = open('f').read()\n"
                                    "    assert v\n"),
                     0);
    assert_string_equal(s->out, "");
    assert_string_equal(solo_hear(writer), "done");
    assert_int_equal(solo_wait(writer), 0);
}

static void large_files_and_maps(void **state)
{
    NEEDS_MOUNT(s);
    assert_int_equal(
        solo_python(s,
                    "import hashlib, mmap, os\n"
                    "data = os.urandom(3 * 1024 * 1024 + 17)\n"
                    "open('big', 'wb').write(data)\n"
                    "assert open('big', 'rb').read() == data\n"
                    "with open('big', 'rb') as f:\n"
                    "    m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)\n"
                    "    assert m[:] == data\n"
                    "with open('small', 'wb') as f: f.write(b'x' * 5000)\n"
                    "with open('small', 'rb') as f:\n"
                    "    m = mmap.mmap(f.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ)\n"
                    "    assert m[:] == b'x' * 5000\n"
                    "with open('small', 'r+b') as f:\n"
                    "    m = mmap.mmap(f.fileno(), 0)\n"
                    "    m[0:3] = b'abc'\n"
                    "    m.flush()\n"
                    "assert open('small', 'rb').read(4) == b'abcx'\n"
                    "a, b = os.open('small', os.O_RDONLY), os.open('copy', os.O_RDWR|os.O_CREAT)\n"
                    "assert os.sendfile(b, a, 0, 5000) == 5000\n"
                    "assert open('copy', 'rb').read() == b'abc' + b'x' * 4997\n"),
        0);
    assert_string_equal(s->out, "");
}

static void an_executable_runs(void **state)
{
    NEEDS_MOUNT(s);
    assert_int_equal(solo_bash(s, "cp /bin/true t && ./t && printf '#!/bin/sh\\necho hi\\n' > h && "
                                  "chmod +x h && ./h"),
                     0);
    assert_string_equal(s->out, "hi\n");
}

static void the_local_tree_reads_without_a_quorum(void **state)
{
    NEEDS_MOUNT(s);
    assert_int_equal(solo_bash(s, "mkdir d; echo v > d/f; ln -s f d/l"), 0);
    solo_fail_barriers(s, -ETIMEDOUT);
    assert_int_equal(solo_bash(s, "cat .raft/local/d/f .raft/local/d/l; ls .raft/local"), 0);
    assert_string_equal(s->out, "v\nv\nd\n");
    assert_int_equal(solo_bash(s, "cat d/f"), 1);
    assert_non_null(strstr(s->out, "timed out"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_MOUNT(a_reader_sees_one_version_until_end_of_file),
        ON_A_MOUNT(descriptors_keep_their_own_versions),
        ON_A_MOUNT(a_version_without_a_copy_is_never_mixed),
        ON_A_MOUNT(a_file_replaced_in_a_loop_can_always_be_opened),
        ON_A_MOUNT(large_files_and_maps),
        ON_A_MOUNT(an_executable_runs),
        ON_A_MOUNT(the_local_tree_reads_without_a_quorum),
    };
    return cmocka_run_group_tests_name("read", tests, NULL, NULL);
}
