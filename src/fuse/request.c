/* SPDX-License-Identifier: MIT */
#include "fuse/request.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "fuse/caller.h"
#include "fuse/tree.h"

static void on_interrupt_timer(struct timer *timer);

struct request *request_new(fuse_req_t fuse, uint64_t nodeid)
{
    struct mount *m = fuse_req_userdata(fuse);
    struct request *r = memory_zalloc(sizeof(*r));
    r->mount = m;
    r->fuse = fuse;
    r->caller = fuse_req_ctx(fuse)->pid;
    r->nodeid = nodeid;
    r->refs = 1;
    r->interrupt.expired = on_interrupt_timer;
    pthread_cond_init(&r->cancelled, NULL);
    uint64_t now_us = clock_mono_us();
    pthread_mutex_lock(&m->lock);
    r->just_looked = recent_take(&m->recent, r->caller, now_us);
    m->running++;
    pthread_mutex_unlock(&m->lock);
    return r;
}

/* Under the lock; the last reference frees it. */
static void unref(struct request *r)
{
    if (--r->refs > 0)
        return;
    pthread_cond_destroy(&r->cancelled);
    buf_unref(r->sent);
    memory_free(r->kept);
    memory_free(r);
}

static bool copy_name(struct request *r, char out[NAME_MAX + 1], const char *name)
{
    size_t n = strlen(name);
    if (n > NAME_MAX) {
        request_reply(r, -ENAMETOOLONG);
        return false;
    }
    memcpy(out, name, n + 1);
    return true;
}

bool request_set_name(struct request *r, const char *name)
{
    return copy_name(r, r->name, name);
}

bool request_set_new_name(struct request *r, const char *name)
{
    return copy_name(r, r->new_name, name);
}

void request_keep_data(struct request *r)
{
    if (!r->data || r->kept)
        return;
    r->kept = memory_alloc(r->bytes ? r->bytes : 1);
    memcpy(r->kept, r->data, r->bytes);
    r->data = r->kept;
}

/* ---- Interrupts ---- */

/* On a FUSE worker, inside libfuse's lock of this request: the timer thread does the rest. */
static void on_interrupt(fuse_req_t fuse, void *data)
{
    (void)fuse;
    struct request *r = data;
    pthread_mutex_lock(&r->mount->lock);
    timer_start(&r->mount->timers, &r->interrupt, TIMER_NOW);
    pthread_mutex_unlock(&r->mount->lock);
}

static void cancel(struct request *r)
{
    struct mount *m = r->mount;
    enum request_wait wait = r->wait;
    r->cancelling = true;
    r->canceller = pthread_self();
    pthread_mutex_unlock(&m->lock);
    if (wait == REQUEST_LOOKS)
        m->backend->cancel_barrier(m->backend->ctx, &r->barrier);
    else if (wait == REQUEST_ORDERS)
        m->backend->cancel_order(m->backend->ctx, &r->order);
    else
        m->backend->cancel_change(m->backend->ctx, &r->change);
    pthread_mutex_lock(&m->lock);
    r->cancelling = false;
    pthread_cond_broadcast(&r->cancelled);
}

static void on_interrupt_timer(struct timer *timer)
{
    struct request *r = map_entry(timer, struct request, interrupt);
    struct mount *m = r->mount;
    r->refs++;
    pthread_mutex_unlock(&m->lock);
    bool dying = caller_is_dying(r->caller);
    pthread_mutex_lock(&m->lock);
    if (dying && r->wait != REQUEST_RUNS)
        cancel(r);
    if (!r->ended)
        timer_start(&m->timers, &r->interrupt, TIMER_20_MS);
    unref(r);
}

static void enter_wait(struct request *r, enum request_wait wait)
{
    if (!r->watched) {
        r->watched = true;
        fuse_req_interrupt_func(r->fuse, on_interrupt, r);
    }
    pthread_mutex_lock(&r->mount->lock);
    r->wait = wait;
    pthread_mutex_unlock(&r->mount->lock);
}

