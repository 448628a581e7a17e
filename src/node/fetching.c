/* SPDX-License-Identifier: MIT */
#include "node/fetching.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/report.h"
#include "node/intake.h"
#include "store/install.h"

enum {
    NO_ANSWER_US = 3 * 1000 * 1000,
    NO_PROGRESS_US = 10 * 1000 * 1000,
    NEED_HOLDS_US = 10 * 1000 * 1000,
    FAILED_PAUSE_US = 1000 * 1000,
    NOBODY_PAUSE_US = 300 * 1000, /* no member can be asked, or none has any */
    REPORT_EVERY_US = 60 * 1000 * 1000,
    PATH_BYTES = 4096,
};

enum state { IDLE = 0, LOOKING, ASKING, RECEIVING, INSTALLING };

struct fetching {
    struct fetching_options options;
    char *dir;
    struct intake *intake;
    enum state state;
    bool working; /* the disk or the apply thread is at it, and wakes the loop when done */
    uint64_t need_index;
    uint64_t needed_us; /* when it was said last */
    uint64_t pause_until_us;
    uint64_t reported_us;

    struct snapshot what; /* being received or installed; id 0: none known yet */
    uint64_t offset;      /* of the next piece */
    uint64_t progress_us; /* when the last one came */

    raft_id members[RAFT_MAX_MEMBERS]; /* that can be asked; the leader first */
    uint32_t member_count;
    uint32_t turn;     /* of members[]: who is asked */
    uint32_t refusals; /* in a row */
    raft_id asked;     /* 0: no answer is awaited */
    uint64_t asked_us;
    uint64_t seq;
    raft_id told; /* from whom the operator knows it to come */

    uint64_t damaged_id; /* of the one in the directory that could not be installed; 0: none */
    bool half_installed; /* the store shows it, but could not sync it: only going on helps */

    pthread_mutex_t lock; /* what the apply thread leaves for the loop */
    bool install_done;
    int install_status;
    uint64_t installed_index;
    uint64_t installed_term;
    uint64_t config_index;
    struct buf *config;
};

struct fetching *fetching_init(const struct fetching_options *options)
{
    struct fetching *f = memory_zalloc(sizeof(*f));
    f->options = *options;
    f->dir = memory_strdup(options->dir);
    f->intake = intake_init(f->dir, options->wake, options->ctx);
    pthread_mutex_init(&f->lock, NULL);
    return f;
}

void fetching_close(struct fetching *f)
{
    intake_close(f->intake);
    buf_unref(f->config);
    pthread_mutex_destroy(&f->lock);
    memory_free(f->dir);
    memory_free(f);
}

/* ---- From state to state ---- */

static void work(struct fetching *f, const struct intake_job *job)
{
    assert(!f->working);
    f->working = true;
    f->asked = 0;
    intake_start(f->intake, job);
}

static void pause_for(struct fetching *f, uint64_t now_us, uint64_t us)
{
    f->pause_until_us = now_us + us;
}

/* Until it is said again that one is needed; what has come is kept. */
static void go_idle(struct fetching *f)
{
    f->state = IDLE;
    f->need_index = 0;
    f->what = (struct snapshot){0};
    work(f, &(struct intake_job){.kind = INTAKE_CLOSE});
}

static void failed(struct fetching *f, const char *what, int status, uint64_t now_us)
{
    if (f->reported_us == 0 || now_us >= f->reported_us + REPORT_EVERY_US) {
        f->reported_us = now_us;
        report_error("%s: %s: %s. Make room or mend the disk; this goes on by itself", f->dir, what,
                     strerror(-status));
    }
    pause_for(f, now_us, FAILED_PAUSE_US);
}

/* Any snapshot that will do, from anybody. */
static void ask_anew(struct fetching *f)
{
    f->state = ASKING;
    f->what = (struct snapshot){0};
    f->turn = f->refusals = 0;
    work(f, &(struct intake_job){.kind = INTAKE_DISCARD});
}

