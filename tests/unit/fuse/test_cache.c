/* SPDX-License-Identifier: MIT */
/*
 * What the kernel keeps although reads are linearizable, and how few requests that leaves.
 *
 * Requests are counted by what libfuse logs of each with its option debug.
 */
#include <fuse_log.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "solo.h"

static atomic_uint root_getattrs;

static void count_request(enum fuse_log_level level, const char *format, va_list args)
{
    char line[256];
    (void)level;
    vsnprintf(line, sizeof(line), format, args);
    if (strstr(line, "opcode: GETATTR ") && strstr(line, "nodeid: 1,"))
        root_getattrs++;
}

static void mount_counted(struct solo *s)
{
    solo_unmount(s);
    solo_mount(s, "debug");
    fuse_set_log_func(count_request);
}

static unsigned counted(atomic_uint *counter)
{
    return atomic_exchange(counter, 0);
}

static void path_walks_do_not_ask_for_the_root(void **state)
{
    NEEDS_MOUNT(s);
    mount_counted(s);
    assert_int_equal(solo_bash(s, "echo new > f; : < f"), 0);
    assert_true(counted(&root_getattrs) > 0); /* they are counted */
    assert_int_equal(
        solo_bash(s, "for i in {1..100}; do echo $i > f; read x < f; [[ $x = $i ]] || exit; done"),
        0);
    assert_true(counted(&root_getattrs) < 10); /* the shell's own ways apart: none */
}

/* Prints the root's link count and a number that is another once its ctime is. */
static const char looker[] = "import os, sys\n"
                             "for line in sys.stdin:\n"
                             "    s = os.stat('.')\n"
                             "    print(s.st_nlink, s.st_ctime_ns, oct(s.st_mode), flush=True)\n";

static const char *look(struct solo_child *child)
{
    solo_say(child, "");
    return solo_hear(child);
}

static void the_root_shows_each_change_at_once(void **state)
{
    NEEDS_MOUNT(s);
    static const char script[] =
        "import os\n"
        "last = os.stat('.')\n"
        "def changed(links, mode=None):\n"
        "    global last\n"
        "    now = os.stat('.')\n"
        "    assert now.st_ctime_ns > last.st_ctime_ns, (k, last, now)\n"
        "    assert now.st_nlink == last.st_nlink + links, (k, last, now)\n"
        "    assert mode is None or now.st_mode & 0o7777 == mode, (k, last, now)\n"
        "    last = now\n"
        "for k in range(100):\n"
        "    os.mkdir('d')\n"
        "    changed(1)\n"
        "    f = os.open('f', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)\n"
        "    os.stat('.')\n"
        "    os.write(f, b'created by this')\n"
        "    changed(0)\n"
        "    os.close(f)\n"
        "    os.rename('f', 'd/f')\n"
        "    changed(0)\n"
        "    os.unlink('d/f')\n"
        "    os.rmdir('d')\n"
        "    changed(-1)\n"
        "    os.chmod('.', 0o700 + k % 8)\n"
        "    changed(0, 0o700 + k % 8)\n";
    int status = solo_python(s, script);
    if (status != 0)
        fail_msg("%s", s->out);
}

static void the_root_shows_what_others_change(void **state)
{
    NEEDS_MOUNT(s);
    struct solo_child *child = solo_start(s, "python3", looker);
    char before[128];
    for (int k = 0; k < 50; k++) {
        char name[16];
        snprintf(name, sizeof(name), "f%d", k);
        snprintf(before, sizeof(before), "%s", look(child));
        assert_string_equal(look(child), before);
        solo_create_elsewhere(s, name, "");
        assert_string_not_equal(look(child), before);
    }
    assert_int_equal(solo_wait(child), 0);
}

/* As after a snapshot: nobody has said what it changes. */
static void a_replaced_tree_has_another_root(void **state)
{
    NEEDS_MOUNT(s);
    struct solo_child *child = solo_start(s, "python3", looker);
    char before[128];
    snprintf(before, sizeof(before), "%s", look(child));
    struct mount *fs = s->fs;
    s->fs = NULL;
    solo_create_elsewhere(s, "f", "");
    s->fs = fs;
    assert_string_equal(look(child), before); /* the kernel has kept it */
    mount_tree_replaced(fs);
    assert_string_not_equal(look(child), before);
    assert_int_equal(solo_wait(child), 0);
}

