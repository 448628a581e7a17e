/* SPDX-License-Identifier: MIT */
#include "node/changes.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"

enum {
    WINDOW = STORE_MAX_RESULTS / 2, /* sealed and not applied; the store remembers more results */
    RETRY_US = 5 * 1000,            /* after a refusal: the leader is full or has just changed */
    SESSION_RETRY_US = 200 * 1000,
};

#define SESSION_SEQ UINT64_MAX /* numbers the session command in forwards; no change has it */

enum change_state {
    CHANGE_ASKED = 0, /* in `asked` */
    CHANGE_QUEUED,    /* sealed, in the window, to be sent */
    CHANGE_SENT,      /* its last copy is on its way, or in a log */
};

struct changes {
    struct contact *contact;
    uint64_t incarnation;
    uint64_t boot;
    struct buf *session_command;
    uint64_t session_retry_us;

    pthread_mutex_t lock;
    atomic_uint_fast64_t session;
    bool refusing;
    struct queue asked;
    struct backend_change *window[WINDOW]; /* by seq; NULL: answered already */
    uint64_t lowest;                       /* the lowest seq still awaited */
    uint64_t next;                         /* the next seq to give */
    uint64_t send_from;                    /* below it nothing is queued */
    uint64_t hold_until_us;
};

/* One run of consecutive changes on its way to the driver. */
struct run {
    uint64_t seq;
    uint32_t count;
    struct buf *payloads[RAFT_MAX_PROPOSE];
};

static struct backend_change **slot(struct changes *c, uint64_t seq)
{
    return &c->window[seq % WINDOW];
}

struct changes *changes_init(struct contact *contact, uint64_t incarnation, uint64_t boot)
{
    struct changes *c = memory_zalloc(sizeof(*c));
    c->contact = contact;
    c->incarnation = incarnation;
    c->boot = boot;
    struct command open = {.op = COMMAND_SESSION,
                           .incarnation = incarnation,
                           .boot = boot,
                           .caller = {.uid = getuid(), .gid = getgid()}};
    c->session_command = command_encode(&open);
    pthread_mutex_init(&c->lock, NULL);
    queue_init(&c->asked);
    c->lowest = c->next = c->send_from = 1;
    return c;
}

void changes_close(struct changes *c)
{
    assert(!changes_pending(c));
    buf_unref(c->session_command);
    pthread_mutex_destroy(&c->lock);
    memory_free(c);
}

uint64_t changes_session(struct changes *c)
{
    return c->session;
}

static void finish(struct backend_change *change, int status, const struct store_result *result)
{
    buf_unref(change->command);
    change->command = NULL;
    change->done(change, status, result);
}

enum submitted changes_submit(struct changes *c, struct backend_change *change)
{
    change->asked_us = clock_mono_us();
    change->seq = 0;
    change->copies = 0;
    change->state = CHANGE_ASKED;
    pthread_mutex_lock(&c->lock);
    bool refused = c->refusing || contact_refuses(c->contact, change->asked_us);
    bool alone = queue_empty(&c->asked) && c->lowest == c->next;
    if (!refused)
        queue_push(&c->asked, &change->link);
    pthread_mutex_unlock(&c->lock);
    if (refused) {
        finish(change, -EROFS, NULL);
        return SUBMITTED_DONE;
    }
    return alone ? SUBMITTED_ALONE : SUBMITTED_BEHIND;
}

void changes_refuse(struct changes *c)
{
    pthread_mutex_lock(&c->lock);
    c->refusing = true;
    pthread_mutex_unlock(&c->lock);
}

/* Takes a sealed change out of the window. */
static void forget(struct changes *c, uint64_t seq)
{
    *slot(c, seq) = NULL;
    while (c->lowest < c->next && !*slot(c, c->lowest))
        c->lowest++;
    if (c->send_from < c->lowest)
        c->send_from = c->lowest;
}

static void take_out(struct changes *c, struct backend_change *change)
{
    if (change->state == CHANGE_ASKED)
        queue_remove(&change->link);
    else
        forget(c, change->seq);
}

static bool awaited(struct changes *c, struct backend_change *change)
{
    return change->state == CHANGE_ASKED
               ? queue_linked(&change->link)
               : change->seq >= c->lowest && *slot(c, change->seq) == change;
}

