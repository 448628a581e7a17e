/* SPDX-License-Identifier: MIT */
/*
 * deferred.c - the life of a pending truncation or creation.
 *
 *     open ──> WAITING ── the handle's first WRITE carries it ──> COMMITTING ── applied ──> gone
 *                 │                                                │   ^  ^
 *                 └── alone: fsync, RELEASE, a deadline,           │   │  │
 *                     SETATTR, a WRITE of another handle ──────────┼───┘  │
 *                                                                  v      │
 *                                    RELEASE: gone <── KEPT <── failed    │
 *                                                       └── the handle's next WRITE, fsync;
 *                                                           for a creation, any change
 *
 * Deadlines: 20 ms after the open a creation is committed alone; after 1 s a truncation is. Who
 * looks at a file whose truncation waits for its write waits too, but 10 to 20 ms only, and then
 * sees what was there before: the truncation stays *hidden*. RELEASE always commits, and from then
 * on everybody waits. Each look waits anew, however long the truncation has been pending, because
 * of `: > f; cat f`: the kernel queues RELEASE before close(2) returns, but nobody waits for it,
 * and of two workers the one that has read the next LOOKUP may be the faster.
 *
 * Committed alone, a truncation carries the version that was met at open and does nothing if that
 * has changed, so that it never destroys a later write. Then it was *overtaken*, and is KEPT for
 * its handle's own write: `echo` that was stalled must replace the other value, not mix with it. A
 * creation says the number that the kernel was told; if another node has made the name meanwhile,
 * the command acts on that file and our number becomes an alias of it.
 *
 * A commit that failed (EROFS, EINTR: nothing happened; ETIMEDOUT: unknown; or refused when it was
 * applied) leaves the change KEPT: no timer runs, nobody waits, the handle's next write carries it
 * again, and close drops it. Carrying it again after ETIMEDOUT is safe, because what timed out
 * never lands after a later change of this node.
 *
 * An inode may have several pending truncations (the second open came when the first was hidden).
 * Each is carried by its own handle's write: a local file system would empty the file twice first
 * and could then mix the two values, but `echo` in two shells is two commands here, each whole. A
 * pending creation's inode has nothing else. All fields are guarded by the mount's lock; a change
 * that is COMMITTING is not freed by anybody but its completion.
 */
#include "fuse/deferred.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "fuse/caller.h"
#include "fuse/tree.h"

enum state { WAITING, COMMITTING, KEPT };

struct deferred {
    struct handle *handle;
    struct deferred *next;    /* on the same inode */
    struct map_link creation; /* in mount->creations, by parent */
    bool is_creation;
    enum state state;
    bool released;  /* the handle is closed: everybody waits for the commit */
    bool overtaken; /* committed alone, it did nothing */
    struct timer look;
    struct timer deadline;
    struct request *held;

    uint64_t version;       /* a truncation's */
    struct store_attr attr; /* the rest a creation's */
    struct command_caller caller;
    char name[NAME_MAX + 1];
    uint16_t command_flags;

    struct backend_change change; /* when committed alone */
};

static void on_look_timer(struct timer *timer);
static void on_deadline_timer(struct timer *timer);
static void send_alone(struct deferred *d);

/* ---- The lists (under the lock) ---- */

static struct deferred *add(struct handle *handle)
{
    struct deferred *d = memory_zalloc(sizeof(*d));
    d->handle = handle;
    d->look.expired = on_look_timer;
    d->deadline.expired = on_deadline_timer;
    d->next = handle->inode->pending;
    handle->inode->pending = d;
    handle->deferred = d;
    return d;
}

static void stop_timers(struct deferred *d)
{
    timer_stop(&d->look);
    timer_stop(&d->deadline);
}

/* Its requests have been taken off. */
static void remove_and_free(struct deferred *d)
{
    assert(!d->held);
    struct deferred **at = &d->handle->inode->pending;
    while (*at != d)
        at = &(*at)->next;
    *at = d->next;
    d->handle->deferred = NULL;
    stop_timers(d);
    if (d->is_creation)
        map_remove(&d->handle->mount->creations, &d->creation);
    caller_close(&d->caller);
    memory_free(d);
}

static void hold(struct deferred *d, struct request *r, request_fn *again)
{
    request_keep_data(r);
    r->then = again;
    r->commit_status = 0;
    r->next_held = d->held;
    d->held = r;
}

/* All of them: what they waited for has come. */
static struct request *take_held(struct deferred *d)
{
    struct request *held = d->held;
    d->held = NULL;
    for (struct request *r = held; r; r = r->next_held)
        r->waited = false;
    return held;
}

