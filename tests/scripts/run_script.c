/* SPDX-License-Identifier: MIT */
/*
 * run_script.c - runs scripts and compares what happens with what they expect.
 *
 *     run-script [--rewrite] FILE|FOLDER...
 *
 * A script is lines: `# ...` and blank ones are for the reader, `> ...` is a command, and indented
 * ones after it are what it is expected to print. The first difference of each file is shown with
 * what stands around it; --rewrite puts what happened in the place of what was expected. A broken
 * invariant or a command that makes no sense fails either way.
 */
#include <glob.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "script.h"

/* What runs, for the last words of a process that the core's assertions end. */
static char running[1024];

static void last_words(int sig)
{
    ssize_t ignored = write(STDERR_FILENO, running, strlen(running));
    (void)ignored;
    signal(sig, SIG_DFL);
    raise(sig);
}

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return NULL;
    char *text = NULL;
    size_t bytes = 0;
    if (getdelim(&text, &bytes, '\0', f) < 0) {
        free(text);
        text = NULL;
    }
    fclose(f);
    return text;
}

static bool is_output(const char *line)
{
    return line[0] == ' ';
}

/* The script with what really happens as its expected text; NULL if it cannot be run. */
static char *play(const char *path, const char *text)
{
    char *out;
    size_t bytes;
    FILE *stream = open_memstream(&out, &bytes);
    struct script *s = script_new(stream);
    const char *wrong = NULL;
    uint32_t number = 1;
    for (const char *at = text; *at && !wrong; number++) {
        size_t length = strcspn(at, "\n");
        char line[512];
        snprintf(line, sizeof(line), "%.*s", (int)length, at);
        at += length + (at[length] == '\n');
        if (is_output(line))
            continue;
        fprintf(stream, "%s\n", line);
        if (line[0] == '>') {
            snprintf(running, sizeof(running), "%s:%u: died in: %s\n", path, number, line);
            wrong = script_run(s, line + 1);
        } else if (line[0] && line[0] != '#') {
            wrong = "neither a command (>), a comment (#) nor expected text (indented)";
        }
        if (wrong)
            fprintf(stderr, "%s:%u: %s\n    %s\n", path, number, line, wrong);
    }
    bool broken = s->broken;
    script_free(s);
    fclose(stream);
    if (broken) {
        const char *what = strstr(out, "BROKEN");
        fprintf(stderr, "%s: %.*s\n", path, (int)strcspn(what ? what : "", "\n"), what ? what : "");
    }
    if (wrong) {
        free(out);
        return NULL;
    }
    return out;
}

static void show_difference(const char *path, const char *expected, const char *got)
{
    const char *command = expected;
    uint32_t number = 1;
    size_t a = 0, b = 0;
    while (*expected && (a = strcspn(expected, "\n")) == (b = strcspn(got, "\n")) &&
           memcmp(expected, got, a) == 0) {
        if (*expected == '>')
            command = expected;
        expected += a + (expected[a] == '\n');
        got += b + (got[b] == '\n');
        number++;
    }
    a = strcspn(expected, "\n");
    b = strcspn(got, "\n");
    fprintf(stderr, "%s:%u: after %.*s\n    expected: %.*s\n    happened: %.*s\n", path, number,
            (int)strcspn(command, "\n"), command, (int)a, a ? expected : "(nothing)", (int)b,
            b ? got : "(nothing)");
}

static bool rewrite_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    return f && fputs(text, f) >= 0 && fclose(f) == 0;
}

/* Whether the script does what it expects (or was rewritten to). */
static bool check(const char *path, bool rewrite)
{
    char *text = read_file(path);
    if (!text) {
        fprintf(stderr, "%s: cannot be read, or is empty\n", path);
        return false;
    }
    char *got = play(path, text);
    bool ok = got && !strstr(got, "BROKEN");
    if (got && strcmp(got, text) != 0) {
        if (rewrite)
            ok = rewrite_file(path, got) && ok;
        else
            show_difference(path, text, got);
        ok = ok && rewrite;
    }
    free(got);
    free(text);
    return ok;
}

/* A script, or all that are in a folder; the number of those that failed. */
static unsigned check_all(const char *path, bool rewrite, unsigned *count)
{
    char pattern[4096];
    unsigned failed = 0;
    glob_t found;
    snprintf(pattern, sizeof(pattern), "%s/*.txt", path);
    if (glob(pattern, 0, NULL, &found) != 0) {
        ++*count;
        return !check(path, rewrite);
    }
    for (size_t i = 0; i < found.gl_pathc; i++)
        failed += !check(found.gl_pathv[i], rewrite);
    *count += (unsigned)found.gl_pathc;
    globfree(&found);
    return failed;
}

int main(int argc, char **argv)
{
    bool rewrite = argc > 1 && strcmp(argv[1], "--rewrite") == 0;
    int first = rewrite ? 2 : 1;
    unsigned count = 0, failed = 0;
    if (first >= argc) {
        fprintf(stderr, "usage: run-script [--rewrite] FILE|FOLDER...\n");
        return 2;
    }
    signal(SIGABRT, last_words);
    for (int i = first; i < argc; i++)
        failed += check_all(argv[i], rewrite, &count);
    printf("%u scripts, %u failed\n", count, failed);
    return failed != 0;
}