static void receive(struct fetching *f, const struct snapshot *what, uint64_t offset,
                    uint64_t now_us)
{
    f->state = RECEIVING;
    f->what = *what;
    f->offset = offset;
    f->progress_us = now_us;
    f->refusals = 0;
    f->told = 0;
}

/* On the apply thread, when nothing is being applied. */
static void install(void *ctx)
{
    struct fetching *f = ctx;
    char path[PATH_BYTES];
    uint64_t index = 0, term = 0, config_index = 0;
    snprintf(path, sizeof(path), "%s/%s", f->dir, f->what.name);
    int status = -EALREADY;
    if (f->half_installed || store_applied_index(f->options.store) < f->what.index)
        status = store_install(f->options.store, path, &index, &term);
    f->half_installed =
        status < 0 && status != -EALREADY && store_applied_index(f->options.store) >= f->what.index;
    struct buf *config = status == 0 ? store_config(f->options.store, &config_index) : NULL;
    if (status == 0)
        f->options.on_replaced(f->options.ctx, index, config);
    pthread_mutex_lock(&f->lock);
    f->install_done = true;
    f->install_status = status;
    f->installed_index = index;
    f->installed_term = term;
    f->config_index = config_index;
    f->config = config;
    pthread_mutex_unlock(&f->lock);
    f->options.wake(f->options.ctx);
}

static void run_install(struct fetching *f)
{
    f->working = true;
    applier_call(f->options.applier, install, f);
}

static void begin_installing(struct fetching *f, struct raft_driver *driver,
                             const struct snapshot *whole)
{
    report_info("the snapshot of entry %" PRIu64 " takes the store's place", whole->index);
    f->state = INSTALLING;
    f->what = *whole;
    f->asked = 0;
    raft_driver_pause_apply(driver, true);
    run_install(f);
}

/* ---- What the disk and the apply thread have done ---- */

static void looked(struct fetching *f, struct raft_driver *driver, const struct intake_result *r,
                   uint64_t now_us)
{
    if (r->status == 0 && r->whole) {
        begin_installing(f, driver, &r->snapshot);
    } else if (r->status == 0) {
        receive(f, &r->snapshot, r->offset, now_us);
    } else {
        if (r->status != -ENOENT)
            failed(f, "what was received of a snapshot cannot be read", r->status, now_us);
        f->state = ASKING;
        f->turn = f->refusals = 0;
    }
}

static void opened(struct fetching *f, const struct intake_result *r, uint64_t now_us)
{
    if (r->status == 0) {
        receive(f, &f->what, r->offset, now_us);
        return;
    }
    failed(f, "a snapshot cannot be received", r->status, now_us);
    go_idle(f);
}

static void refused(struct fetching *f)
{
    f->turn++;
    f->refusals++;
}

static void written(struct fetching *f, const struct intake_result *r, uint64_t now_us)
{
    f->offset = r->offset;
    if (r->status == 0) {
        f->progress_us = now_us;
        f->refusals = 0;
    } else if (r->status == -EUCLEAN) {
        refused(f); /* damaged where it came from, or on its way */
    } else {
        failed(f, "a snapshot cannot be received", r->status, now_us);
    }
}

static void finished(struct fetching *f, struct raft_driver *driver, const struct intake_result *r,
                     uint64_t now_us)
{
    if (r->status == 0) {
        f->damaged_id = 0;
        f->options.on_received(f->options.ctx, &r->snapshot);
        begin_installing(f, driver, &r->snapshot);
    } else {
        failed(f, "a received snapshot cannot be kept", r->status, now_us);
        go_idle(f);
    }
}

