/* SPDX-License-Identifier: MIT */
#include "node/serving.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/thread.h"
#include "store/snapshot_source.h"

enum {
    NICENESS = 10,
    SOURCES = 4, /* held open at a time; more members than that rarely need different ones */
    PINNED_US = 60 * 1000 * 1000,
};

enum slot_state { SLOT_FREE = 0, SLOT_ASKED, SLOT_READING, SLOT_ANSWERED };

/* What one member has asked for last. */
struct slot {
    enum slot_state state;
    raft_id from;
    struct raft_net_snapshot_ask ask;
    struct raft_net_snapshot_piece piece;
    struct buf *data;
};

/* The serving thread's own. */
struct pinned {
    struct snapshot_source *source; /* NULL: a free place */
    uint64_t used_us;
};

struct serving {
    struct serving_options options;
    char *dir;
    pthread_t thread;
    struct pinned pinned[SOURCES];

    pthread_mutex_t lock;
    pthread_cond_t asked;
    bool closing;
    struct slot slots[RAFT_MAX_MEMBERS];
};

/* ---- The snapshots held open ---- */

static void unpin(struct pinned *p)
{
    snapshot_source_close(p->source);
    p->source = NULL;
}

static void unpin_unused(struct serving *s, uint64_t now_us)
{
    for (int i = 0; i < SOURCES; i++)
        if (s->pinned[i].source && now_us >= s->pinned[i].used_us + PINNED_US)
            unpin(&s->pinned[i]);
}

static bool any_pinned(const struct serving *s)
{
    for (int i = 0; i < SOURCES; i++)
        if (s->pinned[i].source)
            return true;
    return false;
}

static struct pinned *find_pinned(struct serving *s, uint64_t id)
{
    for (int i = 0; i < SOURCES; i++)
        if (s->pinned[i].source && snapshot_source_info(s->pinned[i].source)->id == id)
            return &s->pinned[i];
    return NULL;
}

/* A free place, or that of the one used longest ago. */
static struct pinned *make_place(struct serving *s)
{
    struct pinned *oldest = &s->pinned[0];
    for (int i = 0; i < SOURCES; i++) {
        struct pinned *p = &s->pinned[i];
        if (!p->source)
            return p;
        if (p->used_us < oldest->used_us)
            oldest = p;
    }
    unpin(oldest);
    return oldest;
}

static int pin(struct serving *s, const struct raft_net_snapshot_ask *ask, struct pinned **out)
{
    struct snapshot_source *source;
    struct pinned *p = ask->id ? find_pinned(s, ask->id) : NULL;
    if (!p) {
        int status = snapshot_source_open(&source, s->dir, ask->id, ask->min_index);
        if (status < 0)
            return status;
        p = find_pinned(s, snapshot_source_info(source)->id);
        if (p) {
            snapshot_source_close(source);
        } else {
            p = make_place(s);
            p->source = source;
        }
    }
    p->used_us = clock_mono_us();
    *out = p;
    return 0;
}

/* ---- Answering ---- */

static int read_piece(struct serving *s, const struct raft_net_snapshot_ask *ask,
                      struct raft_net_snapshot_piece *piece, struct buf **data)
{
    struct pinned *p;
    int status = pin(s, ask, &p);
    if (status < 0)
        return status;
    const struct snapshot *info = snapshot_source_info(p->source);
    if (info->id == 0)
        return -EUCLEAN; /* of an older program: nobody could tell it from another */
    uint64_t offset = ask->offset < info->bytes ? ask->offset : info->bytes;
    uint64_t left = info->bytes - offset;
    uint32_t bytes = left < ask->bytes ? (uint32_t)left : ask->bytes;
    *piece = (struct raft_net_snapshot_piece){.seq = ask->seq,
                                              .id = info->id,
                                              .index = info->index,
                                              .term = info->term,
                                              .total_bytes = info->bytes,
                                              .offset = offset,
                                              .bytes = bytes};
    if (bytes == 0)
        return 0;
    *data = buf_new(bytes);
    status = snapshot_source_read(p->source, offset, bytes, (*data)->data);
    if (status < 0) {
        buf_unref(*data);
        *data = NULL;
        unpin(p); /* another may take its name */
    }
    return status;
}

