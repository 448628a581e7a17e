/* SPDX-License-Identifier: MIT */
/*
 * driver.c - the core on a libuv loop.
 *
 * Everything that can happen to a node becomes one raft_event here, and everything that the core
 * wants becomes one call of log/, net/ or the node. One step:
 *
 *     event -> raft_step() -> payloads into the cache -> write to the log -> messages to the net
 *           -> timer
 *
 * What is committed goes to the node at the end of a turn, when all that the turn came to has been
 * sent: the others apply it at the same time.
 *
 * Appends leave in parallel with the leader's own write; promises (votes, acknowledgements) wait in
 * the outbox until the log reports their write durable.
 *
 * An append for a member far behind is read from the log first (reading.c). When it comes back it
 * is checked against the core's present term, since the world may have moved on meanwhile.
 *
 * The log's next batch is begun once a turn, when all that the turn came to has been sent.
 * Threads: on_durable arrives on the log's; it only stores a number and wakes the loop. What the
 * kernel has written for the loop (log/direct.c) needs no thread.
 */
#include "raft/internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/report.h"

enum { REPORT_EVERY_US = 60 * 1000 * 1000 };

static void settled(struct raft_driver *d)
{
    if (!d->closing)
        d->callbacks.settled(d->callbacks.ctx);
}

/* ---- Sending ---- */

static void send_now(struct raft_driver *d, const struct raft_msg *msg)
{
    struct raft_entry entries[RAFT_MAX_APPEND_ENTRIES];
    if (msg->kind != RAFT_MSG_APPEND || msg->append.count == 0) {
        raft_net_send(d->net, msg, NULL);
        return;
    }
    assert(msg->append.count <= RAFT_MAX_APPEND_ENTRIES);
    uint64_t first = msg->append.prev_index + 1;
    if (raft_cache_get(&d->cache, first, msg->append.count, entries))
        raft_net_send(d->net, msg, entries);
    else if (raft_net_is_up(d->net, msg->to))
        raft_driver_fetch(d, first, first + msg->append.count - 1, msg);
}

/* A member that needs this entry can have it from another leader only. */
static void lead_no_more(struct raft_driver *d, const struct fetch *f)
{
    uint64_t now_us = clock_mono_us();
    if (d->unreadable_us == 0 || now_us >= d->unreadable_us + REPORT_EVERY_US) {
        d->unreadable_us = now_us;
        report_error("log: entry %ju, which a member needs, cannot be read back: %s. Leadership is "
                     "handed over; mend the disk",
                     (uintmax_t)f->first, strerror(-f->status));
    }
    raft_driver_hand_over(d);
}

/* An append whose entries had to be read from disk; fewer than asked for are fine (raft.h). */
static void send_fetched(struct raft_driver *d, struct fetch *f)
{
    if (f->status == -EUCLEAN)
        d->callbacks.damaged(d->callbacks.ctx);
    else if (f->status < 0 && f->status != -ESTALE) /* not just cut from the log meanwhile */
        lead_no_more(d, f);
    if (f->status == 0 && raft_role(d->core) == RAFT_LEADER && raft_term(d->core) == f->msg.term) {
        f->msg.append.count = f->count;
        raft_net_send(d->net, &f->msg, f->entries);
    }
    raft_driver_drop_fetched(f);
}

static void release_outbox(struct raft_driver *d)
{
    struct raft_msg msg;
    while (raft_outbox_take(&d->outbox, d->durable_write, &msg))
        send_now(d, &msg);
}

static void send_all(struct raft_driver *d)
{
    for (uint32_t i = 0; i < d->out->send_count; i++) {
        const struct raft_send *s = &d->out->sends[i];
        if (s->after_write <= d->durable_write)
            send_now(d, &s->msg);
        else
            raft_outbox_put(&d->outbox, s);
    }
}

/* ---- One step ---- */

