/* SPDX-License-Identifier: MIT */
#include "raft/net/conn.h"

#include <assert.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/memory.h"
#include "raft/net/internal.h"

enum {
    IN_BYTES = 64 * 1024, /* kept by an idle connection */
    OUT_PIECES = 64,      /* at first */
    WRITE_PIECES = 256,   /* in one write */
    /*
     * Data that nobody acknowledges breaks the connection, and it is dialled again. Without this a
     * partition that heals would be noticed only when TCP's backed-off retransmission says so.
     */
    UNACKNOWLEDGED_MS = 2000,
};

struct net_conn *net_conn_new(struct raft_net *net, const struct net_conn_role *role)
{
    struct net_conn *c = memory_zalloc(sizeof(*c));
    int rc = uv_tcp_init(net->loop, &c->tcp);
    assert(rc == 0);
    c->tcp.data = c;
    c->net = net;
    c->role = role;
    c->deadline_ms = uv_now(net->loop) + NET_GREETING_MS;
    snprintf(c->remote, sizeof(c->remote), "an unknown address");
    c->next = net->conns;
    if (c->next)
        c->next->prev = c;
    net->conns = c;
    net->conn_count++;
    return c;
}

/* ---- Closing ---- */

static void drop_pieces(struct net_conn *c)
{
    for (uint32_t i = 0; i < c->out_count; i++)
        buf_unref(c->out[(c->out_head + i) & (c->out_capacity - 1)].buf);
    c->out_count = 0;
    c->out_bytes = 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct net_conn *c = handle->data;
    struct raft_net *net = c->net;
    drop_pieces(c);
    if (c->prev)
        c->prev->next = c->next;
    else
        net->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    memory_free(c->in);
    memory_free(c->out);
    memory_free(c);
    net->conn_count--;
    net_handle_closed(net);
}

void net_conn_close(struct net_conn *c, int status)
{
    if (c->closing)
        return;
    c->closing = true;
    c->role->on_broken(c, status);
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}

void net_conn_bad_input(struct net_conn *c, const char *what)
{
    net_count_bad_input(c->net, c->remote, what);
    net_conn_close(c, 0);
}

void net_conn_tick(struct net_conn *c, uint64_t now_ms)
{
    if (c->closing)
        return;
    if (c->deadline_ms && now_ms >= c->deadline_ms)
        net_conn_close(c, UV_ETIMEDOUT);
    else if (c->in_bytes && now_ms >= c->in_since_ms + NET_STALL_MS)
        net_conn_bad_input(c, "a frame that does not go on");
}

/* ---- Reading ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct net_conn *c = handle->data;
    *buf = uv_buf_init((char *)c->in + c->in_bytes, (unsigned)(c->in_capacity - c->in_bytes));
}

static void resize_in(struct net_conn *c, size_t bytes)
{
    c->in = memory_realloc(c->in, bytes);
    c->in_capacity = bytes;
}

/* Before it is accepted a connection may carry no more than a greeting. */
static uint32_t most_bytes(const struct net_conn *c)
{
    return c->greeted ? WIRE_MAX_BODY_BYTES : WIRE_MAX_GREETING_BYTES;
}

/*
 * The next whole frame at `at`: its bytes, or 0 if it is not there yet. False for a frame that
 * cannot be one.
 */
static bool next_frame(struct net_conn *c, size_t at, struct wire_header *header, size_t *bytes)
{
    size_t have = c->in_bytes - at;
    *bytes = 0;
    if (have < WIRE_HEADER_BYTES)
        return true;
    wire_read_header(c->in + at, header);
    if (header->body_bytes > most_bytes(c)) {
        net_conn_bad_input(c, "a frame that is too long");
        return false;
    }
    size_t whole = WIRE_HEADER_BYTES + (size_t)header->body_bytes;
    if (have >= whole)
        *bytes = whole;
    else if (whole > c->in_capacity)
        resize_in(c, whole);
    return true;
}

static bool handle_frame(struct net_conn *c, size_t at, const struct wire_header *header)
{
    const uint8_t *body = c->in + at + WIRE_HEADER_BYTES;
    if (!wire_check(header, body)) {
        net_conn_bad_input(c, "a frame whose checksum is wrong");
        return false;
    }
    if (!c->role->on_frame(c, header, body)) {
        net_conn_bad_input(c, "a frame that makes no sense");
        return false;
    }
    return !c->closing && !c->last;
}

static void take_frames(struct net_conn *c)
{
    size_t at = 0;
    size_t bytes = 0;
    struct wire_header header;
    while (next_frame(c, at, &header, &bytes) && bytes > 0) {
        if (!handle_frame(c, at, &header))
            return;
        at += bytes;
    }
    if (c->closing)
        return;
    c->in_bytes -= at;
    memmove(c->in, c->in + at, c->in_bytes);
    if (c->in_bytes == 0 && c->in_capacity > IN_BYTES)
        resize_in(c, IN_BYTES);
}

