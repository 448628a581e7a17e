/* SPDX-License-Identifier: MIT */
/*
 * The workers: one of them attends, the others come when they are needed, and no answer is lost.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "fuse/mount_state.h"
#include "solo.h"

/* Reads a special file, which waits for nobody, for each line. */
static const char asker[] = "while read; do cat .status > /dev/null && echo answered; done";

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* ---- Looking in ---- */

struct count {
    unsigned attending, parked, serving;
};

static struct count look_in(struct solo *s)
{
    struct mount *fs = s->fs;
    struct workers *w = &fs->workers;
    pthread_mutex_lock(&w->lock);
    struct count count = {.attending = w->attending, .parked = w->parked};
    bool overcalled = w->called > w->parked;
    pthread_mutex_unlock(&w->lock);
    count.serving = WORKERS - count.attending - count.parked;
    assert_true(count.serving <= WORKERS && !overcalled);
    assert_true(count.attending > 0 || count.serving > 0); /* a request would find nobody */
    return count;
}

/* Who has been called goes with the next requests, but for one, and another in a crowd. */
static void are_parked_again(struct solo *s)
{
    struct solo_child *child = solo_start(s, "bash", asker);
    struct count count;
    do {
        solo_say(child, "");
        assert_string_equal(solo_hear(child), "answered");
        count = look_in(s);
    } while (count.parked < WORKERS - 2 || count.serving > 0);
    assert_int_equal(solo_wait(child), 0);
}

/* ---- Requests that hold up who serves them ---- */

static struct solo_child *start_reader(struct solo *s, unsigned k)
{
    char script[32];
    snprintf(script, sizeof(script), "cat f%u", k);
    return solo_start(s, "bash", script);
}

static void hears_the_value(struct solo_child *child)
{
    assert_string_equal(solo_hear(child), "value");
    assert_int_equal(solo_wait(child), 0);
}

static void others_are_served_beside(struct solo *s, unsigned stuck)
{
    struct solo_child *readers[WORKERS];
    solo_block(s, true);
    for (unsigned k = 0; k < stuck; k++) {
        readers[k] = start_reader(s, k);
        solo_await_blocked(s, k + 1);
    }
    for (int k = 0; k < 3 && stuck < WORKERS; k++)
        assert_int_equal(solo_bash(s, "cat .status .leader"), 0);
    assert_true(look_in(s).serving >= stuck);
    solo_block(s, false);
    for (unsigned k = 0; k < stuck; k++)
        hears_the_value(readers[k]);
    are_parked_again(s);
}

static void make_files(struct solo *s)
{
    for (unsigned k = 0; k < WORKERS; k++) {
        char name[16];
        snprintf(name, sizeof(name), "f%u", k);
        solo_create_elsewhere(s, name, "value\n");
    }
}

static void remount(struct solo *s, bool no_spin)
{
    solo_unmount(s);
    s->no_spin = no_spin;
    solo_mount(s, "");
}

static void one_that_is_stuck_holds_up_nobody(void **state)
{
    NEEDS_MOUNT(s);
    make_files(s);
    for (unsigned stuck = 1; stuck <= WORKERS; stuck++)
        others_are_served_beside(s, stuck);
    remount(s, true);
    for (unsigned stuck = 1; stuck <= WORKERS; stuck++)
        others_are_served_beside(s, stuck);
}

/* As many wait as there are workers: who comes then is served when one of them is free. */
static void more_than_can_be_served_wait(void **state)
{
    NEEDS_MOUNT(s);
    make_files(s);
    struct solo_child *readers[2 * WORKERS];
    solo_block(s, true);
    for (unsigned k = 0; k < 2 * WORKERS; k++)
        readers[k] = start_reader(s, k % WORKERS);
    solo_await_blocked(s, WORKERS);
    struct solo_child *child = solo_start(s, "bash", asker);
    solo_say(child, "");
    solo_block(s, false);
    assert_string_equal(solo_hear(child), "answered");
    assert_int_equal(solo_wait(child), 0);
    for (unsigned k = 0; k < 2 * WORKERS; k++)
        hears_the_value(readers[k]);
    are_parked_again(s);
}

/* ---- When nothing comes ---- */