/* Those who have been here for a whole turn of the timer; the others have by the next one. */
static struct request *take_waited(struct deferred *d)
{
    struct request *taken = NULL;
    for (struct request **at = &d->held; *at;) {
        struct request *r = *at;
        if (r->waited) {
            *at = r->next_held;
            r->next_held = taken;
            taken = r;
        } else {
            r->waited = true;
            at = &r->next_held;
        }
    }
    return taken;
}

/* ---- Without the lock ---- */

/* Lets requests go on. */
static void resume(struct request *held)
{
    while (held) {
        struct request *r = held;
        held = r->next_held;
        if (r->fail_with_commit && r->commit_status < 0)
            request_reply(r, r->commit_status);
        else
            r->then(r);
    }
}

/* ---- After a commit ---- */

/* Under the lock. A commit is told by the loop, and they will ask the store. */
static void resume_elsewhere(struct mount *m, struct request *held, int status)
{
    while (held) {
        struct request *r = held;
        held = r->next_held;
        r->commit_status = status;
        r->next_held = m->resumed;
        m->resumed = r;
        timer_start(&m->timers, &m->resume_timer, TIMER_NOW);
    }
}

static void on_resume_timer(struct timer *timer)
{
    struct mount *m = map_entry(timer, struct mount, resume_timer);
    struct request *held = m->resumed;
    m->resumed = NULL;
    pthread_mutex_unlock(&m->lock);
    resume(held);
    pthread_mutex_lock(&m->lock);
}

void deferred_init(struct mount *m)
{
    map_init(&m->creations);
    m->resume_timer.expired = on_resume_timer;
}

/* ---- Commits ---- */

/* Under the lock; send_alone() must follow without it. */
static struct deferred *begin_commit(struct deferred *d)
{
    assert(d->state != COMMITTING);
    d->state = COMMITTING;
    timer_stop(&d->deadline);
    d->handle->mount->running++;
    return d;
}

static struct command creation_command(const struct deferred *d)
{
    return (struct command){.op = COMMAND_CREATE,
                            .flags = d->command_flags,
                            .caller = d->caller,
                            .parent = d->creation.key,
                            .name = d->name,
                            .name_bytes = (uint8_t)strlen(d->name),
                            .ino = d->attr.ino,
                            .mode = d->attr.mode & 07777};
}

static struct command truncation_command(const struct deferred *d, uint64_t ino)
{
    return (struct command){.op = COMMAND_SETATTR,
                            .flags = d->caller.uid ? COMMAND_KILL_SUID : 0,
                            .caller = d->caller,
                            .ino = ino,
                            .set = COMMAND_SET_SIZE,
                            .if_version = d->version};
}

/* Who waits goes on, and a released handle is closed. */
static void settle(struct deferred *d, int status, const struct store_result *result)
{
    struct handle *handle = d->handle;
    struct mount *m = handle->mount;
    pthread_mutex_lock(&m->lock);
    assert(d->state == COMMITTING);
    resume_elsewhere(m, take_held(d), status);
    bool released = d->released;
    uint64_t alias_of = 0;
    if (status == 0 && d->is_creation && result->attr.ino != d->attr.ino)
        alias_of = result->attr.ino;
    if ((status == 0 && !d->overtaken) || released) {
        remove_and_free(d);
    } else {
        d->state = KEPT;
        d->overtaken = false;
        stop_timers(d);
    }
    if (alias_of)
        handle_make_alias(handle, alias_of);
    pthread_mutex_unlock(&m->lock);
    if (released)
        handle_close(handle);
}

/* A commit is over, alone or carried. */
static void finish_commit(struct deferred *d, int status, const struct store_result *result)
{
    struct mount *m = d->handle->mount;
    settle(d, status, result);
    pthread_mutex_lock(&m->lock);
    if (--m->running == 0)
        pthread_cond_broadcast(&m->idle);
    pthread_mutex_unlock(&m->lock);
}

/* The file has left the tree while it was open: its private copy is truncated instead. */
static int truncate_orphan(struct deferred *d)
{
    struct store_attr attr;
    struct command command = truncation_command(d, handle_ino(d->handle));
    int status = store_orphan_setattr(d->handle->mount->store, &command, &attr);
    if (status == 0)
        handle_set_orphan(d->handle);
    return status;
}

static void on_alone(struct backend_change *change, int status, const struct store_result *result)
{
    struct deferred *d = map_entry(change, struct deferred, change);
    if (status == 0)
        status = result->status;
    if (status == -ESTALE && !d->is_creation)
        status = truncate_orphan(d);
    d->overtaken = status == 0 && !d->is_creation && result->attr.size_bytes > 0;
    finish_commit(d, status, result);
}