/* ---- Barriers ---- */

/* Carries out what it is told, line by line. */
static const char doer[] = "import os, sys\n"
                           "print('ready', flush=True)\n"
                           "for line in sys.stdin:\n"
                           "    exec(line)\n"
                           "    print('done', flush=True)\n";

static struct solo_child *start_doer(struct solo *s)
{
    struct solo_child *child = solo_start(s, "python3", doer);
    assert_string_equal(solo_hear(child), "ready"); /* it has looked for its own files here */
    return child;
}

static unsigned barriers_of(struct solo *s, struct solo_child *child, const char *line)
{
    unsigned before = solo_barriers(s);
    solo_say(child, line);
    assert_string_equal(solo_hear(child), "done");
    return solo_barriers(s) - before;
}

/* Never less, and no more unless a thread was held up for so long that its look is too old. */
static void takes_barriers(struct solo *s, struct solo_child *child, const char *line,
                           unsigned want)
{
    unsigned count = barriers_of(s, child, line);
    for (int tries = 0; count > want && tries < 200; tries++)
        count = barriers_of(s, child, line);
    if (count != want)
        fail_msg("%s: %u barriers, not %u", line, count, want);
}

static void one_barrier_for_a_check_and_what_follows(void **state)
{
    NEEDS_MOUNT(s);
    assert_int_equal(solo_bash(s, "mkdir d; echo 1 > d/f; echo 1 > f"), 0);
    struct solo_child *child = start_doer(s);
    /* LOOKUP; GETATTR, OPEN */
    takes_barriers(s, child, "f = os.open('f', os.O_RDONLY)", 2);
    takes_barriers(s, child, "w = os.open('f', os.O_RDWR)", 2);
    /* LOOKUP; GETATTR, LOOKUP; GETATTR, OPEN */
    takes_barriers(s, child, "g = os.open('d/f', os.O_RDONLY)", 3);
    /* LOOKUP; GETATTR, OPENDIR */
    takes_barriers(s, child, "d = os.open('d', os.O_RDONLY)", 2);
    /* GETATTR, LOOKUP; GETATTR, OPEN */
    takes_barriers(s, child, "g = os.open('f', os.O_RDONLY, dir_fd=d)", 2);
    assert_int_equal(solo_wait(child), 0);
}

static void each_look_by_itself_has_its_barrier(void **state)
{
    NEEDS_MOUNT(s);
    assert_int_equal(solo_bash(s, "mkdir d; echo 1 > f"), 0);
    struct solo_child *child = start_doer(s);
    takes_barriers(s, child, "p = os.open('f', os.O_PATH)", 1);
    takes_barriers(s, child, "os.fstat(p)", 1);
    takes_barriers(s, child, "os.fstat(p)", 1);
    takes_barriers(s, child, "os.open(f'/proc/self/fd/{p}', os.O_RDONLY)", 1);
    takes_barriers(s, child, "os.open(f'/proc/self/fd/{p}', os.O_RDONLY)", 1);
    takes_barriers(s, child, "os.stat('f')", 2);
    takes_barriers(s, child, "os.open('f', os.O_RDONLY)", 2);
    /* Nobody waits for the root's attributes, so nothing may rely on them. */
    takes_barriers(s, child, "os.chmod('.', 0o700); os.stat('.')", 0);
    takes_barriers(s, child, "os.open('.', os.O_RDONLY)", 1);
    assert_int_equal(solo_wait(child), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_MOUNT(path_walks_do_not_ask_for_the_root),
        ON_A_MOUNT(the_root_shows_each_change_at_once),
        ON_A_MOUNT(the_root_shows_what_others_change),
        ON_A_MOUNT(a_replaced_tree_has_another_root),
        ON_A_MOUNT(one_barrier_for_a_check_and_what_follows),
        ON_A_MOUNT(each_look_by_itself_has_its_barrier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