/* The k-th entry that this step's write appends, with a payload reference of its own. */
static struct raft_entry written_entry(const struct raft_write *w, uint32_t k,
                                       struct payload_source source)
{
    struct raft_entry e = {.index = w->first + k, .term = w->term, .kind = RAFT_ENTRY_COMMAND};
    if (w->own_kind) {
        e.kind = w->own_kind;
        e.payload = w->own_bytes ? buf_copy(w->own, w->own_bytes) : NULL;
        return e;
    }
    e.payload = buf_ref(source.payloads[w->skip + k]);
    if (source.metas) {
        e.term = source.metas[w->skip + k].term;
        e.kind = source.metas[w->skip + k].kind;
    }
    return e;
}

static void write_log(struct raft_driver *d, struct payload_source source)
{
    const struct raft_write *w = &d->out->write;
    if (w->id == 0)
        return;
    d->last_write = w->id;
    if (w->restart_index)
        raft_cache_restart(&d->cache, w->restart_index);
    if (w->truncate_from)
        raft_cache_truncate(&d->cache, w->truncate_from);
    struct raft_entry entries[RAFT_MAX_PROPOSE];
    assert(w->count <= RAFT_MAX_PROPOSE);
    for (uint32_t k = 0; k < w->count; k++) {
        entries[k] = written_entry(w, k, source);
        raft_cache_append(&d->cache, &entries[k]);
    }
    raft_log_submit(
        d->log, &(struct raft_log_write){.id = w->id,
                                         .restart_index = w->restart_index,
                                         .restart_term = w->restart_term,
                                         .truncate_from = w->truncate_from,
                                         .count = w->count,
                                         .entries = entries,
                                         .has_hard = w->has_hard,
                                         .hard = w->hard,
                                         .reserve = w->reserve || w->has_hard || w->restart_index});
    uint64_t durable = raft_durable_index(d->core);
    raft_cache_evict(&d->cache, d->handed_index < durable ? d->handed_index : durable);
}

static void on_wake(uv_timer_t *timer);

static void arm_timer(struct raft_driver *d, uint64_t now_us)
{
    uint64_t at_us = d->out->wake_at_us;
    if (at_us == UINT64_MAX)
        uv_timer_stop(&d->wake);
    else
        uv_timer_start(&d->wake, on_wake, at_us > now_us ? (at_us - now_us + 999) / 1000 : 0, 0);
}

void raft_driver_adopt_members(struct raft_driver *d)
{
    uint64_t index = 0;
    const struct raft_config *config = raft_config(d->core, &index);
    if (!config || index == d->config_index)
        return;
    d->config_index = index;
    struct member_heard heard[RAFT_MAX_MEMBERS] = {0};
    for (uint32_t i = 0; i < config->count; i++) {
        heard[i] = (struct member_heard){.id = config->members[i].id};
        for (uint32_t k = 0; k < RAFT_MAX_MEMBERS; k++)
            if (d->heard[k].id == heard[i].id)
                heard[i] = d->heard[k];
        heard[i].up = raft_net_is_up(d->net, heard[i].id);
    }
    pthread_mutex_lock(&d->core_lock);
    memcpy(d->heard, heard, sizeof(heard));
    pthread_mutex_unlock(&d->core_lock);
    raft_net_set_members(d->net, config, index);
}

/* What a configuration says of who has left holds once it is committed. */
static void settle_members(struct raft_driver *d)
{
    if (d->config_index == d->committed_config_index ||
        d->config_index > raft_commit_index(d->core))
        return;
    d->committed_config_index = d->config_index;
    raft_net_expel_removed(d->net);
}