static void installed(struct fetching *f, struct raft_driver *driver, uint64_t now_us)
{
    if (f->install_status == 0) {
        report_info("the snapshot of entry %" PRIu64 " is installed", f->installed_index);
        raft_driver_installed(driver, f->installed_index, f->installed_term, f->config_index,
                              f->config);
        f->options.on_installed(f->options.ctx);
        buf_unref(f->config);
        f->config = NULL;
    } else {
        if (f->install_status == -EUCLEAN)
            f->damaged_id = f->what.id; /* the disk has changed it: it is fetched again */
        if (f->install_status != -EALREADY)
            failed(f, "a received snapshot cannot be installed", f->install_status, now_us);
        if (f->half_installed)
            return;
        raft_driver_pause_apply(driver, false);
    }
    go_idle(f);
}

/* True when something was done. */
static bool take_results(struct fetching *f, struct raft_driver *driver, uint64_t now_us)
{
    struct intake_result r;
    if (f->state == INSTALLING) {
        pthread_mutex_lock(&f->lock);
        bool done = f->install_done;
        f->install_done = false;
        pthread_mutex_unlock(&f->lock);
        f->working = !done;
        if (done)
            installed(f, driver, now_us);
        return done;
    }
    if (!intake_done(f->intake, &r))
        return false;
    f->working = false;
    if (r.kind == INTAKE_LOOK)
        looked(f, driver, &r, now_us);
    else if (r.kind == INTAKE_OPEN)
        opened(f, &r, now_us);
    else if (r.kind == INTAKE_WRITE)
        written(f, &r, now_us);
    else if (r.kind == INTAKE_FINISH)
        finished(f, driver, &r, now_us);
    return true;
}

/* ---- Asking ---- */

static void list_members(struct fetching *f, const struct raft_driver_status *status)
{
    f->member_count = 0;
    if (status->leader && status->leader != f->options.self)
        f->members[f->member_count++] = status->leader;
    for (uint32_t i = 0; i < status->member_count && f->member_count < RAFT_MAX_MEMBERS; i++) {
        const struct raft_driver_member_status *m = &status->members[i];
        if (m->up && m->member.id != f->options.self && m->member.id != status->leader)
            f->members[f->member_count++] = m->member.id;
    }
}

static void tell(struct fetching *f, const struct raft_driver_status *status, raft_id from)
{
    const char *name = "the leader"; /* a node that joins may know no member yet */
    for (uint32_t i = 0; i < status->member_count; i++)
        if (status->members[i].member.id == from)
            name = status->members[i].member.name;
    report_info("receives the snapshot of entry %" PRIu64 " from %s, from byte %" PRIu64
                " of %" PRIu64 " on",
                f->what.index, name, f->offset, f->what.bytes);
    f->told = from;
}

static bool ask(struct fetching *f, struct raft_driver *driver, raft_id member, uint64_t now_us)
{
    bool known = f->what.id != 0;
    struct raft_net_snapshot_ask a = {.seq = f->seq + 1,
                                      .id = f->what.id,
                                      .min_index = known ? f->what.index : f->need_index,
                                      .offset = known ? f->offset : 0,
                                      .bytes = RAFT_NET_PIECE_BYTES};
    if (!raft_driver_snapshot_ask(driver, member, &a))
        return false;
    f->seq = a.seq;
    f->asked = member;
    f->asked_us = now_us;
    return true;
}

/* Asks whose turn it is, or the first after that who can be asked. */
static void ask_somebody(struct fetching *f, struct raft_driver *driver, uint64_t now_us)
{
    struct raft_driver_status *status = memory_alloc(sizeof(*status));
    raft_driver_status(driver, status);
    list_members(f, status);
    if (f->refusals > f->member_count)
        f->refusals = f->member_count;
    for (uint32_t tries = 0; tries < f->member_count && !f->asked; tries++) {
        raft_id member = f->members[f->turn % f->member_count];
        if (!ask(f, driver, member, now_us))
            f->turn++;
        else if (f->state == RECEIVING && member != f->told)
            tell(f, status, member);
    }
    memory_free(status);
    if (!f->asked)
        pause_for(f, now_us, NOBODY_PAUSE_US);
}

