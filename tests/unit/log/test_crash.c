/* SPDX-License-Identifier: MIT */
/*
 * test_crash.c - a crash before any operation on the disk leaves a log that recovers.
 *
 * One run appends, truncates, fills segments, drops them and starts over, while disk.c remembers
 * every step of both threads. Then, for each step, the disk is built as a crash before it leaves
 * it:
 *
 *     killed    all steps so far, as the page cache has them
 *     cut       what was synced; of the rest (sectors, names) none, or any subset
 *
 * and the log that recovers from it must be the one after some write: none older than the last one
 * that was acknowledged, none that was not submitted yet, the hard state of just then, and without
 * entries only where they might be dropped.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "disk.h"
#include "fixture.h"

enum {
    SEGMENT = 4096,
    SECTOR = 512,
    SECTORS = SEGMENT / SECTOR,
    WRITES = 90,
    MAX_INDEX = 400,
    MAX_FILES = 128,
    NOTE_SUBMITTED = 1,
    NOTE_DURABLE,
    NOTE_COMPACT,
};

static uint32_t seed;

static uint32_t below(uint32_t limit)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % limit;
}

/* ---- What the log may be: its state after each write ---- */

struct state {
    uint64_t base;
    uint64_t last;
    struct raft_hard_state hard;
    struct model_entry entries[MAX_INDEX];
};

static struct state states[WRITES + 1];

/* ---- A disk in memory ---- */

struct file {
    uint8_t now[SEGMENT];
    uint8_t durable[SEGMENT];
    uint32_t now_bytes;
    uint32_t durable_bytes;
    uint32_t dirty; /* sectors not synced, a bit each */
};

struct names {
    struct disk_name at[DISK_MAX_NAMES];
    uint32_t count;
};

struct machine {
    struct file files[MAX_FILES];
    struct names now;
    struct names durable;
    struct disk_step pending[64]; /* of names, not synced */
    uint32_t pending_count;
};

static struct disk_name *find(struct names *names, const char *name)
{
    for (uint32_t i = 0; i < names->count; i++)
        if (strcmp(names->at[i].name, name) == 0)
            return &names->at[i];
    return NULL;
}

static void put(struct names *names, const char *name, uint32_t file)
{
    struct disk_name *n = find(names, name);
    if (!n)
        n = &names->at[names->count++];
    assert_true(names->count <= DISK_MAX_NAMES);
    *n = (struct disk_name){.file = file};
    snprintf(n->name, sizeof(n->name), "%s", name);
}

static void drop(struct names *names, const char *name)
{
    struct disk_name *n = find(names, name);
    if (n)
        *n = names->at[--names->count];
}

static void apply_name(struct names *names, const struct disk_step *s)
{
    if (s->kind == DISK_UNLINK || s->kind == DISK_RENAME)
        drop(names, s->name);
    if (s->kind == DISK_CREATE)
        put(names, s->name, s->file);
    if (s->kind == DISK_RENAME)
        put(names, s->to, s->file);
}

static void apply_write(struct file *f, const struct disk_step *s)
{
    assert_true(s->offset + s->bytes <= SEGMENT);
    memcpy(f->now + s->offset, s->data, s->bytes);
    if (s->offset + s->bytes > f->now_bytes)
        f->now_bytes = (uint32_t)(s->offset + s->bytes);
    for (uint64_t at = s->offset; at < s->offset + s->bytes; at += SECTOR)
        f->dirty |= 1u << at / SECTOR;
}

static void apply(struct machine *m, const struct disk_step *s)
{
    struct disk_step named = *s;
    switch (s->kind) {
    case DISK_WRITE:
        apply_write(&m->files[s->file], s);
        break;
    case DISK_SYNC:
        memcpy(m->files[s->file].durable, m->files[s->file].now, SEGMENT);
        m->files[s->file].durable_bytes = m->files[s->file].now_bytes;
        m->files[s->file].dirty = 0;
        break;
    case DISK_SYNC_DIR:
        m->durable = m->now;
        m->pending_count = 0;
        break;
    case DISK_RENAME:
        named.file = find(&m->now, s->name)->file;
        /* fallthrough */
    case DISK_CREATE:
    case DISK_UNLINK:
        assert_true(s->kind != DISK_CREATE || s->file < MAX_FILES);
        apply_name(&m->now, &named);
        assert_true(m->pending_count < 64);
        m->pending[m->pending_count++] = named;
        break;
    case DISK_NOTE:
        break;
    }
}

/* ---- What a crash leaves ---- */

enum crash { KILLED, CUT_ALL, CUT_SOME };

