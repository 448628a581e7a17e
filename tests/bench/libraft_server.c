/* SPDX-License-Identifier: MIT */
/*
 * libraft_server.c - libraft-server DIR ID PORT: a key-value store in memory on canonical's
 * libraft.
 *
 * What a small C server on a good Raft library does: one thread, libuv, the library's own log on
 * disk with direct I/O, a hash map as state machine. Server ID (1 to 3) speaks to its peers on
 * 127.0.0.1:PORT+ID and to clients on 127.0.0.1:PORT+10+ID (libraft_protocol.h). It starts as a
 * member of a cluster of the three. A put is answered once it is applied.
 */
#include <errno.h>
#include <raft.h>
#include <raft/uv.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libraft_protocol.h"

enum { SERVERS = 3, BUCKETS = 1 << 16, SNAPSHOT_ENTRIES = 10000 };

struct pair {
    struct pair *next;
    struct libraft_request size; /* key and value follow in `bytes` */
    char bytes[];
};

static struct pair *map[BUCKETS];
static struct raft raft;

/* ---- The state machine ---------------------------------------------------------------------- */

static struct pair **find(const char *key, uint32_t key_bytes)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (uint32_t i = 0; i < key_bytes; i++)
        hash = (hash ^ (uint8_t)key[i]) * 1099511628211u;
    struct pair **at = &map[hash % BUCKETS];
    while (*at != NULL &&
           ((*at)->size.key_bytes != key_bytes || memcmp((*at)->bytes, key, key_bytes) != 0))
        at = &(*at)->next;
    return at;
}

static size_t pair_bytes(const struct libraft_request *size)
{
    return sizeof(*size) + size->key_bytes + size->value_bytes;
}

/* Takes in one request, as a client sent it and as a snapshot holds it; gives its length. */
static size_t store(const char *data, size_t bytes)
{
    struct libraft_request size;
    if (bytes < sizeof(size))
        return 0;
    memcpy(&size, data, sizeof(size));
    if (pair_bytes(&size) > bytes)
        return 0;
    struct pair **at = find(data + sizeof(size), size.key_bytes);
    struct pair *old = *at;
    struct pair *pair = malloc(sizeof(*pair) + size.key_bytes + size.value_bytes);
    if (pair == NULL)
        abort();
    pair->next = old != NULL ? old->next : NULL;
    pair->size = size;
    memcpy(pair->bytes, data + sizeof(size), size.key_bytes + size.value_bytes);
    *at = pair;
    free(old);
    return pair_bytes(&size);
}

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    (void)fsm;
    *result = NULL;
    return store(buf->base, buf->len) > 0 ? 0 : RAFT_MALFORMED;
}

static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    (void)fsm;
    size_t bytes = 0, at = 0;
    for (int i = 0; i < BUCKETS; i++)
        for (struct pair *p = map[i]; p != NULL; p = p->next)
            bytes += pair_bytes(&p->size);
    size_t padded = (bytes + 7) / 8 * 8; /* the library wants whole words */
    *bufs = raft_malloc(sizeof(**bufs));
    char *out = raft_calloc(1, padded > 0 ? padded : 8);
    if (*bufs == NULL || out == NULL)
        return RAFT_NOMEM;
    for (int i = 0; i < BUCKETS; i++) {
        for (struct pair *p = map[i]; p != NULL; p = p->next) {
            memcpy(out + at, &p->size, sizeof(p->size));
            memcpy(out + at + sizeof(p->size), p->bytes, p->size.key_bytes + p->size.value_bytes);
            at += pair_bytes(&p->size);
        }
    }
    (*bufs)[0] = (struct raft_buffer){.base = out, .len = padded > 0 ? padded : 8};
    *n_bufs = 1;
    return 0;
}

static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    (void)fsm;
    const char *at = buf->base, *end = at + buf->len;
    size_t n;
    while ((size_t)(end - at) >= sizeof(struct libraft_request) &&
           (n = store(at, (size_t)(end - at))) > sizeof(struct libraft_request))
        at += n;
    raft_free(buf->base);
    return 0;
}

/* ---- Clients -------------------------------------------------------------------------------- */

struct connection {
    uv_tcp_t tcp;
    size_t got;
    bool waiting, closing; /* a request is with Raft; the peer is gone */
    char in[sizeof(struct libraft_request) + LIBRAFT_MAX_BYTES];
    struct libraft_reply reply;
    struct raft_apply apply;
    uv_write_t write;
};

static void take_request(struct connection *c);

static void on_close(uv_handle_t *handle)
{
    free(handle->data);
}

static void hang_up(struct connection *c)
{
    c->closing = true;
    if (!c->waiting && !uv_is_closing((uv_handle_t *)&c->tcp))
        uv_close((uv_handle_t *)&c->tcp, on_close);
}

static void on_written(uv_write_t *write, int status)
{
    struct connection *c = write->data;
    c->waiting = false;
    if (status < 0 || c->closing)
        hang_up(c);
    else
        take_request(c);
}