/* Grows whenever one of the workers runs. */
static unsigned long long activity(void)
{
    unsigned long long sum = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (struct dirent *task; (task = readdir(tasks));) {
        unsigned long long count;
        char path[300], line[128] = "";
        snprintf(path, sizeof(path), "/proc/self/task/%s/status", task->d_name);
        FILE *status = fopen(path, "r");
        bool is_worker =
            status && fgets(line, sizeof(line), status) && strcmp(line, "Name:\tfuse\n") == 0;
        while (is_worker && fgets(line, sizeof(line), status))
            if (sscanf(line, "voluntary_ctxt_switches: %llu", &count) == 1)
                sum += count;
        if (status)
            fclose(status);
        snprintf(path, sizeof(path), "/proc/self/task/%s/schedstat", task->d_name);
        FILE *run_ns = is_worker ? fopen(path, "r") : NULL;
        if (run_ns && fscanf(run_ns, "%llu", &count) == 1)
            sum += count;
        if (run_ns)
            fclose(run_ns);
    }
    closedir(tasks);
    return sum;
}

static void they_all_sleep(struct solo *s)
{
    unsigned long long before, after = activity();
    assert_true(after > 0);
    do {
        before = after;
        pause_ms(100);
        after = activity();
    } while (after != before);
    look_in(s);
}

static void they_sleep_when_nothing_comes(void **state)
{
    NEEDS_MOUNT(s);
    they_all_sleep(s);
    assert_int_equal(solo_bash(s, "cat .status; echo 1 > f; echo 2 > f"), 0);
    they_all_sleep(s);
    assert_int_equal(solo_bash(s, "cat f"), 0);
    assert_string_equal(s->out, "2\n");
}

/* ---- When much comes ---- */

static void many_callers_have_several(void **state)
{
    NEEDS_MOUNT(s);
    enum { CALLERS = 2 * WORKERS };
    struct solo_child *callers[CALLERS];
    for (int k = 0; k < CALLERS; k++)
        callers[k] = solo_start(s, "bash", "while :; do read -r line < .status; done");
    while (look_in(s).parked > WORKERS - 2)
        pause_ms(1);
    for (int k = 0; k < CALLERS; k++) {
        kill(solo_pid(callers[k]), SIGKILL);
        assert_int_equal(solo_wait(callers[k]), 128 + SIGKILL);
    }
    are_parked_again(s);
    they_all_sleep(s);
}

/* ---- Answers that others have ---- */

/* Writes and reads again and again; the changes are answered on a thread that is no worker's. */
static void every_answer_arrives(struct solo *s)
{
    enum { CALLERS = 3 };
    struct solo_child *callers[CALLERS];
    for (int k = 0; k < CALLERS; k++) {
        char script[256];
        snprintf(script, sizeof(script),
                 "for i in range(150):\n"
                 "    with open('w%d', 'w') as f: f.write(f'{i}')\n"
                 "    with open('w%d') as f: v = f.read()\n"
                 "    assert v == f'{i}', (v, i)\n"
                 "print('done')\n",
                 k, k);
        callers[k] = solo_start(s, "python3", script);
    }
    for (int k = 0; k < CALLERS; k++) {
        assert_string_equal(solo_hear(callers[k]), "done");
        assert_int_equal(solo_wait(callers[k]), 0);
    }
    are_parked_again(s);
}

static void answers_from_elsewhere_arrive(void **state)
{
    NEEDS_MOUNT(s);
    every_answer_arrives(s);
    remount(s, true);
    every_answer_arrives(s);
}

/* One who does nothing else: then there is always a worker to take the answer over. */
static void a_lone_writer_gets_each_answer(void **state)
{
    NEEDS_MOUNT(s);
    assert_int_equal(solo_python(s, "import os\n"
                                    "f = os.open('f', os.O_WRONLY | os.O_CREAT)\n"
                                    "for i in range(1000):\n"
                                    "    assert os.pwrite(f, b'%04d' % i, 0) == 4\n"),
                     0);
    assert_string_equal(s->out, "");
    assert_string_equal(solo_value(s, "f"), "0999");
    they_all_sleep(s);
}

/* ---- The end ---- */

static unsigned lines_of(const char *text)
{
    unsigned count = 0;
    for (; *text; text++)
        count += *text == '\n';
    return count;
}

/* What was acknowledged is there, and nothing else but perhaps what was on its way. */
static void unmount_among_writers(struct solo *s, unsigned round)
{
    enum { WRITERS = 3 };
    struct solo_child *writers[WRITERS];
    char script[160], name[16];
    solo_forget(s);
    for (unsigned k = 0; k < WRITERS; k++) {
        snprintf(name, sizeof(name), "%u-%u", round, k);
        solo_create_elsewhere(s, name, ""); /* a mount numbers what it makes anew */
        snprintf(script, sizeof(script),
                 "for ((i = 0; i < 200; i++)); do echo $i >> %u-%u || break; done 2> /dev/null; "
                 "echo $i",
                 round, k);
        writers[k] = solo_start(s, "bash", script);
    }
    solo_await_count(s, 20 + round);
    solo_unmount(s);
    for (unsigned k = 0; k < WRITERS; k++) {
        unsigned acknowledged = (unsigned)strtoul(solo_hear(writers[k]), NULL, 10);
        solo_wait(writers[k]);
        snprintf(name, sizeof(name), "%u-%u", round, k);
        unsigned lines = lines_of(solo_value(s, name));
        assert_in_range(lines, acknowledged, acknowledged + 1);
    }
}