static void store_file(const char *dir, const char *name, const uint8_t *data, uint32_t bytes)
{
    char path[FIXTURE_PATH_BYTES * 2];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    fixture_store(path, data, bytes);
}

/* One file after a power cut: what was synced, and any of the sectors that were not. */
static uint32_t cut_file(const struct file *f, bool some, uint8_t out[SEGMENT])
{
    uint32_t bytes = f->durable_bytes;
    memcpy(out, f->durable, SEGMENT);
    for (uint32_t i = 0; some && i < SECTORS; i++)
        if ((f->dirty >> i & 1) && below(2)) {
            memcpy(out + i * SECTOR, f->now + i * SECTOR, SECTOR);
            if ((i + 1) * SECTOR > bytes)
                bytes = (i + 1) * SECTOR;
        }
    return bytes;
}

/* Builds the directory; `left` becomes the machine as it starts again. */
static void crash(struct fixture *f, const struct machine *m, enum crash how, struct machine *left)
{
    *left = *m;
    if (how != KILLED) {
        left->now = m->durable;
        for (uint32_t i = 0; i < m->pending_count; i++)
            if (how == CUT_SOME && below(2))
                apply_name(&left->now, &m->pending[i]);
        left->durable = left->now;
        left->pending_count = 0;
    }
    fixture_clear(f);
    for (uint32_t i = 0; i < left->now.count; i++) {
        const struct disk_name *n = &left->now.at[i];
        struct file *file = &left->files[n->file];
        if (how != KILLED) {
            file->now_bytes = cut_file(&m->files[n->file], how == CUT_SOME, file->now);
            memcpy(file->durable, file->now, SEGMENT);
            file->durable_bytes = file->now_bytes;
            file->dirty = 0;
        }
        store_file(f->dir, n->name, file->now, file->now_bytes);
    }
}

/* ---- What recovers ---- */

struct bounds {
    uint64_t durable;   /* writes that were acknowledged */
    uint64_t submitted; /* and that exist at all */
    uint64_t compact;   /* entries up to here may be gone */
};

static void note(struct bounds *b, const struct disk_step *s)
{
    if (s->kind != DISK_NOTE)
        return;
    uint64_t *at = s->note_kind == NOTE_DURABLE     ? &b->durable
                   : s->note_kind == NOTE_SUBMITTED ? &b->submitted
                                                    : &b->compact;
    *at = s->note;
}

static uint64_t term_of(const struct raft_log_recovered *r, uint64_t index)
{
    uint64_t term = r->base_term;
    for (uint32_t i = 0; i < r->run_count && r->runs[i].first <= index; i++)
        term = r->runs[i].term;
    return term;
}

static bool is_state(const struct raft_log_recovered *r, const struct state *s, uint64_t compact)
{
    if (r->last_index != s->last || r->hard.term != s->hard.term || r->hard.vote != s->hard.vote)
        return false;
    if (r->base_index != s->base && (r->base_index < s->base || r->base_index > compact))
        return false;
    for (uint64_t i = r->base_index; i <= s->last; i++)
        if (term_of(r, i) != s->entries[i].term)
            return false;
    return true;
}

/* Opens what is there; which of the states within the bounds it is, or -1. */
static int64_t recover(struct fixture *f, const struct bounds *b)
{
    int status = fixture_try_open(f, false);
    if (status < 0)
        fail_msg("%s: %s", strerror(-status), f->why);
    for (uint64_t k = b->durable; k <= b->submitted; k++)
        if (is_state(&f->recovered, &states[k], b->compact)) {
            f->model.base_index = f->recovered.base_index;
            f->model.last_index = states[k].last;
            memcpy(f->model.entries, states[k].entries, sizeof(states[k].entries));
            fixture_read_all(f);
            return (int64_t)k;
        }
    return -1;
}

/* Killed, recovered, and only then without power: what recovery has seen must be on the disk. */
static void lose_power_after_recovery(struct fixture *f, const struct machine *m,
                                      const struct bounds *b, uint32_t at)
{
    static struct machine killed, cut;
    uint32_t count;
    crash(f, m, KILLED, &killed);
    disk_record(f->dir, killed.now.at, killed.now.count);
    int64_t k = recover(f, b);
    struct disk_step *steps = disk_recorded(&count);
    fixture_close(f);
    assert_true(k >= 0);
    for (uint32_t i = 0; i < count; i++)
        apply(&killed, &steps[i]);
    disk_free(steps, count);
    crash(f, &killed, CUT_ALL, &cut);
    struct bounds same = {.durable = (uint64_t)k, .submitted = (uint64_t)k, .compact = b->compact};
    if (recover(f, &same) != k)
        fail_msg("step %u: power was lost after recovery, and with it what recovery had found", at);
    fixture_close(f);
}