static void send_alone(struct deferred *d)
{
    if (!d)
        return;
    const struct backend *backend = d->handle->mount->backend;
    struct command command =
        d->is_creation ? creation_command(d) : truncation_command(d, handle_ino(d->handle));
    struct buf *encoded = command_encode(&command);
    if (!encoded) {
        finish_commit(d, -EINVAL, NULL);
        return;
    }
    d->change = (struct backend_change){.command = encoded, .done = on_alone};
    backend->change(backend->ctx, &d->change);
}

/* ---- Deadlines (on the timer thread, under the lock) ---- */

static void on_look_timer(struct timer *timer)
{
    struct deferred *d = map_entry(timer, struct deferred, look);
    struct mount *m = d->handle->mount;
    if (d->released)
        return; /* they wait for the commit */
    struct request *held = take_waited(d);
    if (d->held)
        timer_start(&m->timers, &d->look, TIMER_10_MS);
    pthread_mutex_unlock(&m->lock);
    resume(held);
    pthread_mutex_lock(&m->lock);
}

static void on_deadline_timer(struct timer *timer)
{
    struct deferred *d = map_entry(timer, struct deferred, deadline);
    struct mount *m = d->handle->mount;
    struct deferred *alone = d->state == WAITING ? begin_commit(d) : NULL;
    pthread_mutex_unlock(&m->lock);
    send_alone(alone);
    pthread_mutex_lock(&m->lock);
}

/* ---- Opening ---- */

void deferred_truncation(struct handle *handle, uint64_t version, uint32_t uid)
{
    struct mount *m = handle->mount;
    pthread_mutex_lock(&m->lock);
    struct deferred *d = add(handle);
    d->version = version;
    d->caller.uid = uid;
    timer_start(&m->timers, &d->deadline, TIMER_1_S);
    pthread_mutex_unlock(&m->lock);
}

void deferred_creation(struct handle *handle, uint64_t parent, const char *name, int flags,
                       const struct command_caller *caller, const struct store_attr *attr)
{
    struct mount *m = handle->mount;
    pthread_mutex_lock(&m->lock);
    struct deferred *d = add(handle);
    d->is_creation = true;
    timer_start(&m->timers, &d->deadline, TIMER_20_MS);
    d->attr = *attr;
    d->caller = *caller;
    d->command_flags = flags & O_TRUNC ? COMMAND_TRUNCATE : 0;
    memcpy(d->name, name, strlen(name) + 1);
    map_insert(&m->creations, parent, &d->creation);
    pthread_mutex_unlock(&m->lock);
}

/* ---- Waiting ---- */

static bool must_wait(const struct deferred *d, enum deferred_need need, bool waited)
{
    if (d->state == KEPT)
        return need == DEFERRED_CHANGE && d->is_creation;
    if (d->released || need == DEFERRED_CHANGE)
        return true;
    return need == DEFERRED_LOOK && (d->is_creation || !waited);
}

/* Under the lock: holds the request, and returns what is to be committed now, if anything. */
static struct deferred *hold_for(struct deferred *d, struct request *r, enum deferred_need need,
                                 request_fn *again)
{
    /* A change of what is not there cannot go on. */
    r->fail_with_commit = d->is_creation && need == DEFERRED_CHANGE;
    r->waited = false;
    if (need == DEFERRED_LOOK && !d->is_creation && !timer_runs(&d->look))
        timer_start(&r->mount->timers, &d->look, TIMER_10_MS);
    hold(d, r, again);
    return need == DEFERRED_CHANGE && d->state != COMMITTING ? begin_commit(d) : NULL;
}

bool deferred_hold(struct request *r, enum deferred_need need, uint64_t ino, request_fn *again)
{
    struct mount *m = r->mount;
    struct deferred *alone = NULL;
    pthread_mutex_lock(&m->lock);
    struct inode *inode = inode_find(m, ino);
    struct deferred *d = inode ? inode->pending : NULL;
    while (d && !must_wait(d, need, r->waited))
        d = d->next;
    if (d)
        alone = hold_for(d, r, need, again);
    pthread_mutex_unlock(&m->lock);
    send_alone(alone);
    return d;
}

bool deferred_hold_name(struct request *r, uint64_t parent, const char *name, request_fn *again)
{
    struct mount *m = r->mount;
    struct deferred *found = NULL;
    pthread_mutex_lock(&m->lock);
    struct map_link *link = map_find(&m->creations, parent);
    for (; link && !found; link = map_next(link)) {
        struct deferred *d = map_entry(link, struct deferred, creation);
        if ((*name == '\0' || strcmp(d->name, name) == 0) && must_wait(d, DEFERRED_LOOK, r->waited))
            found = d;
    }
    if (found)
        hold_for(found, r, DEFERRED_LOOK, again);
    pthread_mutex_unlock(&m->lock);
    return found;
}

