/* SPDX-License-Identifier: MIT */
/* .status, .leader and .raft: reading, polling, and what nobody may do to them. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "solo.h"

static void they_are_read_without_a_quorum(void **state)
{
    NEEDS_MOUNT(s);
    solo_fail_barriers(s, -ETIMEDOUT);
    assert_int_equal(solo_bash(s, "cat .leader; head -1 .status; cat .raft/members/node2; "
                                  "ls .raft .raft/members; stat -c '%s %A' .status .leader"),
                     0);
    assert_string_equal(s->out, "solo 127.0.0.1:8001\n"
                                "id: solo\n"
                                "127.0.0.1:8002 nonvoter\n"
                                ".raft:\nlocal\nmembers\nsnapshot\n\n"
                                ".raft/members:\nnode1\nnode2\n"
                                "4096 -r--r--r--\n4096 -rw-r--r--\n");
    solo_set_leader(s, "");
    assert_int_equal(solo_bash(s, "cat .leader"), 0);
    assert_string_equal(s->out, "");
}

static void they_answer_while_the_root_is_locked(void **state)
{
    NEEDS_MOUNT(s);
    solo_hold(s, true);
    struct solo_child *blocked = solo_start(s, "bash", "mkdir d; echo $?");
    solo_await_waiting(s, 1);
    assert_int_equal(solo_bash(s, "cat .leader .raft/members/node1; ls .raft/local"), 0);
    assert_string_equal(s->out, "solo 127.0.0.1:8001\n127.0.0.1:8001 voter\n");
    solo_hold(s, false);
    assert_string_equal(solo_hear(blocked), "0");
    solo_wait(blocked);
}

static void listing(void **state)
{
    NEEDS_MOUNT(s);
    assert_int_equal(solo_bash(s, "echo v > a; ls -A"), 0);
    assert_string_equal(s->out, ".leader\n.status\na\n");
}

static void nobody_changes_them(void **state)
{
    NEEDS_MOUNT(s);
    static const char script[] =
        "import errno, os\n"
        "def fails(with_, f, *args):\n"
        "    try: f(*args)\n"
        "    except OSError as e: assert e.errno == with_, (f, args, e)\n"
        "    else: assert False, (f, args)\n"
        "open('f', 'w').write('v')\n"
        "os.mkdir('d')\n"
        "for n in '.status', '.leader':\n"
        "    fails(errno.EPERM, os.unlink, n)\n"
        "    fails(errno.EPERM, os.rename, n, 'g')\n"
        "    fails(errno.EPERM, os.rename, 'f', n)\n"
        "    fails(errno.EPERM, os.chmod, n, 0)\n"
        "fails(errno.EACCES, os.open, '.status', os.O_WRONLY)\n"
        "fails(errno.EACCES, os.open, '.status', os.O_WRONLY | os.O_TRUNC)\n"
        "fails(errno.EACCES, os.truncate, '.status', 0)\n"
        "fails(errno.EPERM, os.unlink, '.raft/snapshot')\n"
        "fails(errno.EPERM, os.rmdir, '.raft')\n"
        "fails(errno.EPERM, os.rename, 'd', '.raft')\n"
        "fails(errno.EPERM, os.rmdir, '.raft/local')\n"
        "fails(errno.EPERM, os.mkdir, '.raft/x')\n"
        "fails(errno.EPERM, os.open, '.raft/x', os.O_WRONLY | os.O_CREAT)\n"
        "fails(errno.EPERM, os.symlink, 'x', '.raft/members/x')\n"
        "fails(errno.EPERM, os.rename, '.raft/members/node1', '.raft/members/x')\n"
        "fails(errno.EROFS, os.open, '.raft/local/f', os.O_WRONLY)\n"
        "fails(errno.EROFS, os.open, '.raft/local/g', os.O_WRONLY | os.O_CREAT)\n"
        "fails(errno.EROFS, os.unlink, '.raft/local/f')\n"
        "fails(errno.EROFS, os.mkdir, '.raft/local/x')\n"
        "fails(errno.EROFS, os.chmod, '.raft/local/f', 0)\n"
        "fails(errno.EROFS, os.rename, '.raft/local/f', '.raft/local/g')\n"
        "fails(errno.EROFS, os.mkfifo, '.raft/local/x')\n"
        "fails(errno.EPERM, os.mkfifo, 'fifo')\n"
        "fails(errno.EPERM, os.rename, '.raft/local/f', '.status')\n"
        "fails(errno.EACCES, os.open, '.status', os.O_RDONLY | os.O_TRUNC)\n"
        "fails(errno.EXDEV, os.rename, '.raft/local/f', 'g')\n"
        "fails(errno.EXDEV, os.rename, 'f', '.raft/local/g')\n"
        "fails(errno.EXDEV, os.link, '.raft/local/f', 'g')\n"
        "fails(errno.ENOENT, os.stat, '.raft/x')\n"
        "fails(errno.ENOENT, os.stat, '.raft/members/x')\n"
        "fails(errno.ENOENT, os.stat, '.raft/local/.status')\n"
        "assert os.stat('.raft/local/f').st_ino == os.stat('f').st_ino | 1 << 62\n";
    assert_int_equal(solo_python(s, script), 0);
    assert_string_equal(s->out, "");
}

static void a_text_is_not_torn(void **state)
{
    NEEDS_MOUNT(s);
    struct solo_child *child = solo_start(s, "python3",
                                          "import os, sys\n"
                                          "f = os.open('.leader', os.O_RDONLY)\n"
                                          "print(os.read(f, 4).decode(), flush=True)\n"
                                          "sys.stdin.readline()\n"
                                          "print(os.read(f, 99).decode().strip(), flush=True)\n"
                                          "print(os.pread(f, 99, 0).decode(), flush=True)\n");
    assert_string_equal(solo_hear(child), "solo");
    solo_set_leader(s, "other 127.0.0.1:9\n");
    solo_say(child, "");
    assert_string_equal(solo_hear(child), "127.0.0.1:8001");
    assert_string_equal(solo_hear(child), "other 127.0.0.1:9");
    assert_int_equal(solo_wait(child), 0);
}

static void poll_waits_for_a_change(void **state)
{
    NEEDS_MOUNT(s);
    struct solo_child *child =
        solo_start(s, "python3",
                   "import os, select\n"
                   "f = os.open('.leader', os.O_RDONLY)\n"
                   "p = select.poll()\n"
                   "p.register(f, select.POLLPRI | select.POLLERR)\n"
                   "assert p.poll(0)\n" /* not read yet */
                   "for i in range(3):\n"
                   "    print(os.pread(f, 99, 0).decode().strip(), p.poll(0), flush=True)\n"
                   "    assert p.poll() == [(f, select.POLLPRI | select.POLLERR)]\n"
                   "print('end', flush=True)\n");
    assert_string_equal(solo_hear(child), "solo 127.0.0.1:8001 []");
    solo_set_leader(s, "a a:1\n");
    assert_string_equal(solo_hear(child), "a a:1 []");
    solo_set_leader(s, "b b:1\n");
    assert_string_equal(solo_hear(child), "b b:1 []");
    solo_set_leader(s, "");
    assert_string_equal(solo_hear(child), "end");
    assert_int_equal(solo_wait(child), 0);
}