/* ---- What comes from outside ---- */

void fetching_need(struct fetching *f, uint64_t index, uint64_t now_us)
{
    f->need_index = index > f->need_index ? index : f->need_index;
    f->needed_us = now_us;
}

static void take_first(struct fetching *f, const struct raft_net_snapshot_piece *piece)
{
    f->what = (struct snapshot){
        .id = piece->id, .index = piece->index, .term = piece->term, .bytes = piece->total_bytes};
    work(f, &(struct intake_job){.kind = INTAKE_OPEN, .what = f->what});
}

void fetching_piece(struct fetching *f, raft_id from, const struct raft_net_snapshot_piece *piece,
                    struct buf *data)
{
    if (f->asked != from || piece->seq != f->seq) {
        buf_unref(data); /* of an ask that was given up */
        return;
    }
    f->asked = 0;
    bool good = piece->status == 0 && piece->bytes > 0;
    if (f->state == ASKING && good && piece->index >= f->need_index) {
        take_first(f, piece);
    } else if (f->state == RECEIVING && good && piece->id == f->what.id &&
               piece->offset == f->offset) {
        work(f, &(struct intake_job){
                    .kind = INTAKE_WRITE, .offset = f->offset, .data = buf_ref(data)});
    } else {
        refused(f);
    }
    buf_unref(data);
}

void fetching_peer_changed(struct fetching *f, raft_id peer)
{
    if (f->asked == peer)
        f->asked = 0;
}

/* ---- Going on ---- */

static bool still_needed(const struct fetching *f, uint64_t now_us)
{
    uint64_t helps_to = f->what.id ? f->what.index : f->need_index;
    return now_us < f->needed_us + NEED_HOLDS_US &&
           store_applied_index(f->options.store) < helps_to;
}

/* Nobody has this one any more, or it is of no use for longer than one waits. */
static bool is_hopeless(const struct fetching *f, uint64_t now_us)
{
    return (f->member_count > 0 && f->refusals >= f->member_count) ||
           (f->need_index > f->what.index && now_us >= f->progress_us + NO_PROGRESS_US);
}

static void go_on(struct fetching *f, struct raft_driver *driver, uint64_t now_us)
{
    if (f->state == IDLE) {
        if (f->need_index <= store_applied_index(f->options.store))
            return;
        f->state = LOOKING;
        work(f, &(struct intake_job){
                    .kind = INTAKE_LOOK, .need_index = f->need_index, .damaged_id = f->damaged_id});
    } else if (f->state == INSTALLING) {
        run_install(f);
    } else if (!still_needed(f, now_us)) {
        go_idle(f);
    } else if (f->state == RECEIVING && f->offset >= f->what.bytes) {
        work(f, &(struct intake_job){.kind = INTAKE_FINISH});
    } else if (f->state == RECEIVING && is_hopeless(f, now_us)) {
        ask_anew(f);
    } else if (f->state == ASKING && f->member_count > 0 && f->refusals >= f->member_count) {
        f->refusals = 0; /* the leader has one taken meanwhile */
        pause_for(f, now_us, NOBODY_PAUSE_US);
    } else {
        ask_somebody(f, driver, now_us);
    }
}

uint64_t fetching_pump(struct fetching *f, struct raft_driver *driver, uint64_t now_us)
{
    while (!f->working || take_results(f, driver, now_us)) {
        if (f->working)
            continue;
        if (f->asked && now_us >= f->asked_us + NO_ANSWER_US) {
            f->asked = 0;
            f->turn++;
        }
        if (f->asked)
            return f->asked_us + NO_ANSWER_US;
        if (now_us < f->pause_until_us)
            return f->state == IDLE && f->need_index == 0 ? UINT64_MAX : f->pause_until_us;
        go_on(f, driver, now_us);
        if (f->state == IDLE && !f->working)
            return UINT64_MAX;
    }
    return UINT64_MAX;
}