/*
 * Data goes one way on a connection, so that TCP's acknowledgements have none to travel with. The
 * kernel then sends one within each read(2), before it hands the data on, which costs half as much
 * as a message. Delayed ones it sends within every second read. It forgets that it was told to
 * whenever one was delayed in vain, so it is told again each time.
 */
static void delay_acknowledgements(struct net_conn *c)
{
    int at_once = 0;
    setsockopt(c->fd, IPPROTO_TCP, TCP_QUICKACK, &at_once, sizeof(at_once));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct net_conn *c = stream->data;
    if (n < 0) {
        net_conn_close(c, (int)n);
        return;
    }
    if (n == 0 || c->last || c->closing)
        return;
    c->in_bytes += (size_t)n;
    c->in_since_ms = uv_now(c->net->loop);
    delay_acknowledgements(c);
    take_frames(c);
}

int net_conn_start(struct net_conn *c)
{
    int rc = uv_fileno((uv_handle_t *)&c->tcp, &c->fd);
    if (rc < 0)
        return rc;
    unsigned unacknowledged_ms = UNACKNOWLEDGED_MS;
    setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof(unacknowledged_ms));
    uv_tcp_nodelay(&c->tcp, 1);
    net_remote_text(&c->tcp, c->remote, sizeof(c->remote));
    resize_in(c, IN_BYTES);
    return uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

/* ---- Writing ---- */

static void push_piece(struct net_conn *c, struct buf *buf)
{
    if (c->out_count == c->out_capacity) {
        uint32_t capacity = c->out_capacity ? 2 * c->out_capacity : OUT_PIECES;
        struct net_piece *out = memory_alloc(capacity * sizeof(*out));
        for (uint32_t i = 0; i < c->out_count; i++)
            out[i] = c->out[(c->out_head + i) & (c->out_capacity - 1)];
        memory_free(c->out);
        c->out = out;
        c->out_head = 0;
        c->out_capacity = capacity;
    }
    c->out[(c->out_head + c->out_count++) & (c->out_capacity - 1)] = (struct net_piece){.buf = buf};
    c->out_bytes += buf->bytes;
}

void net_conn_send(struct net_conn *c, struct buf *head, struct buf *const *payloads,
                   uint32_t count)
{
    push_piece(c, head);
    for (uint32_t i = 0; i < count; i++)
        if (payloads[i] && payloads[i]->bytes)
            push_piece(c, buf_ref(payloads[i]));
}

static uint32_t gather(struct net_conn *c, uv_buf_t bufs[WRITE_PIECES])
{
    uint32_t n = c->out_count < WRITE_PIECES ? c->out_count : WRITE_PIECES;
    for (uint32_t i = 0; i < n; i++) {
        struct net_piece *p = &c->out[(c->out_head + i) & (c->out_capacity - 1)];
        bufs[i] = uv_buf_init((char *)p->buf->data + p->sent_bytes, p->buf->bytes - p->sent_bytes);
    }
    return n;
}

/* The first `bytes` of the queue are written. */
static void consume(struct net_conn *c, size_t bytes)
{
    c->out_bytes -= bytes;
    while (bytes > 0) {
        struct net_piece *p = &c->out[c->out_head];
        size_t left = p->buf->bytes - p->sent_bytes;
        if (bytes < left) {
            p->sent_bytes += (uint32_t)bytes;
            return;
        }
        bytes -= left;
        buf_unref(p->buf);
        c->out_head = (c->out_head + 1) & (c->out_capacity - 1);
        c->out_count--;
    }
}

static void on_written(uv_write_t *write, int status)
{
    struct net_conn *c = write->data;
    uint32_t n = c->writing;
    c->writing = 0;
    if (status < 0) {
        net_conn_close(c, status);
        return;
    }
    size_t bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct net_piece *p = &c->out[(c->out_head + i) & (c->out_capacity - 1)];
        bytes += p->buf->bytes - p->sent_bytes;
    }
    consume(c, bytes);
    net_conn_flush(c);
}

void net_conn_flush(struct net_conn *c)
{
    uv_buf_t bufs[WRITE_PIECES];
    while (!c->closing && c->writing == 0 && c->out_count > 0) {
        uint32_t n = gather(c, bufs);
        int rc = uv_try_write((uv_stream_t *)&c->tcp, bufs, n);
        if (rc > 0) {
            consume(c, (size_t)rc);
            continue;
        }
        if (rc != UV_EAGAIN) {
            net_conn_close(c, rc);
            return;
        }
        c->write.data = c;
        c->writing = n;
        rc = uv_write(&c->write, (uv_stream_t *)&c->tcp, bufs, n, on_written);
        if (rc < 0)
            net_conn_close(c, rc);
    }
    if (c->last && c->out_count == 0)
        net_conn_close(c, 0);
}