/*
 * The answer is here. A cancel that has already begun must come back first, because it may touch
 * what it cancels until then; unless this is its own doing, on its own thread.
 */
static void leave_wait(struct request *r)
{
    pthread_mutex_lock(&r->mount->lock);
    while (r->cancelling && !pthread_equal(r->canceller, pthread_self()))
        pthread_cond_wait(&r->cancelled, &r->mount->lock);
    r->wait = REQUEST_RUNS;
    pthread_mutex_unlock(&r->mount->lock);
}

/* ---- Asking the node ---- */

static void on_barrier(struct backend_barrier *barrier, int status)
{
    struct request *r = map_entry(barrier, struct request, barrier);
    leave_wait(r);
    if (status < 0)
        request_reply(r, status);
    else
        r->then(r);
}

static void ask_barrier(struct request *r, bool need_session, request_fn *then)
{
    const struct backend *backend = r->mount->backend;
    r->then = then;
    r->barrier = (struct backend_barrier){.need_session = need_session, .done = on_barrier};
    enter_wait(r, REQUEST_LOOKS);
    backend->barrier(backend->ctx, &r->barrier);
}

void request_look(struct request *r, request_fn *then)
{
    if (tree_is_local(r->nodeid))
        then(r);
    else
        ask_barrier(r, false, then);
}

void request_look_on(struct request *r, request_fn *then)
{
    if (r->just_looked == r->nodeid)
        then(r);
    else
        request_look(r, then);
}

void request_note_look(struct request *r)
{
    uint64_t now_us = clock_mono_us();
    pthread_mutex_lock(&r->mount->lock);
    recent_note(&r->mount->recent, r->caller, r->nodeid, now_us);
    pthread_mutex_unlock(&r->mount->lock);
}

static void take_number(struct request *r)
{
    struct mount *m = r->mount;
    pthread_mutex_lock(&m->lock);
    uint32_t counter = m->inode_counter < UINT32_MAX ? ++m->inode_counter : 0;
    pthread_mutex_unlock(&m->lock);
    r->ino = m->backend->session(m->backend->ctx) << 32 | counter;
    if (counter == 0)
        request_reply(r, -ENOSPC); /* four thousand million files since this node was started */
    else
        r->numbered(r);
}

void request_number(struct request *r, request_fn *then)
{
    const struct backend *backend = r->mount->backend;
    r->numbered = then;
    if (backend->session(backend->ctx) == 0)
        ask_barrier(r, true, take_number);
    else
        take_number(r);
}

static void on_change(struct backend_change *change, int status, const struct store_result *result)
{
    struct request *r = map_entry(change, struct request, change);
    leave_wait(r);
    r->changed(r, status < 0 ? status : result->status, result);
}

void request_send(struct request *r, const struct command *command, request_changed_fn *changed)
{
    const struct backend *backend = r->mount->backend;
    struct buf *encoded = command_encode(command);
    if (!encoded) {
        changed(r, -EINVAL, NULL);
        return;
    }
    if (r->keep_sent) {
        buf_unref(r->sent);
        r->sent = buf_ref(encoded);
    }
    r->changed = changed;
    r->change = (struct backend_change){.command = encoded, .done = on_change};
    enter_wait(r, REQUEST_CHANGES);
    backend->change(backend->ctx, &r->change);
}

void request_change(struct request *r, struct command *command, request_changed_fn *changed)
{
    struct command_caller caller;
    caller_init(&caller, r->fuse);
    command->caller = caller;
    request_send(r, command, changed);
    caller_close(&caller);
}

static void on_order(struct backend_order *order, int status)
{
    struct request *r = map_entry(order, struct request, order);
    leave_wait(r);
    if (status < 0 || order->kind == BACKEND_ORDER_REMOVE)
        request_reply(r, status);
    else
        request_reply_written(r);
}

void request_order(struct request *r)
{
    const struct backend *backend = r->mount->backend;
    r->order.done = on_order;
    enter_wait(r, REQUEST_ORDERS);
    backend->order(backend->ctx, &r->order);
}

/* ---- The end of a request ---- */