void raft_driver_step_with(struct raft_driver *d, struct raft_event *event,
                           struct payload_source source)
{
    event->now_us = clock_boot_us();
    pthread_mutex_lock(&d->core_lock);
    raft_step(d->core, event, d->out);
    pthread_mutex_unlock(&d->core_lock);
    atomic_store(&d->lease_index, raft_commit_index(d->core));
    atomic_store(&d->lease_until_us, raft_role(d->core) == RAFT_LEADER
                                         ? raft_lease_until_us(d->core)
                                         : raft_grant_until_us(d->core));
    if (event->kind == RAFT_PERSISTED)
        d->durable_write = event->persisted.write_id;
    write_log(d, source);
    raft_driver_watch_disk(d, event->now_us);
    release_outbox(d);
    send_all(d);
    for (uint32_t i = 0; i < d->out->read_count; i++)
        d->callbacks.read_done(d->callbacks.ctx, d->out->reads[i].token, d->out->reads[i].index,
                               d->out->reads[i].ok);
    arm_timer(d, event->now_us);
    if (d->out->changed) {
        raft_driver_adopt_members(d);
        d->callbacks.changed(d->callbacks.ctx);
    }
    settle_members(d);
    if (d->out->need_snapshot_index)
        d->callbacks.need_snapshot(d->callbacks.ctx, d->out->need_snapshot_index);
}

void raft_driver_step(struct raft_driver *d, struct raft_event *event)
{
    raft_driver_step_with(d, event, (struct payload_source){0});
}

static void on_wake(uv_timer_t *timer)
{
    struct raft_driver *d = timer->data;
    raft_driver_step(d, &(struct raft_event){.kind = RAFT_TICK});
    settled(d);
}

/* ---- What the log's threads report ---- */

void raft_driver_on_durable(void *ctx, uint64_t write_id)
{
    struct raft_driver *d = ctx;
    atomic_store(&d->log_durable_write, write_id);
    uv_async_send(&d->log_async);
}

static void collect(struct raft_driver *d)
{
    for (struct fetch *f = raft_driver_take_fetched(d), *next; f; f = next) {
        next = f->next;
        if (f->msg.kind)
            send_fetched(d, f);
        else
            raft_driver_apply_fetched(d, f);
        memory_free(f);
    }
    uint64_t durable = atomic_load(&d->log_durable_write);
    if (durable > d->durable_write)
        raft_driver_step(d, &(struct raft_event){.kind = RAFT_PERSISTED, .persisted = {durable}});
    raft_driver_tell_disk(d);
    settled(d);
}

static void on_log_async(uv_async_t *async)
{
    collect(async->data);
}

static void on_log_event(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    struct raft_driver *d = poll->data;
    uint64_t durable = raft_log_reap(d->log);
    if (durable)
        atomic_store(&d->log_durable_write, durable);
    collect(d);
}

void raft_driver_watch_log(struct raft_driver *d)
{
    int fd = raft_log_event_fd(d->log);
    if (fd < 0)
        return;
    uv_poll_init(d->loop, &d->log_poll, fd);
    uv_poll_start(&d->log_poll, UV_READABLE, on_log_event);
    d->log_poll.data = d;
}

/* What a turn has come to is sent first: others write, or apply it, at the same time. */
void raft_driver_flush(struct raft_driver *d)
{
    if (d->closing)
        return; /* the net has sent its last, and may be gone already */
    raft_net_flush(d->net);
    if (d->core) {
        raft_log_push(d->log);
        raft_driver_feed(d);
    }
}

static void on_before_poll(uv_prepare_t *prepare)
{
    raft_driver_flush(prepare->data);
}

static void on_after_poll(uv_check_t *check)
{
    raft_driver_flush(check->data);
}

/* ---- What the net brings ---- */

struct member_heard *raft_driver_heard(struct raft_driver *d, raft_id peer)
{
    for (uint32_t i = 0; i < RAFT_MAX_MEMBERS; i++)
        if (d->heard[i].id == peer)
            return &d->heard[i];
    return NULL;
}

