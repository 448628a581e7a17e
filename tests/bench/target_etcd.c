/* SPDX-License-Identifier: MIT */
/*
 * target_etcd.c - etcd:HOST:PORT, by etcd's own gRPC interface, one connection for each client.
 *
 * put is KV/Put, get is KV/Range: linearizable, or with --local serializable (this member's own
 * state). The few protobuf fields that they need are written and read here by hand.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grpc.h"
#include "target.h"

enum { VARINT = 0, BYTES = 2, MESSAGE_BYTES = 16384 };

/* Fields of the messages: PutRequest, RangeRequest, RangeResponse, KeyValue. */
enum {
    PUT_KEY = 1,
    PUT_VALUE = 2,
    RANGE_KEY = 1,
    RANGE_SERIALIZABLE = 7,
    RANGE_KVS = 2,
    KV_VALUE = 5
};

static int etcd_connect(struct client *c)
{
    char host[64];
    int port;
    if (sscanf(c->target->where, "%63[^:]:%d", host, &port) != 2)
        return -EINVAL;
    struct grpc *g = malloc(sizeof(*g));
    if (g == NULL)
        return -ENOMEM;
    c->own = g;
    c->fd = tcp_connect(host, port);
    return c->fd < 0 ? c->fd : grpc_start(g, c->fd, c->target->where);
}

static void etcd_disconnect(struct client *c)
{
    free(c->own);
}

static size_t put_varint(uint8_t *at, uint64_t n)
{
    size_t i = 0;
    for (; n >= 0x80; n >>= 7)
        at[i++] = (uint8_t)(n | 0x80);
    at[i++] = (uint8_t)n;
    return i;
}

static size_t put_bytes(uint8_t *at, unsigned field, const void *data, size_t bytes)
{
    size_t n = put_varint(at, field << 3 | BYTES);
    n += put_varint(at + n, bytes);
    memcpy(at + n, data, bytes);
    return n + bytes;
}

/* The bytes behind a varint, or NULL when it runs past the end. */
static const uint8_t *get_varint(const uint8_t *at, const uint8_t *end, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; at < end && shift < 64; shift += 7) {
        *out |= (uint64_t)(*at & 0x7f) << shift;
        if ((*at++ & 0x80) == 0)
            return at;
    }
    return NULL;
}

/* Finds the first field of that number that holds bytes; NULL when there is none. */
static const uint8_t *find_bytes(const uint8_t *at, const uint8_t *end, unsigned field,
                                 uint64_t *bytes)
{
    while (at != NULL && at < end) {
        uint64_t tag, n;
        at = get_varint(at, end, &tag);
        if (at != NULL)
            at = get_varint(at, end, &n);
        if (at == NULL || (tag & 7) == VARINT)
            continue;
        if ((tag & 7) != BYTES || n > (uint64_t)(end - at))
            return NULL;
        if (tag >> 3 == field) {
            *bytes = n;
            return at;
        }
        at += n;
    }
    return NULL;
}

static int etcd_put(struct client *c, const char *key, const void *value, size_t bytes)
{
    uint8_t request[MESSAGE_BYTES], reply[256];
    if (bytes > sizeof(request) - 2 * BENCH_KEY_BYTES)
        return -EMSGSIZE;
    size_t n = put_bytes(request, PUT_KEY, key, strlen(key));
    n += put_bytes(request + n, PUT_VALUE, value, bytes);
    ssize_t got = grpc_call(c->own, "/etcdserverpb.KV/Put", request, n, reply, sizeof(reply));
    return got < 0 ? (int)got : 0;
}

static ssize_t etcd_get(struct client *c, const char *key, void *value, size_t room)
{
    uint8_t request[2 * BENCH_KEY_BYTES], reply[MESSAGE_BYTES];
    size_t n = put_bytes(request, RANGE_KEY, key, strlen(key));
    if (c->target->options->local) {
        request[n++] = RANGE_SERIALIZABLE << 3 | VARINT;
        request[n++] = 1;
    }
    ssize_t got = grpc_call(c->own, "/etcdserverpb.KV/Range", request, n, reply, sizeof(reply));
    if (got < 0)
        return got;
    if ((size_t)got > sizeof(reply))
        return -EMSGSIZE;
    uint64_t bytes;
    const uint8_t *kv = find_bytes(reply, reply + got, RANGE_KVS, &bytes);
    if (kv == NULL)
        return -ENOENT;
    const uint8_t *found = find_bytes(kv, kv + bytes, KV_VALUE, &bytes);
    if (found == NULL)
        return 0;
    memcpy(value, found, bytes < room ? bytes : room);
    return (ssize_t)bytes;
}

const struct target_kind target_etcd = {
    .prefix = "etcd:",
    .connect = etcd_connect,
    .disconnect = etcd_disconnect,
    .put = etcd_put,
    .get = etcd_get,
};