static void check_crashes(struct fixture *f, const struct disk_step *steps, uint32_t count)
{
    static const char *const how[] = {"killed", "cut", "cut, with some of the unsynced"};
    static struct machine machine, left;
    struct bounds b = {0};
    memset(&machine, 0, sizeof(machine));
    for (uint32_t i = 0; i <= count; i++) {
        for (enum crash c = KILLED; b.submitted > 0 && c <= CUT_SOME; c++) {
            crash(f, &machine, c, &left);
            if (recover(f, &b) < 0)
                fail_msg("step %u, %s: base %ju last %ju term %ju is no state of %ju to %ju", i,
                         how[c], (uintmax_t)f->recovered.base_index,
                         (uintmax_t)f->recovered.last_index, (uintmax_t)f->recovered.hard.term,
                         (uintmax_t)b.durable, (uintmax_t)b.submitted);
            fixture_close(f);
        }
        if (b.submitted > 0 && i % 4 == 0)
            lose_power_after_recovery(f, &machine, &b, i);
        if (i < count) {
            apply(&machine, &steps[i]);
            note(&b, &steps[i]);
        }
    }
}

/* ---- The run ---- */

/* One write of any kind; `committed` is what is never truncated or started over before. */
static struct fixture_write random_write(const struct state *s, uint64_t committed, uint64_t *term,
                                         uint32_t bytes[4])
{
    struct fixture_write w = {.term = *term, .count = below(4), .bytes = bytes};
    for (uint32_t i = 0; i < 4; i++)
        bytes[i] = below(700);
    if (below(12) == 0) {
        w.restart_index = s->last + below(10) + (s->last == 0);
        w.restart_term = *term;
    } else if (below(6) == 0 && s->last > committed) {
        w.truncate_from = committed + 1 + below((uint32_t)(s->last - committed));
    }
    if (below(3) == 0 || w.truncate_from) {
        w.hard = (struct raft_hard_state){.term = ++*term, .vote = below(3)};
        w.term = *term;
    }
    w.kind = below(8) == 0 ? RAFT_ENTRY_CONFIG : RAFT_ENTRY_COMMAND;
    return w;
}

static void after_write(struct state *s, const struct fixture_write *w)
{
    if (w->restart_index) {
        s->base = s->last = w->restart_index;
        s->entries[s->last].term = w->restart_term;
    }
    if (w->truncate_from)
        s->last = w->truncate_from - 1;
    for (uint32_t i = 0; i < w->count; i++)
        s->entries[++s->last] =
            (struct model_entry){.term = w->term, .kind = w->kind, .bytes = w->bytes[i]};
    if (w->hard.term)
        s->hard = w->hard;
    assert_true(s->last + 16 < MAX_INDEX);
}

static void on_durable(void *ctx, uint64_t id)
{
    (void)ctx;
    disk_note(NOTE_DURABLE, id);
}

static void run(struct fixture *f)
{
    uint32_t bytes[4];
    uint64_t committed = 0, term = 1;
    fixture_open(f, true);
    for (uint64_t id = 1; id <= WRITES; id++) {
        states[id] = states[id - 1];
        struct fixture_write w = random_write(&states[id], committed, &term, bytes);
        after_write(&states[id], &w);
        if (w.restart_index)
            committed = w.restart_index;
        disk_note(NOTE_SUBMITTED, id);
        fixture_submit(f, &w);
        if (below(3)) {
            fixture_wait_durable(f, id);
            committed = states[id].last - below((uint32_t)(states[id].last - committed + 1));
        }
        if (below(5) == 0 && committed > 0) {
            disk_note(NOTE_COMPACT, committed);
            raft_log_compact(f->log, committed);
        }
    }
    fixture_close(f);
}

static void every_step_may_be_the_last(void **state)
{
    struct fixture *f = *state;
    uint32_t count;
    f->segment_bytes = SEGMENT;
    f->on_durable = on_durable;
    for (seed = 1; seed <= (FIXTURE_SLOW ? 1 : 3); seed++) {
        uint32_t kept = seed;
        memset(states, 0, sizeof(states));
        memset(&f->model, 0, sizeof(f->model));
        f->next_id = 1;
        fixture_clear(f);
        disk_record(f->dir, NULL, 0);
        run(f);
        struct disk_step *steps = disk_recorded(&count);
        check_crashes(f, steps, count);
        disk_free(steps, count);
        seed = kept;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_step_may_be_the_last, fixture_setup,
                                        fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