static void on_message(void *ctx, const struct raft_msg *msg, struct buf **payloads)
{
    struct raft_driver *d = ctx;
    if (d->core && !d->closing) {
        struct member_heard *heard = raft_driver_heard(d, msg->from);
        if (heard)
            heard->at_us = clock_boot_us();
        raft_driver_step_with(
            d, &(struct raft_event){.kind = RAFT_MESSAGE, .message = msg},
            (struct payload_source){.payloads = payloads, .metas = msg->append.entries});
        settled(d);
    }
    for (uint32_t i = 0; msg->kind == RAFT_MSG_APPEND && i < msg->append.count; i++)
        buf_unref(payloads[i]);
}

static void on_forward(void *ctx, raft_id from, uint64_t seq, struct buf **payloads, uint32_t count)
{
    struct raft_driver *d = ctx;
    enum raft_driver_sent sent = RAFT_SENT_NOWHERE;
    if (d->core && !d->closing && raft_role(d->core) == RAFT_LEADER)
        sent = raft_driver_append(d, payloads, count);
    raft_net_forward_reply(d->net, from, seq, count,
                           sent == RAFT_SENT_APPENDED ? RAFT_FORWARD_APPENDED
                           : sent == RAFT_SENT_FULL   ? RAFT_FORWARD_FULL
                                                      : RAFT_FORWARD_REFUSED);
    for (uint32_t i = 0; i < count; i++)
        buf_unref(payloads[i]);
    settled(d);
}

static void on_forward_reply(void *ctx, raft_id from, uint64_t seq, uint32_t count,
                             enum raft_net_forward_status status)
{
    (void)from;
    struct raft_driver *d = ctx;
    if (d->closing)
        return;
    d->callbacks.forward_done(d->callbacks.ctx, seq, count, status);
    settled(d);
}

static void set_up(struct raft_driver *d, raft_id peer, bool up)
{
    pthread_mutex_lock(&d->core_lock);
    struct member_heard *heard = raft_driver_heard(d, peer);
    if (heard)
        heard->up = up;
    pthread_mutex_unlock(&d->core_lock);
    d->callbacks.peer_changed(d->callbacks.ctx, peer);
}

static void on_peer_up(void *ctx, raft_id peer)
{
    struct raft_driver *d = ctx;
    if (!d->core || d->closing)
        return;
    set_up(d, peer, true);
    settled(d);
}

static void on_peer_lost(void *ctx, raft_id peer)
{
    struct raft_driver *d = ctx;
    if (!d->core || d->closing)
        return;
    set_up(d, peer, false);
    raft_driver_step(d, &(struct raft_event){.kind = RAFT_PEER_LOST, .lost = {peer}});
    settled(d);
}

static void on_change_reply(void *ctx, uint64_t seq, enum raft_refusal refusal)
{
    struct raft_driver *d = ctx;
    if (d->closing)
        return;
    d->callbacks.change_done(d->callbacks.ctx, seq, refusal);
    settled(d);
}

static void on_snapshot_ask(void *ctx, raft_id from, const struct raft_net_snapshot_ask *ask)
{
    struct raft_driver *d = ctx;
    if (!d->core || d->closing)
        return;
    d->callbacks.snapshot_ask(d->callbacks.ctx, from, ask);
    settled(d);
}

static void on_snapshot_piece(void *ctx, raft_id from, const struct raft_net_snapshot_piece *piece,
                              struct buf *data)
{
    struct raft_driver *d = ctx;
    if (!d->core || d->closing) {
        buf_unref(data);
        return;
    }
    d->callbacks.snapshot_piece(d->callbacks.ctx, from, piece, data);
    settled(d);
}

static void on_removed(void *ctx, const char *by_name)
{
    struct raft_driver *d = ctx;
    if (!d->closing)
        d->callbacks.removed(d->callbacks.ctx, by_name);
}

static bool on_invite(void *ctx, const struct raft_net_invitation *invitation,
                      struct raft_net_join *self, char why[RAFT_NET_WHY_BYTES])
{
    struct raft_driver *d = ctx;
    return d->callbacks.invite(d->callbacks.ctx, invitation, self, why);
}

