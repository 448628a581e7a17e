/* SPDX-License-Identifier: MIT */
/*
 * Deferred truncation and creation, as shells and others meet them. Every test says how many
 * commands were replicated, and which.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "solo.h"

static void expect(struct solo *s, unsigned n, enum command_op op, unsigned flags)
{
    struct solo_applied applied = solo_nth(s, n);
    assert_int_equal(applied.op, op);
    assert_int_equal(applied.flags, flags);
}

static void put(struct solo *s, const char *name, const char *value)
{
    solo_create_elsewhere(s, name, value);
    solo_forget(s);
}

/* ---- A shell's redirections ---- */

static void one_echo_is_one_command(void **state)
{
    NEEDS_MOUNT(s);
    int (*const shells[])(struct solo *, const char *) = {solo_bash, solo_dash};
    const char *scripts[] = {"echo one > bash; cat bash", "echo one > dash; cat dash"};
    const char *again[] = {"echo second > bash; cat bash", "echo second > dash; cat dash"};
    for (int i = 0; i < 2; i++) {
        solo_forget(s);
        assert_int_equal(shells[i](s, scripts[i]), 0);
        assert_string_equal(s->out, "one\n");
        assert_int_equal(solo_count(s), 1);
        expect(s, 0, COMMAND_CREATE, COMMAND_TRUNCATE | COMMAND_WITH_DATA);
        assert_int_equal(shells[i](s, again[i]), 0);
        assert_string_equal(s->out, "second\n");
        assert_int_equal(solo_count(s), 2);
        expect(s, 1, COMMAND_WRITE, COMMAND_TRUNCATE);
    }
}

static void appending_is_one_command(void **state)
{
    NEEDS_MOUNT(s);
    assert_int_equal(solo_bash(s, "echo one >> f"), 0);
    assert_int_equal(solo_bash(s, "echo two >> f"), 0);
    assert_string_equal(solo_value(s, "f"), "one\ntwo\n");
    assert_int_equal(solo_count(s), 2);
    expect(s, 0, COMMAND_CREATE, COMMAND_WITH_DATA | COMMAND_APPEND);
    expect(s, 1, COMMAND_WRITE, COMMAND_APPEND);
}

static void several_writes_truncate_once(void **state)
{
    NEEDS_MOUNT(s);
    put(s, "f", "a much longer value than the next\n");
    assert_int_equal(solo_bash(s, "{ echo one; echo two; echo three; } > f"), 0);
    assert_string_equal(solo_value(s, "f"), "one\ntwo\nthree\n");
    assert_int_equal(solo_count(s), 3);
    expect(s, 0, COMMAND_WRITE, COMMAND_TRUNCATE);
    expect(s, 1, COMMAND_WRITE, 0);
}

static void emptying_is_seen_by_the_next_command(void **state)
{
    NEEDS_MOUNT(s);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(solo_bash(s, "echo value > f; : > f; cat f; [ ! -s f ]"), 0);
        assert_string_equal(s->out, "");
    }
    solo_forget(s);
    assert_int_equal(solo_bash(s, "echo value > f; : > f; cat f"), 0);
    assert_int_equal(solo_count(s), 2);
    assert_int_equal(solo_nth(s, 1).op, COMMAND_SETATTR);
    assert_int_not_equal(solo_nth(s, 1).if_version, 0);
}

static void creating_an_empty_file_is_seen_by_the_next_command(void **state)
{
    NEEDS_MOUNT(s);
    assert_int_equal(solo_bash(s, "for i in 1 2 3 4 5 6 7 8 9; do : > f$i; ls f$i; done; "
                                  "mkdir d; : > d/x; ls d; rmdir d 2>/dev/null && echo gone"),
                     1);
    assert_string_equal(s->out, "f1\nf2\nf3\nf4\nf5\nf6\nf7\nf8\nf9\nx\n");
}

/* ---- Left unwritten ---- */

static void a_creation_left_unwritten_is_committed_alone(void **state)
{
    NEEDS_MOUNT(s);
    struct solo_child *child =
        solo_start(s, "python3",
                   "import os, sys\n"
                   "f = os.open('f', os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)\n"
                   "print(os.fstat(f).st_size, oct(os.fstat(f).st_mode), flush=True)\n"
                   "sys.stdin.readline()\n"
                   "os.write(f, b'late')\n");
    assert_string_equal(solo_hear(child), "0 0o100640");
    solo_await_count(s, 1);
    expect(s, 0, COMMAND_CREATE, COMMAND_TRUNCATE);
    solo_say(child, "");
    assert_int_equal(solo_wait(child), 0);
    assert_int_equal(solo_count(s), 2);
    expect(s, 1, COMMAND_WRITE, 0);
    assert_string_equal(solo_value(s, "f"), "late");
}

