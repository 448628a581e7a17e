/* SPDX-License-Identifier: MIT */
/*
 * sim_main.c - raft-sim: searches seeds for a broken invariant, or tells one seed's story.
 *
 *     raft-sim --seeds 1-10000           search; prints the tail of the first failing seed's trace
 *     raft-sim --seed 17 [--trace]       one seed, with its whole trace if asked
 *     raft-sim --slow 1-50 [--trace]     nothing fails there, but much is late (sim_slow.c)
 *     raft-sim --same 1-100              plays each seed twice and compares the trace hashes
 *
 * Exit status: 0 no invariant broke, 1 one did, 2 wrong usage. An assertion of the core counts as a
 * broken invariant: it is caught, so that it comes with its seed and its trace.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim_world.h"

static sigjmp_buf assertion_failed;

static void on_abort(int signal_number)
{
    siglongjmp(assertion_failed, signal_number);
}

static bool slow;

static bool play(struct sim_world *w, uint64_t seed)
{
    if (sigsetjmp(assertion_failed, 1)) {
        sim_world_fail(w, "an assertion failed (above)");
        return false;
    }
    if (!slow)
        return sim_world_play(w, seed);
    sim_slow(w, seed);
    return !w->failed;
}

static void report(struct sim_world *w, uint64_t seed)
{
    w->trace.mode = SIM_TRACE_TAIL;
    w->trace.count = 0;
    play(w, seed);
    sim_trace_print_tail(&w->trace);
    printf("seed %" PRIu64 " step %" PRIu64 ": %s\n", seed, w->steps, w->failure);
    printf("replay: raft-sim %s %" PRIu64 " --trace\n", slow ? "--slow" : "--seed", seed);
}

struct totals {
    uint64_t seeds, steps, elections, commits, acked, reads, installed;
};

static void add(struct totals *t, const struct sim_world *w)
{
    t->seeds++;
    t->steps += w->steps;
    t->elections += w->history.elections;
    t->commits += w->history.commit;
    t->acked += w->client.acked;
    t->reads += w->client.reads_done;
    t->installed += w->history.installed;
}

static int search(struct sim_world *w, uint64_t first, uint64_t last)
{
    struct totals t = {0};
    for (uint64_t seed = first; seed <= last; seed++) {
        if (!play(w, seed)) {
            report(w, seed);
            return 1;
        }
        add(&t, w);
    }
    printf("%" PRIu64 " seeds, %" PRIu64 " steps: %" PRIu64 " elections, %" PRIu64
           " entries committed, %" PRIu64 " operations acknowledged, %" PRIu64 " reads, %" PRIu64
           " snapshots installed\n",
           t.seeds, t.steps, t.elections, t.commits, t.acked, t.reads, t.installed);
    return 0;
}

static int same(struct sim_world *w, uint64_t first, uint64_t last)
{
    for (uint64_t seed = first; seed <= last; seed++) {
        play(w, seed);
        uint64_t hash = w->hash;
        play(w, seed + 1); /* so that something left behind would show */
        play(w, seed);
        if (w->hash != hash) {
            printf("seed %" PRIu64 " does not replay: %016" PRIx64 ", then %016" PRIx64 "\n", seed,
                   hash, w->hash);
            return 1;
        }
    }
    return 0;
}

static int tell(struct sim_world *w, uint64_t seed, bool trace)
{
    w->trace.mode = trace ? SIM_TRACE_PRINT : SIM_TRACE_OFF;
    bool good = play(w, seed);
    printf("seed %" PRIu64 " step %" PRIu64 " hash %016" PRIx64 ": %s\n", seed, w->steps, w->hash,
           good ? "good" : w->failure);
    return good ? 0 : 1;
}

static bool parse_range(const char *text, uint64_t *first, uint64_t *last)
{
    char *end;
    *first = *last = strtoull(text, &end, 10);
    if (end != text && *end == '-')
        *last = strtoull(end + 1, &end, 10);
    return *end == '\0' && *first <= *last;
}

static int usage(void)
{
    fprintf(stderr, "usage: raft-sim --seeds FIRST-LAST | --slow FIRST-LAST | --same FIRST-LAST\n"
                    "       raft-sim --seed N [--trace] | --slow N --trace\n");
    return 2;
}

int main(int argc, char **argv)
{
    uint64_t first;
    uint64_t last;
    bool trace = argc == 4 && strcmp(argv[3], "--trace") == 0;
    if (argc < 3 || argc > 4 || (argc == 4 && !trace) || !parse_range(argv[2], &first, &last))
        return usage();
    signal(SIGABRT, on_abort);
    struct sim_world *w = sim_world_new();
    int status = 2;
    slow = strcmp(argv[1], "--slow") == 0;
    if ((slow || strcmp(argv[1], "--seeds") == 0) && !trace)
        status = search(w, first, last);
    else if (strcmp(argv[1], "--same") == 0 && !trace)
        status = same(w, first, last);
    else if ((slow || strcmp(argv[1], "--seed") == 0) && first == last)
        status = tell(w, first, trace);
    else
        usage();
    sim_world_free(w);
    return status;
}