/* Under the lock, which it gives up meanwhile. */
static void answer(struct serving *s, struct slot *slot)
{
    struct raft_net_snapshot_ask ask = slot->ask;
    struct raft_net_snapshot_piece piece;
    struct buf *data = NULL;
    slot->state = SLOT_READING;
    pthread_mutex_unlock(&s->lock);
    int status = read_piece(s, &ask, &piece, &data);
    if (status < 0)
        piece = (struct raft_net_snapshot_piece){.seq = ask.seq, .status = status};
    pthread_mutex_lock(&s->lock);
    if (slot->state != SLOT_READING) { /* the member has asked for something else meanwhile */
        buf_unref(data);
        return;
    }
    slot->state = SLOT_ANSWERED;
    slot->piece = piece;
    slot->data = data;
    s->options.wake(s->options.ctx);
}

static struct slot *next_asked(struct serving *s)
{
    for (int i = 0; i < RAFT_MAX_MEMBERS; i++)
        if (s->slots[i].state == SLOT_ASKED)
            return &s->slots[i];
    return NULL;
}

/* Waits for an ask; while snapshots are held open not for ever. */
static void wait_for_ask(struct serving *s)
{
    struct timespec until;
    if (!any_pinned(s)) {
        pthread_cond_wait(&s->asked, &s->lock);
        return;
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PINNED_US / (1000 * 1000);
    if (pthread_cond_timedwait(&s->asked, &s->lock, &until) != ETIMEDOUT)
        return;
    pthread_mutex_unlock(&s->lock); /* closing a file that was removed takes its time */
    unpin_unused(s, clock_mono_us());
    pthread_mutex_lock(&s->lock);
}

static void *serving_thread(void *arg)
{
    struct serving *s = arg;
    /* Linux has a priority for each thread; one that is refused changes nothing. */
    (void)setpriority(PRIO_PROCESS, 0, NICENESS);
    pthread_mutex_lock(&s->lock);
    while (!s->closing) {
        struct slot *slot = next_asked(s);
        if (slot)
            answer(s, slot);
        else
            wait_for_ask(s);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- The loop's side ---- */

struct serving *serving_init(const struct serving_options *options)
{
    struct serving *s = memory_zalloc(sizeof(*s));
    s->options = *options;
    s->dir = memory_strdup(options->dir);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->asked, NULL);
    thread_start(&s->thread, "serving", serving_thread, s);
    return s;
}

void serving_close(struct serving *s)
{
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_signal(&s->asked);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    for (int i = 0; i < SOURCES; i++)
        if (s->pinned[i].source)
            unpin(&s->pinned[i]);
    for (int i = 0; i < RAFT_MAX_MEMBERS; i++)
        buf_unref(s->slots[i].data);
    pthread_cond_destroy(&s->asked);
    pthread_mutex_destroy(&s->lock);
    memory_free(s->dir);
    memory_free(s);
}

static struct slot *slot_for(struct serving *s, raft_id from)
{
    struct slot *unused = NULL;
    for (int i = 0; i < RAFT_MAX_MEMBERS; i++) {
        if (s->slots[i].state != SLOT_FREE && s->slots[i].from == from)
            return &s->slots[i];
        if (s->slots[i].state == SLOT_FREE && !unused)
            unused = &s->slots[i];
    }
    return unused;
}

void serving_ask(struct serving *s, raft_id from, const struct raft_net_snapshot_ask *ask)
{
    pthread_mutex_lock(&s->lock);
    struct slot *slot = slot_for(s, from);
    if (slot) {
        buf_unref(slot->data);
        *slot = (struct slot){.state = SLOT_ASKED, .from = from, .ask = *ask};
        pthread_cond_signal(&s->asked);
    }
    pthread_mutex_unlock(&s->lock);
}

/* Takes an answer out; false if none is ready. */
static bool take_answer(struct serving *s, struct slot *out)
{
    bool found = false;
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < RAFT_MAX_MEMBERS && !found; i++) {
        found = s->slots[i].state == SLOT_ANSWERED;
        if (found) {
            *out = s->slots[i];
            s->slots[i] = (struct slot){.state = SLOT_FREE};
        }
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

void serving_pump(struct serving *s, struct raft_driver *driver)
{
    struct slot answered;
    while (take_answer(s, &answered)) {
        if (answered.piece.status == -ENOENT && answered.ask.id == 0)
            s->options.on_missing(s->options.ctx, answered.ask.min_index);
        if (answered.piece.status == -EUCLEAN)
            s->options.on_damaged(s->options.ctx);
        raft_driver_snapshot_piece(driver, answered.from, &answered.piece, answered.data);
        buf_unref(answered.data);
    }
}