static void a_truncation_left_unwritten_is_committed_alone(void **state)
{
    NEEDS_MOUNT(s);
    put(s, "f", "value");
    struct solo_child *child = solo_start(s, "bash", "exec 3> f; echo open; read; echo late >&3");
    assert_string_equal(solo_hear(child), "open");
    assert_string_equal(solo_value(s, "f"), "value");
    solo_await_count(s, 1);
    assert_int_equal(solo_nth(s, 0).op, COMMAND_SETATTR);
    assert_int_equal(solo_bash(s, "cat f"), 0);
    assert_string_equal(s->out, "");
    solo_say(child, "");
    assert_int_equal(solo_wait(child), 0);
    assert_string_equal(solo_value(s, "f"), "late\n");
    expect(s, 1, COMMAND_WRITE, 0);
}

static void a_truncation_stays_hidden_from_others(void **state)
{
    NEEDS_MOUNT(s);
    put(s, "f", "value");
    solo_hold(s, true);
    struct solo_child *child = solo_start(s, "python3",
                                          "import os, sys\n"
                                          "f = os.open('f', os.O_WRONLY | os.O_TRUNC)\n"
                                          "print(os.lseek(f, 0, os.SEEK_END), flush=True)\n"
                                          "sys.stdin.readline()\n"
                                          "os.write(f, b'new')\n");
    assert_string_equal(solo_hear(child), "0"); /* who truncated it sees that */
    assert_int_equal(solo_bash(s, "cat f; stat -c ' %s' f"), 0);
    assert_string_equal(s->out, "value 5\n");
    solo_say(child, "");
    solo_hold(s, false);
    assert_int_equal(solo_wait(child), 0);
    assert_string_equal(solo_value(s, "f"), "new");
}

static void fsync_commits_what_is_pending(void **state)
{
    NEEDS_MOUNT(s);
    put(s, "f", "value");
    assert_int_equal(solo_python(s, "import os\n"
                                    "f = os.open('f', os.O_WRONLY | os.O_TRUNC)\n"
                                    "os.fsync(f)\n"
                                    "assert open('f').read() == ''\n"
                                    "os.fsync(f)\n"),
                     0);
    assert_string_equal(s->out, "");
    assert_int_equal(solo_count(s), 1);
}

static void closing_truncates_only_what_was_met(void **state)
{
    NEEDS_MOUNT(s);
    put(s, "f", "value");
    solo_hold(s, true);
    assert_int_equal(solo_bash(s, ": > f"), 0);
    solo_await_waiting(s, 1);
    solo_write_elsewhere(s, "f", "a later one");
    solo_hold(s, false);
    assert_int_equal(solo_bash(s, "cat f"), 0);
    assert_string_equal(s->out, "a later one");
    assert_int_equal(solo_count(s), 1);
}

/* A write that was held up for a second, behind the inode's lock say, is still a whole value. */
static void an_overtaken_truncation_is_kept_for_its_write(void **state)
{
    NEEDS_MOUNT(s);
    put(s, "f", "value");
    struct solo_child *child = solo_start(s, "bash", "exec 3> f; echo open; read; echo x >&3");
    assert_string_equal(solo_hear(child), "open");
    solo_write_elsewhere(s, "f", "a longer one");
    solo_await_count(s, 1);
    assert_string_equal(solo_value(s, "f"), "a longer one");
    solo_say(child, "");
    assert_int_equal(solo_wait(child), 0);
    assert_string_equal(solo_value(s, "f"), "x\n");
    expect(s, 1, COMMAND_WRITE, COMMAND_TRUNCATE);
}

/* close(2) does not wait for us, and the 20 ms after the open are long over. */
static void a_late_close_is_seen_by_the_next_command(void **state)
{
    NEEDS_MOUNT(s);
    put(s, "f", "value");
    assert_int_equal(solo_bash(s, "for i in 1 2 3 4 5; do echo value > f; exec 3> f; sleep 0.05; "
                                  "exec 3>&-; cat f; done"),
                     0);
    assert_string_equal(s->out, "");
}

/* ---- Others on the same inode ---- */

static void setattr_commits_a_creation_first(void **state)
{
    NEEDS_MOUNT(s);
    assert_int_equal(solo_python(s, "import os\n"
                                    "f = os.open('f', os.O_WRONLY | os.O_CREAT, 0o600)\n"
                                    "os.fchmod(f, 0o644)\n"
                                    "os.write(f, b'v')\n"
                                    "assert os.stat('f').st_mode & 0o7777 == 0o644\n"),
                     0);
    assert_int_equal(solo_count(s), 3);
    expect(s, 0, COMMAND_CREATE, 0);
    assert_int_equal(solo_nth(s, 1).op, COMMAND_SETATTR);
    expect(s, 2, COMMAND_WRITE, 0);
}