void changes_cancel(struct changes *c, struct backend_change *change)
{
    pthread_mutex_lock(&c->lock);
    bool ours = awaited(c, change);
    if (ours)
        take_out(c, change);
    pthread_mutex_unlock(&c->lock);
    if (ours)
        finish(change, -EINTR, NULL);
}

/* ---- Sending ---- */

static void seal_asked(struct changes *c)
{
    while (!queue_empty(&c->asked) && c->next - c->lowest < WINDOW) {
        struct backend_link *link = queue_pop(&c->asked);
        struct backend_change *change = queue_entry(link, struct backend_change, link);
        change->seq = c->next++;
        change->state = CHANGE_QUEUED;
        command_seal(change->command, c->session, change->seq, c->lowest);
        *slot(c, change->seq) = change;
    }
}

/*
 * A buffer that has left this node may still be read by a socket or the log's writer, and appending
 * stamps it: then the copy is stamped instead.
 */
static struct buf *payload_to_send(struct backend_change *change)
{
    if (change->copies > 0) {
        struct buf *fresh = buf_copy(change->command->data, change->command->bytes);
        buf_unref(change->command);
        change->command = fresh;
    }
    return buf_ref(change->command);
}

/* The next run of queued changes with consecutive numbers, counted as sent; false: none. */
static bool collect(struct changes *c, struct run *run)
{
    uint32_t bytes = 0;
    bool frees_space = false;
    run->count = 0;
    for (; c->send_from < c->next && run->count < RAFT_MAX_PROPOSE; c->send_from++) {
        struct backend_change *change = *slot(c, c->send_from);
        if (!change || change->state != CHANGE_QUEUED) {
            if (run->count)
                break;
            continue;
        }
        bytes += change->command->bytes;
        if (run->count &&
            (bytes > RAFT_MAX_ENTRY_BYTES || command_frees_space(change->command) != frees_space))
            break;
        if (run->count == 0) {
            run->seq = c->send_from;
            frees_space = command_frees_space(change->command);
        }
        run->payloads[run->count++] = payload_to_send(change);
        change->state = CHANGE_SENT;
        change->copies++;
    }
    return run->count > 0;
}

/* What was to be sent was not, or was refused: it is queued again, and no copy of it is left. */
static void take_back(struct changes *c, uint64_t seq, uint32_t count)
{
    for (uint64_t s = seq; s < seq + count; s++) {
        struct backend_change *change = s >= c->lowest && s < c->next ? *slot(c, s) : NULL;
        if (!change)
            continue;
        if (change->copies > 0)
            change->copies--;
        change->state = CHANGE_QUEUED;
        if (s < c->send_from)
            c->send_from = s;
    }
}

/* There is no room for these on disks: nothing happened, unless an older copy is on its way. */
static void fail_full(struct changes *c, uint64_t seq, uint32_t count, uint64_t now_us)
{
    pthread_mutex_lock(&c->lock);
    take_back(c, seq, count);
    for (uint64_t s = seq; s < seq + count; s++) {
        struct backend_change *change = s >= c->lowest && s < c->next ? *slot(c, s) : NULL;
        if (change && change->copies > 0)
            c->hold_until_us = now_us + RETRY_US;
        if (!change || change->copies > 0)
            continue;
        forget(c, s);
        pthread_mutex_unlock(&c->lock);
        finish(change, -ENOSPC, NULL);
        pthread_mutex_lock(&c->lock);
    }
    pthread_mutex_unlock(&c->lock);
}

static uint64_t open_session(struct changes *c, struct raft_driver *driver, uint64_t now_us)
{
    if (now_us < c->session_retry_us || raft_driver_leader(driver) == 0)
        return c->session_retry_us > now_us ? c->session_retry_us : UINT64_MAX;
    struct buf *payload = buf_copy(c->session_command->data, c->session_command->bytes);
    raft_driver_propose(driver, SESSION_SEQ, &payload, 1);
    buf_unref(payload);
    c->session_retry_us = now_us + SESSION_RETRY_US;
    return c->session_retry_us;
}