static void unmounting_loses_no_answer(void **state)
{
    NEEDS_MOUNT(s);
    for (unsigned round = 0; round < 6; round++) {
        s->no_spin = round % 3 == 2;
        if (round > 0)
            solo_mount(s, "");
        unmount_among_writers(s, round);
    }
}

static void *unmount(void *solo)
{
    solo_unmount(solo);
    return NULL;
}

/* Nobody serves any more when they come, but who asked still waits. */
static void unmounting_waits_for_answers(void **state)
{
    NEEDS_MOUNT(s);
    pthread_t unmounter;
    make_files(s);
    solo_hold(s, true);
    struct solo_child *writer = solo_start(s, "bash", "echo new > f1; echo $?");
    solo_await_waiting(s, 1);
    solo_block(s, true);
    struct solo_child *reader = solo_start(s, "bash", "stat -c %s f0");
    solo_await_blocked(s, 1);
    assert_int_equal(pthread_create(&unmounter, NULL, unmount, s), 0);
    struct mount *fs = s->fs;
    while (!fs->workers.leaving)
        pause_ms(1);
    solo_block(s, false);
    solo_hold(s, false);
    pthread_join(unmounter, NULL);
    assert_string_equal(solo_hear(writer), "0");
    solo_wait(writer);
    solo_wait(reader);
    assert_string_equal(solo_value(s, "f1"), "new\n");
}

/* As /sys/fs/fuse/connections/N/abort does: the one who attends sees it, though another is stuck.
 */
static void a_session_that_is_cut_off_is_noticed(void **state)
{
    NEEDS_MOUNT(s);
    if (geteuid() != 0)
        skip();
    make_files(s);
    solo_block(s, true);
    struct solo_child *reader = start_reader(s, 0);
    solo_await_blocked(s, 1);
    umount2(s->mount, MNT_FORCE); /* it is busy, and aborted */
    assert_true(solo_was_unmounted(s));
    solo_block(s, false);
    solo_unmount(s);
    umount2(s->mount, MNT_DETACH);
    solo_wait(reader);
}

/* ---- Where they may run ---- */

/* All the threads of this process that serve may run where `want` says. */
static void may_run_on(const cpu_set_t *want)
{
    unsigned workers = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (struct dirent *task; (task = readdir(tasks));) {
        char path[300], name[32] = "";
        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", task->d_name);
        FILE *comm = fopen(path, "r");
        if (comm && fgets(name, sizeof(name), comm) && strcmp(name, "fuse\n") == 0) {
            cpu_set_t allowed;
            workers++;
            assert_int_equal(sched_getaffinity(atoi(task->d_name), sizeof(allowed), &allowed), 0);
            assert_true(CPU_EQUAL(&allowed, want));
        }
        if (comm)
            fclose(comm);
    }
    closedir(tasks);
    assert_int_equal(workers, WORKERS);
}

/* They follow their callers, within what they are allowed, and it stays allowed. */
static void they_keep_their_affinity(void **state)
{
    NEEDS_MOUNT(s);
    static const char script[] = "import os\n"
                                 "for i in range(300): os.stat('f0')\n";
    cpu_set_t all, one;
    make_files(s);
    assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
    assert_int_equal(solo_python(s, script), 0);
    are_parked_again(s); /* nobody is on his way to another processor */
    may_run_on(&all);
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0); /* which the workers inherit */
    remount(s, false);
    assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
    assert_int_equal(solo_python(s, script), 0);
    every_answer_arrives(s);
    may_run_on(&one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_MOUNT(one_that_is_stuck_holds_up_nobody),
        ON_A_MOUNT(more_than_can_be_served_wait),
        ON_A_MOUNT(they_sleep_when_nothing_comes),
        ON_A_MOUNT(many_callers_have_several),
        ON_A_MOUNT(answers_from_elsewhere_arrive),
        ON_A_MOUNT(a_lone_writer_gets_each_answer),
        ON_A_MOUNT(unmounting_loses_no_answer),
        ON_A_MOUNT(unmounting_waits_for_answers),
        ON_A_MOUNT(a_session_that_is_cut_off_is_noticed),
        ON_A_MOUNT(they_keep_their_affinity),
    };
    return cmocka_run_group_tests_name("workers", tests, NULL, NULL);
}