static void a_write_of_another_handle_comes_behind_the_truncation(void **state)
{
    NEEDS_MOUNT(s);
    put(s, "f", "value");
    assert_int_equal(solo_python(s, "import os\n"
                                    "a = os.open('f', os.O_WRONLY | os.O_TRUNC)\n"
                                    "b = os.open('f', os.O_WRONLY)\n"
                                    "os.write(b, b'12')\n"
                                    "os.write(a, b'3')\n"),
                     0);
    assert_string_equal(solo_value(s, "f"), "32");
    assert_int_equal(solo_count(s), 3);
    assert_int_equal(solo_nth(s, 0).op, COMMAND_SETATTR);
    expect(s, 1, COMMAND_WRITE, 0);
    expect(s, 2, COMMAND_WRITE, 0);
}

/* Two shells at once: each writes its value whole, and the last one stays; nobody sees neither. */
static void two_truncations_of_one_inode(void **state)
{
    NEEDS_MOUNT(s);
    put(s, "f", "value");
    solo_forget(s);
    assert_int_equal(solo_python(s, "import os\n"
                                    "a = os.open('f', os.O_WRONLY | os.O_TRUNC)\n"
                                    "b = os.open('f', os.O_WRONLY | os.O_TRUNC)\n"
                                    "os.write(b, b'12')\n"
                                    "os.write(a, b'3')\n"
                                    "os.close(a); os.close(b)\n"
                                    "assert open('f').read() == '3'\n"),
                     0);
    assert_string_equal(s->out, "");
    assert_int_equal(solo_count(s), 2);
}

static void readers_never_see_the_empty_file(void **state)
{
    NEEDS_MOUNT(s);
    put(s, "f", "0 0\n");
    struct solo_child *writer =
        solo_start(s, "bash", "for ((i = 1; i <= 300; i++)); do echo $i $i > f; done; echo done");
    assert_int_equal(solo_python(s, "v = ''\n"
                                    "while v != ['300', '300']:\n"
                                    "    v = open('f').read().split()\n"
                                    "    assert len(v) == 2 and v[0] == v[1], v\n"),
                     0);
    assert_string_equal(solo_hear(writer), "done");
    assert_int_equal(solo_wait(writer), 0);
    assert_int_equal(solo_count(s), 300);
}

static void another_node_made_the_name_first(void **state)
{
    NEEDS_MOUNT(s);
    solo_hold(s, true);
    struct solo_child *child = solo_start(s, "python3",
                                          "import os, sys\n"
                                          "f = os.open('f', os.O_WRONLY | os.O_CREAT)\n"
                                          "os.write(f, b'M')\n"
                                          "assert os.fstat(f).st_ino == os.stat('f').st_ino\n"
                                          "os.write(f, b'N')\n"
                                          "os.fchmod(f, 0o600)\n"
                                          "print('written', flush=True)\n"
                                          "sys.stdin.readline()\n"
                                          "print(os.fstat(f).st_nlink)\n"
                                          "os.write(f, b'O')\n"
                                          "print(os.fstat(f).st_size)\n");
    solo_await_waiting(s, 1);
    solo_create_elsewhere(s, "f", "theirs");
    solo_hold(s, false);
    assert_string_equal(solo_hear(child), "written");
    assert_string_equal(solo_value(s, "f"), "MNeirs");
    solo_unlink_elsewhere(s, "f"); /* and the alias goes on with the private copy */
    solo_say(child, "");
    assert_string_equal(solo_hear(child), "0");
    assert_string_equal(solo_hear(child), "6");
    assert_int_equal(solo_wait(child), 0);
    assert_string_equal(solo_value(s, "f"), "?");
}

/* ---- Failures ---- */

static void a_shell_reports_the_error_and_nothing_happened(void **state)
{
    NEEDS_MOUNT(s);
    put(s, "f", "value");
    solo_fail_changes(s, -EROFS);
    assert_int_equal(solo_bash(s, "echo new > f"), 1);
    assert_non_null(strstr(s->out, "write error: Read-only file system"));
    assert_int_equal(solo_dash(s, "echo new > g"), 1);
    solo_fail_changes(s, 0);
    assert_int_equal(solo_bash(s, "cat f; ls"), 0);
    assert_string_equal(s->out, "valuef\n");
    assert_int_equal(solo_count(s), 2); /* close dropped both */
}