uint64_t changes_pump(struct changes *c, struct raft_driver *driver, uint64_t now_us)
{
    if (c->session == 0)
        return open_session(c, driver, now_us);
    struct run run;
    uint64_t again_us = UINT64_MAX;
    pthread_mutex_lock(&c->lock);
    seal_asked(c);
    if (c->hold_until_us > now_us)
        again_us = c->send_from < c->next ? c->hold_until_us : UINT64_MAX;
    while (again_us == UINT64_MAX && collect(c, &run)) {
        pthread_mutex_unlock(&c->lock);
        enum raft_driver_sent sent = raft_driver_propose(driver, run.seq, run.payloads, run.count);
        for (uint32_t i = 0; i < run.count; i++)
            buf_unref(run.payloads[i]);
        if (sent == RAFT_SENT_FULL)
            fail_full(c, run.seq, run.count, now_us);
        pthread_mutex_lock(&c->lock);
        if (c->hold_until_us > now_us)
            again_us = c->hold_until_us;
        if (sent == RAFT_SENT_NOWHERE) {
            take_back(c, run.seq, run.count);
            again_us = c->hold_until_us = now_us + RETRY_US;
        }
        seal_asked(c);
    }
    pthread_mutex_unlock(&c->lock);
    return raft_driver_leader(driver) ? again_us : UINT64_MAX;
}

void changes_resend(struct changes *c)
{
    pthread_mutex_lock(&c->lock);
    for (uint64_t seq = c->lowest; seq < c->next; seq++) {
        struct backend_change *change = *slot(c, seq);
        if (change)
            change->state = CHANGE_QUEUED;
    }
    c->send_from = c->lowest;
    c->hold_until_us = 0;
    c->session_retry_us = 0;
    pthread_mutex_unlock(&c->lock);
}

void changes_forwarded(struct changes *c, uint64_t seq, uint32_t count,
                       enum raft_net_forward_status status, uint64_t now_us)
{
    if (status == RAFT_FORWARD_APPENDED || seq == SESSION_SEQ)
        return;
    if (status == RAFT_FORWARD_FULL) {
        fail_full(c, seq, count, now_us);
        return;
    }
    pthread_mutex_lock(&c->lock);
    take_back(c, seq, count);
    c->hold_until_us = now_us + RETRY_US;
    pthread_mutex_unlock(&c->lock);
}

/* ---- Answering ---- */

bool changes_applied(struct changes *c, const struct store_result *result)
{
    if (result->incarnation == c->incarnation && result->boot == c->boot && c->session == 0 &&
        result->status == 0) {
        c->session = result->session;
        return true;
    }
    if (result->seq == 0 || result->session != c->session)
        return false;
    pthread_mutex_lock(&c->lock);
    struct backend_change *change = NULL;
    if (result->seq >= c->lowest && result->seq < c->next)
        change = *slot(c, result->seq);
    bool room_needed = !queue_empty(&c->asked);
    if (change)
        forget(c, result->seq);
    pthread_mutex_unlock(&c->lock);
    if (change) {
        contact_progress(c->contact, clock_mono_us());
        finish(change, 0, result);
    }
    return room_needed;
}

/* The oldest change still awaited: sealed ones are older than those that are not. */
static struct backend_change *oldest(struct changes *c)
{
    if (c->lowest < c->next)
        return *slot(c, c->lowest);
    struct backend_link *link = queue_first(&c->asked);
    return link ? queue_entry(link, struct backend_change, link) : NULL;
}

void changes_expire(struct changes *c, uint64_t now_us)
{
    pthread_mutex_lock(&c->lock);
    struct backend_change *change = oldest(c);
    if (change)
        contact_watch(c->contact, change->asked_us, now_us);
    while ((change = oldest(c)) && contact_expired(c->contact, change->asked_us, now_us)) {
        take_out(c, change);
        pthread_mutex_unlock(&c->lock);
        finish(change, change->copies ? -ETIMEDOUT : -EROFS, NULL);
        pthread_mutex_lock(&c->lock);
    }
    pthread_mutex_unlock(&c->lock);
}

bool changes_pending(struct changes *c)
{
    pthread_mutex_lock(&c->lock);
    bool pending = oldest(c) != NULL;
    pthread_mutex_unlock(&c->lock);
    return pending;
}