/* Nobody else reaches the request any more once this returns. */
static void begin_end(struct request *r)
{
    if (r->watched)
        fuse_req_interrupt_func(r->fuse, NULL, NULL);
    pthread_mutex_lock(&r->mount->lock);
    r->ended = true;
    timer_stop(&r->interrupt);
    pthread_mutex_unlock(&r->mount->lock);
}

static void finish(struct request *r)
{
    struct mount *m = r->mount;
    pthread_mutex_lock(&m->lock);
    unref(r);
    if (--m->running == 0)
        pthread_cond_broadcast(&m->idle);
    pthread_mutex_unlock(&m->lock);
}

static void reply_now(struct request *r)
{
    begin_end(r);
    fuse_reply_err(r->fuse, -r->status);
    finish(r);
}

void request_reply(struct request *r, int status)
{
    r->status = status;
    if (!workers_take_over(r, reply_now))
        reply_now(r);
}

void request_reply_attr(struct request *r, const struct store_attr *attr, double timeout_s)
{
    struct fuse_entry_param entry;
    attr_to_entry(attr, r->nodeid & TREE_LOCAL, &entry);
    begin_end(r);
    fuse_reply_attr(r->fuse, &entry.attr, timeout_s);
    finish(r);
}

void request_reply_entry(struct request *r, const struct store_attr *attr)
{
    struct fuse_entry_param entry;
    attr_to_entry(attr, r->nodeid & TREE_LOCAL, &entry);
    entry.entry_timeout = notify_told(r->mount, r->nodeid, r->name, attr->ino);
    begin_end(r);
    fuse_reply_entry(r->fuse, &entry);
    finish(r);
}

void request_reply_data(struct request *r, const void *data, size_t bytes)
{
    begin_end(r);
    fuse_reply_buf(r->fuse, data, bytes);
    finish(r);
}

static void reply_written_now(struct request *r)
{
    begin_end(r);
    fuse_reply_write(r->fuse, r->bytes);
    finish(r);
}

void request_reply_written(struct request *r)
{
    if (!workers_take_over(r, reply_written_now))
        reply_written_now(r);
}

void request_reply_link(struct request *r, const char *target)
{
    begin_end(r);
    fuse_reply_readlink(r->fuse, target);
    finish(r);
}

bool request_reply_open(struct request *r)
{
    begin_end(r);
    bool taken = fuse_reply_open(r->fuse, &r->fi) == 0;
    finish(r);
    return taken;
}

bool request_reply_create(struct request *r, const struct store_attr *attr)
{
    struct fuse_entry_param entry;
    attr_to_entry(attr, 0, &entry);
    begin_end(r);
    bool taken = fuse_reply_create(r->fuse, &entry, &r->fi) == 0;
    finish(r);
    return taken;
}

/* ---- Attributes as FUSE has them ---- */

static struct timespec to_timespec(int64_t ns)
{
    int64_t s = ns / 1000000000, rest = ns % 1000000000;
    if (rest < 0) { /* before 1970 */
        s--;
        rest += 1000000000;
    }
    return (struct timespec){.tv_sec = (time_t)s, .tv_nsec = (long)rest};
}

void attr_to_stat(const struct store_attr *attr, struct stat *stat)
{
    *stat = (struct stat){
        .st_ino = attr->ino,
        .st_mode = attr->mode,
        .st_nlink = attr->nlink,
        .st_uid = attr->uid,
        .st_gid = attr->gid,
        .st_size = (off_t)attr->size_bytes,
        .st_blksize = 4096,
        .st_blocks = (blkcnt_t)((attr->size_bytes + 511) / 512),
        .st_atim = to_timespec(attr->atime_ns),
        .st_mtim = to_timespec(attr->mtime_ns),
        .st_ctim = to_timespec(attr->ctime_ns),
    };
}

void attr_to_entry(const struct store_attr *attr, uint64_t tree, struct fuse_entry_param *entry)
{
    *entry = (struct fuse_entry_param){.ino = attr->ino | tree};
    attr_to_stat(attr, &entry->attr);
    entry->attr.st_ino = entry->ino;
}
