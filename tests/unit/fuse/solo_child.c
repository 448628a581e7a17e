/* SPDX-License-Identifier: MIT */
/* solo_child.c - the processes of a test on its mount: this one must not wait for its own mount. */
#include "solo.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

extern char **environ;

struct solo_child {
    pid_t pid;
    FILE *to;
    FILE *from;
    char line[512];
};

struct solo_child *solo_start(struct solo *s, const char *interpreter, const char *script)
{
    static const char prefix[] = "cd \"$1\" || exit 99; shift; exec \"$@\" 2>&1";
    int to[2], from[2];
    assert_int_equal(pipe2(to, O_CLOEXEC), 0);
    assert_int_equal(pipe2(from, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to[0], 0);
    posix_spawn_file_actions_adddup2(&actions, from[1], 1);
    const char *words[] = {"sh", "-c", prefix, "sh", s->mount, interpreter, "-c", script, NULL};
    char *argv[sizeof(words) / sizeof(words[0])]; /* exec's type is older than const */
    memcpy(argv, words, sizeof(argv));
    struct solo_child *child = calloc(1, sizeof(*child));
    assert_int_equal(posix_spawn(&child->pid, "/bin/sh", &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(to[0]);
    close(from[1]);
    child->to = fdopen(to[1], "w");
    child->from = fdopen(from[0], "r");
    return child;
}

void solo_say(struct solo_child *child, const char *line)
{
    fprintf(child->to, "%s\n", line);
    fflush(child->to);
}

const char *solo_hear(struct solo_child *child)
{
    if (!fgets(child->line, sizeof(child->line), child->from))
        return "(end)";
    child->line[strcspn(child->line, "\n")] = '\0';
    return child->line;
}

pid_t solo_pid(struct solo_child *child)
{
    return child->pid;
}

int solo_wait(struct solo_child *child)
{
    int status;
    fclose(child->to);
    while (waitpid(child->pid, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    fclose(child->from);
    free(child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run(struct solo *s, const char *interpreter, const char *script)
{
    struct solo_child *child = solo_start(s, interpreter, script);
    size_t n = fread(s->out, 1, sizeof(s->out) - 1, child->from);
    s->out[n] = '\0';
    return solo_wait(child);
}

int solo_bash(struct solo *s, const char *script)
{
    return run(s, "bash", script);
}

int solo_dash(struct solo *s, const char *script)
{
    return run(s, "dash", script);
}

int solo_python(struct solo *s, const char *script)
{
    return run(s, "python3", script);
}