static void select_waits_too_and_files_are_always_ready(void **state)
{
    NEEDS_MOUNT(s);
    struct solo_child *child =
        solo_start(s, "python3",
                   "import os, select\n"
                   "a, b = os.open('.leader', os.O_RDONLY), os.open('.status', os.O_RDONLY)\n"
                   "os.read(a, 99); os.read(b, 9999)\n"
                   "print('waiting', flush=True)\n"
                   "assert select.select([], [], [a, b])[2]\n"
                   "f = os.open('f', os.O_RDWR | os.O_CREAT)\n"
                   "p = select.poll(); p.register(f)\n"
                   "assert p.poll() == [(f, select.POLLIN | select.POLLOUT)]\n");
    assert_string_equal(solo_hear(child), "waiting");
    solo_set_leader(s, "b b:1\n");
    assert_string_equal(solo_hear(child), "(end)");
    assert_int_equal(solo_wait(child), 0);
}

static void an_order_is_written(void **state)
{
    NEEDS_MOUNT(s);
    assert_int_equal(solo_bash(s, "echo node2 > .leader && cat .leader; "
                                  "printf node3 >> .leader && cat .leader; "
                                  "echo > .raft/snapshot && cat .raft/snapshot; "
                                  "truncate -s 0 .leader && cat .leader"),
                     0);
    assert_string_equal(s->out, "node2 somewhere:1\nnode3 somewhere:1\nindex: 1\n"
                                "node3 somewhere:1\n");
    assert_int_equal(solo_bash(s, "echo nobody > .leader"), 1);
    assert_non_null(strstr(s->out, "Invalid argument"));
    assert_int_equal(solo_bash(s, "echo > .leader"), 1);
    assert_non_null(strstr(s->out, "Invalid argument"));
    assert_int_equal(solo_dash(s, "echo node2 > .leader; cat .leader"), 0);
    assert_string_equal(s->out, "node2 somewhere:1\n");
}