static void the_next_write_carries_it_again(void **state)
{
    NEEDS_MOUNT(s);
    put(s, "f", "a long value");
    solo_fail_changes(s, -EROFS);
    const char *script = "import os, sys\n"
                         "f = os.open(sys.stdin.readline().strip(),\n"
                         "            os.O_WRONLY | os.O_CREAT | os.O_TRUNC)\n"
                         "try: os.write(f, b'1')\n"
                         "except OSError as e: print(e.strerror, flush=True)\n"
                         "sys.stdin.readline()\n"
                         "os.write(f, b'2')\n";
    const char *names[] = {"f", "g"};
    for (int i = 0; i < 2; i++) {
        solo_fail_changes(s, i ? -EROFS : -ETIMEDOUT);
        struct solo_child *child = solo_start(s, "python3", script);
        solo_say(child, names[i]);
        assert_string_equal(solo_hear(child), i ? "Read-only file system" : "Connection timed out");
        solo_fail_changes(s, 0);
        solo_say(child, "");
        assert_int_equal(solo_wait(child), 0);
        assert_string_equal(solo_value(s, names[i]), "2");
    }
    assert_int_equal(solo_count(s), 4);
}

static void nothing_is_committed_after_a_timeout(void **state)
{
    NEEDS_MOUNT(s);
    put(s, "f", "value");
    solo_fail_changes(s, -ETIMEDOUT);
    struct solo_child *child = solo_start(s, "bash", "echo new > f; read");
    solo_await_count(s, 1);
    solo_fail_changes(s, 0);
    solo_say(child, "");
    solo_wait(child);
    assert_int_equal(solo_bash(s, "cat f"), 0);
    assert_string_equal(s->out, "value");
    assert_int_equal(solo_count(s), 1);
}

static void only_a_fatal_signal_ends_a_write(void **state)
{
    NEEDS_MOUNT(s);
    put(s, "f", "value");
    const char *script = "import os, signal\n"
                         "signal.signal(signal.SIGUSR1, lambda *_: None)\n"
                         "f = os.open('f', os.O_WRONLY | os.O_TRUNC)\n"
                         "os.write(f, b'new')\n";
    solo_hold(s, true);
    struct solo_child *child = solo_start(s, "python3", script);
    solo_await_waiting(s, 1);
    kill(solo_pid(child), SIGUSR1);
    kill(solo_pid(child), SIGKILL);
    assert_int_equal(solo_wait(child), 128 + SIGKILL);
    assert_int_equal(solo_count(s), 1);
    assert_int_equal(solo_nth(s, 0).status, -EINTR);
    assert_string_equal(solo_value(s, "f"), "value");

    child = solo_start(s, "python3", script);
    solo_await_waiting(s, 1);
    kill(solo_pid(child), SIGUSR1);
    solo_hold(s, false);
    assert_int_equal(solo_wait(child), 0);
    assert_string_equal(solo_value(s, "f"), "new");
}

static void unmounting_commits_what_is_pending(void **state)
{
    NEEDS_MOUNT(s);
    put(s, "f", "value");
    struct solo_child *child = solo_start(s, "bash", "exec 3> f; echo open; read; echo x >&3");
    assert_string_equal(solo_hear(child), "open");
    solo_unmount(s);
    assert_string_equal(solo_value(s, "f"), "");
    solo_say(child, "");
    assert_non_null(strstr(solo_hear(child), "not connected"));
    assert_int_equal(solo_wait(child), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_MOUNT(one_echo_is_one_command),
        ON_A_MOUNT(appending_is_one_command),
        ON_A_MOUNT(several_writes_truncate_once),
        ON_A_MOUNT(emptying_is_seen_by_the_next_command),
        ON_A_MOUNT(creating_an_empty_file_is_seen_by_the_next_command),
        ON_A_MOUNT(a_creation_left_unwritten_is_committed_alone),
        ON_A_MOUNT(a_truncation_left_unwritten_is_committed_alone),
        ON_A_MOUNT(a_truncation_stays_hidden_from_others),
        ON_A_MOUNT(fsync_commits_what_is_pending),
        ON_A_MOUNT(closing_truncates_only_what_was_met),
        ON_A_MOUNT(an_overtaken_truncation_is_kept_for_its_write),
        ON_A_MOUNT(a_late_close_is_seen_by_the_next_command),
        ON_A_MOUNT(setattr_commits_a_creation_first),
        ON_A_MOUNT(a_write_of_another_handle_comes_behind_the_truncation),
        ON_A_MOUNT(two_truncations_of_one_inode),
        ON_A_MOUNT(readers_never_see_the_empty_file),
        ON_A_MOUNT(another_node_made_the_name_first),
        ON_A_MOUNT(a_shell_reports_the_error_and_nothing_happened),
        ON_A_MOUNT(the_next_write_carries_it_again),
        ON_A_MOUNT(nothing_is_committed_after_a_timeout),
        ON_A_MOUNT(only_a_fatal_signal_ends_a_write),
        ON_A_MOUNT(unmounting_commits_what_is_pending),
    };
    return cmocka_run_group_tests_name("deferred", tests, NULL, NULL);
}