static void answer(struct connection *c, int status)
{
    c->reply.status = status;
    uv_buf_t buf = uv_buf_init((char *)&c->reply, sizeof(c->reply));
    c->write.data = c;
    if (uv_write(&c->write, (uv_stream_t *)&c->tcp, &buf, 1, on_written) < 0) {
        c->waiting = false;
        hang_up(c);
    }
}

static void on_applied(struct raft_apply *apply, int status, void *result)
{
    (void)result;
    answer(apply->data, status == 0 ? 0 : -EAGAIN);
}

static void take_request(struct connection *c)
{
    struct libraft_request size;
    if (c->waiting || c->got < sizeof(size))
        return;
    memcpy(&size, c->in, sizeof(size));
    size_t bytes = pair_bytes(&size);
    if (bytes > sizeof(c->in)) {
        hang_up(c);
        return;
    }
    if (c->got < bytes)
        return;
    size_t padded = (bytes + 7) / 8 * 8;
    struct raft_buffer buf = {.base = raft_calloc(1, padded), .len = padded};
    if (buf.base == NULL)
        abort();
    memcpy(buf.base, c->in, bytes);
    c->got -= bytes;
    memmove(c->in, c->in + bytes, c->got);
    c->waiting = true;
    c->apply.data = c;
    if (raft_apply(&raft, &c->apply, &buf, 1, on_applied) != 0) {
        raft_free(buf.base);
        answer(c, -EAGAIN);
    }
}

static void give_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct connection *c = handle->data;
    *buf = uv_buf_init(c->in + c->got, (unsigned)(sizeof(c->in) - c->got));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct connection *c = stream->data;
    if (n < 0) {
        uv_read_stop(stream);
        hang_up(c);
        return;
    }
    c->got += (size_t)n;
    take_request(c);
}

static void on_client(uv_stream_t *listener, int status)
{
    struct connection *c = status == 0 ? calloc(1, sizeof(*c)) : NULL;
    if (c == NULL)
        return;
    uv_tcp_init(listener->loop, &c->tcp);
    c->tcp.data = c;
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) < 0) {
        hang_up(c);
        return;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    uv_read_start((uv_stream_t *)&c->tcp, give_room, on_read);
}

/* ---- Start ---------------------------------------------------------------------------------- */

static void check(int failed, const char *what, const char *why)
{
    if (failed == 0)
        return;
    fprintf(stderr, "libraft-server: %s: %s\n", what, why);
    exit(1);
}

static void start_raft(uv_loop_t *loop, const char *dir, raft_id id, int port)
{
    static struct raft_uv_transport transport;
    static struct raft_io io;
    static struct raft_fsm fsm = {
        .version = 1, .apply = fsm_apply, .snapshot = fsm_snapshot, .restore = fsm_restore};
    char address[SERVERS][32];
    struct raft_configuration members;
    raft_configuration_init(&members);
    for (int i = 0; i < SERVERS; i++) {
        snprintf(address[i], sizeof(address[i]), "127.0.0.1:%d", port + i + 1);
        raft_configuration_add(&members, (raft_id)i + 1, address[i], RAFT_VOTER);
    }
    check(raft_uv_tcp_init(&transport, loop), "TCP", transport.errmsg);
    check(raft_uv_init(&io, loop, dir, &transport), dir, io.errmsg);
    check(raft_init(&raft, &io, &fsm, id, address[id - 1]), "raft", raft_errmsg(&raft));
    raft_set_snapshot_threshold(&raft, SNAPSHOT_ENTRIES);
    raft_set_snapshot_trailing(&raft, SNAPSHOT_ENTRIES);
    raft_set_pre_vote(&raft, true);
    int rc = raft_bootstrap(&raft, &members);
    check(rc != 0 && rc != RAFT_CANTBOOTSTRAP, "bootstrap", raft_errmsg(&raft));
    raft_configuration_close(&members);
    check(raft_start(&raft), "start", raft_errmsg(&raft));
}

int main(int argc, char **argv)
{
    raft_id id = argc == 4 ? strtoull(argv[2], NULL, 10) : 0;
    if (id < 1 || id > SERVERS) {
        fprintf(stderr, "usage: libraft-server DIR ID PORT (ID: 1 to %d)\n", SERVERS);
        return 2;
    }
    int port = atoi(argv[3]);
    signal(SIGPIPE, SIG_IGN);
    uv_loop_t *loop = uv_default_loop();
    start_raft(loop, argv[1], id, port);

    static uv_tcp_t listener;
    struct sockaddr_in address;
    uv_ip4_addr("127.0.0.1", port + 10 + (int)id, &address);
    uv_tcp_init(loop, &listener);
    int rc = uv_tcp_bind(&listener, (struct sockaddr *)&address, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&listener, SOMAXCONN, on_client);
    check(rc, "listen", uv_strerror(rc < 0 ? rc : 0));
    return uv_run(loop, UV_RUN_DEFAULT);
}