static enum raft_net_claim on_claim(void *ctx, uint64_t cluster, raft_id from,
                                    const char *from_name, const char *from_address,
                                    raft_id expected_id)
{
    struct raft_driver *d = ctx;
    return d->callbacks.claim(d->callbacks.ctx, cluster, from, from_name, from_address,
                              expected_id);
}

/* ---- Starting and closing ---- */

int raft_driver_init(struct raft_driver **out, uv_loop_t *loop,
                     const struct raft_net_identity *identity,
                     const struct raft_driver_callbacks *callbacks, char why[RAFT_DRIVER_WHY_BYTES])
{
    struct raft_driver *d = memory_zalloc(sizeof(*d));
    d->loop = loop;
    d->callbacks = *callbacks;
    d->identity = *identity;
    pthread_mutex_init(&d->core_lock, NULL);
    pthread_mutex_init(&d->fetch_lock, NULL);
    struct raft_net_callbacks net = {.ctx = d,
                                     .on_message = on_message,
                                     .on_forward = on_forward,
                                     .on_forward_reply = on_forward_reply,
                                     .on_change = raft_driver_on_change,
                                     .on_change_reply = on_change_reply,
                                     .on_snapshot_ask = on_snapshot_ask,
                                     .on_snapshot_piece = on_snapshot_piece,
                                     .is_removed = raft_driver_is_removed,
                                     .on_removed = on_removed,
                                     .on_join = raft_driver_on_join,
                                     .on_invite = on_invite,
                                     .on_claim = on_claim,
                                     .on_peer_up = on_peer_up,
                                     .on_peer_lost = on_peer_lost};
    int status = raft_net_init(&d->net, loop, identity, &net, why);
    if (status < 0) {
        memory_free(d);
        return status;
    }
    uv_async_init(loop, &d->log_async, on_log_async);
    uv_timer_init(loop, &d->wake);
    uv_prepare_init(loop, &d->before_poll);
    uv_prepare_start(&d->before_poll, on_before_poll);
    uv_check_init(loop, &d->after_poll);
    uv_check_start(&d->after_poll, on_after_poll);
    d->log_async.data = d;
    d->wake.data = d;
    d->before_poll.data = d;
    d->after_poll.data = d;
    d->open_parts = 5;
    *out = d;
    return 0;
}

static void part_closed(struct raft_driver *d)
{
    if (--d->open_parts > 0)
        return;
    if (d->core) {
        raft_cache_close(&d->cache);
        raft_outbox_close(&d->outbox);
        memory_free(d->core);
        memory_free(d->out);
    }
    pthread_mutex_destroy(&d->core_lock);
    pthread_mutex_destroy(&d->fetch_lock);
    void (*on_closed)(void *ctx) = d->on_closed;
    void *ctx = d->closed_ctx;
    memory_free(d);
    on_closed(ctx);
}

static void on_handle_closed(uv_handle_t *handle)
{
    part_closed(handle->data);
}

static void on_net_closed(void *ctx)
{
    part_closed(ctx);
}

void raft_driver_close(struct raft_driver *d, void (*on_closed)(void *ctx), void *ctx)
{
    d->closing = true;
    d->on_closed = on_closed;
    d->closed_ctx = ctx;
    if (d->log_poll.data)
        uv_poll_stop(&d->log_poll);
    if (d->log)
        raft_log_close(d->log);
    for (struct fetch *f = raft_driver_take_fetched(d), *next; f; f = next) {
        next = f->next;
        raft_driver_drop_fetched(f);
        memory_free(f);
    }
    uv_close((uv_handle_t *)&d->log_async, on_handle_closed);
    uv_close((uv_handle_t *)&d->wake, on_handle_closed);
    uv_close((uv_handle_t *)&d->before_poll, on_handle_closed);
    uv_close((uv_handle_t *)&d->after_poll, on_handle_closed);
    if (d->log_poll.data) {
        d->open_parts++;
        uv_close((uv_handle_t *)&d->log_poll, on_handle_closed);
    }
    raft_net_close(d->net, on_net_closed, d);
}