int deferred_overlay(struct request *r, uint64_t ino, int status, struct store_attr *attr)
{
    struct mount *m = r->mount;
    bool truncated = false, mine = false;
    pthread_mutex_lock(&m->lock);
    struct inode *inode = inode_find(m, ino);
    for (struct deferred *d = inode ? inode->pending : NULL; d; d = d->next) {
        if (d->is_creation && status == -ESTALE) {
            *attr = d->attr;
            status = 0;
        }
        truncated = truncated || !d->is_creation;
        mine = mine || (!d->is_creation && d->handle->opener == r->caller);
    }
    pthread_mutex_unlock(&m->lock);
    if (status == 0 && truncated && (mine || caller_writes_to(r->caller, r->nodeid)))
        attr->size_bytes = 0;
    return status;
}

/* ---- A write ---- */

/*
 * Whether a write of this handle must wait for a pending change. One that empties the file itself
 * waits for nobody else's truncation: with `echo` in two shells at once, committing that one first
 * would show everybody the empty file.
 */
static bool is_in_the_way(const struct handle *handle, const struct deferred *d)
{
    const struct deferred *own = handle->deferred;
    if (d == own)
        return d->state == COMMITTING;
    bool empties = own && !own->is_creation && own->state != COMMITTING;
    return !(empties && !d->is_creation) && must_wait(d, DEFERRED_CHANGE, false);
}

/* Under the lock: what a write of this handle must wait for, or NULL. */
static struct deferred *in_the_way(struct handle *handle)
{
    struct deferred *d = handle->inode->pending;
    while (d && !is_in_the_way(handle, d))
        d = d->next;
    return d;
}

static void carry(struct deferred *d, struct command *command)
{
    begin_commit(d);
    if (!d->is_creation) {
        command->flags |= COMMAND_TRUNCATE;
        return;
    }
    struct command write = *command;
    *command = creation_command(d);
    command->flags |= write.flags | COMMAND_WITH_DATA;
    command->offset = write.offset;
    command->data = write.data;
    command->data_bytes = write.data_bytes;
}

bool deferred_hold_write(struct request *r, struct command *command, request_fn *again)
{
    struct handle *handle = r->handle;
    struct deferred *alone = NULL;
    pthread_mutex_lock(&r->mount->lock);
    struct deferred *d = in_the_way(handle);
    if (d)
        alone = hold_for(d, r, DEFERRED_CHANGE, again);
    else if (handle->deferred)
        carry(handle->deferred, command);
    if (d && d == handle->deferred)
        r->fail_with_commit = false; /* it will carry what could not be committed */
    r->carries = !d && handle->deferred;
    pthread_mutex_unlock(&r->mount->lock);
    send_alone(alone);
    return d;
}

void deferred_written(struct handle *handle, int status, const struct store_result *result)
{
    finish_commit(handle->deferred, status, result);
}

/* ---- fsync, close ---- */

static void synced(struct request *r)
{
    request_reply(r, 0);
}

bool deferred_hold_sync(struct request *r)
{
    struct deferred *alone = NULL;
    pthread_mutex_lock(&r->mount->lock);
    struct deferred *d = r->handle->deferred;
    if (d) {
        hold(d, r, synced);
        r->fail_with_commit = true;
        alone = d->state != COMMITTING ? begin_commit(d) : NULL;
    }
    pthread_mutex_unlock(&r->mount->lock);
    send_alone(alone);
    return d;
}

/* Closes the handle, unless a commit is on its way that will. */
static void close_handle(struct handle *handle, bool commit)
{
    struct mount *m = handle->mount;
    struct deferred *alone = NULL;
    struct request *held = NULL;
    pthread_mutex_lock(&m->lock);
    struct deferred *d = handle->deferred;
    if (d && d->state == WAITING && commit)
        alone = begin_commit(d);
    bool later = d && d->state == COMMITTING;
    if (later) {
        d->released = true;
    } else if (d) {
        held = take_held(d);
        remove_and_free(d);
    }
    pthread_mutex_unlock(&m->lock);
    send_alone(alone);
    if (!later)
        handle_close(handle);
    resume(held);
}

void deferred_release(struct handle *handle)
{
    close_handle(handle, true);
}

void deferred_abandon(struct handle *handle)
{
    close_handle(handle, false);
}

/* Under the lock: some change that waits for its write, or NULL. */
static struct deferred *any_waiting(struct mount *m)
{
    for (struct handle *handle = m->handles; handle; handle = handle->next)
        if (handle->deferred && handle->deferred->state == WAITING)
            return handle->deferred;
    return NULL;
}

void deferred_commit_all(struct mount *m)
{
    struct deferred *d;
    do {
        pthread_mutex_lock(&m->lock);
        d = any_waiting(m);
        if (d)
            begin_commit(d);
        pthread_mutex_unlock(&m->lock);
        send_alone(d);
    } while (d);
}