static void members_are_ordered(void **state)
{
    NEEDS_MOUNT(s);
    assert_int_equal(solo_bash(s, "cd .raft/members; echo '127.0.0.1:9 voter' > node2 && cat "
                                  "node2; rm node2; ls; rm node2"),
                     1);
    assert_non_null(strstr(s->out, "127.0.0.1:9 voter\nnode1\n"));
    assert_non_null(strstr(s->out, "No such file"));
    assert_int_equal(solo_bash(s, "echo > .raft/members/node1"), 1);
    assert_non_null(strstr(s->out, "Invalid argument"));
}

static void a_member_is_made_by_what_is_written(void **state)
{
    NEEDS_MOUNT(s);
    static const char script[] = "import errno, os\n"
                                 "def fails(with_, f, *args):\n"
                                 "    try: f(*args)\n"
                                 "    except OSError as e: assert e.errno == with_, (f, args, e)\n"
                                 "    else: assert False, (f, args)\n"
                                 "os.chdir('.raft/members')\n"
                                 "new = os.O_WRONLY | os.O_CREAT | os.O_EXCL\n"
                                 "fails(errno.EEXIST, os.open, 'node2', new)\n"
                                 "os.unlink('node2')\n"
                                 "f = os.open('node2', new)\n"
                                 "assert os.fstat(f).st_size == 4096\n"
                                 "assert sorted(os.listdir('.')) == ['node1']\n"
                                 "os.close(f)\n" /* unwritten, it is nothing */
                                 "fails(errno.ENOENT, os.stat, 'node2')\n"
                                 "f = os.open('node2', new)\n"
                                 "os.write(f, b'127.0.0.1:9 voter\\n')\n"
                                 "assert sorted(os.listdir('.')) == ['node1', 'node2']\n"
                                 "os.write(f, b'voter\\n')\n"
                                 "os.close(f)\n"
                                 "assert open('node2').read() == 'voter\\n'\n"
                                 "f = os.open('node3', new)\n"
                                 "fails(errno.EHOSTUNREACH, os.write, f, b'127.0.0.1:9\\n')\n"
                                 "os.close(f)\n"
                                 "fails(errno.ENOENT, os.stat, 'node3')\n";
    assert_int_equal(solo_python(s, script), 0);
    assert_string_equal(s->out, "");
    assert_int_equal(solo_bash(s, "rm .raft/members/node2; echo host:1 > .raft/members/node2 && "
                                  "cat .raft/members/node2; echo h:1 > .raft/members/node3"),
                     1);
    assert_non_null(strstr(s->out, "host:1\n"));
    assert_non_null(strstr(s->out, "No route to host"));
}

static void one_who_waits_can_be_killed(void **state)
{
    NEEDS_MOUNT(s);
    struct solo_child *child = solo_start(s, "bash", "echo sleeper > .leader");
    solo_await_waiting(s, 1);
    assert_int_equal(kill(solo_pid(child), SIGKILL), 0);
    solo_wait(child); /* it ends only with the request */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_MOUNT(they_are_read_without_a_quorum),
        ON_A_MOUNT(they_answer_while_the_root_is_locked),
        ON_A_MOUNT(listing),
        ON_A_MOUNT(nobody_changes_them),
        ON_A_MOUNT(a_text_is_not_torn),
        ON_A_MOUNT(poll_waits_for_a_change),
        ON_A_MOUNT(an_order_is_written),
        ON_A_MOUNT(members_are_ordered),
        ON_A_MOUNT(a_member_is_made_by_what_is_written),
        ON_A_MOUNT(one_who_waits_can_be_killed),
        ON_A_MOUNT(select_waits_too_and_files_are_always_ready),
    };
    return cmocka_run_group_tests_name("special", tests, NULL, NULL);
}
