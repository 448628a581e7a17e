/* SPDX-License-Identifier: MIT */
/*
 * A frame is length (3 bytes), type, flags, stream (4 bytes), payload. A call is a HEADERS frame
 * (HPACK, literals that neither side needs to remember) and one DATA frame that holds a gRPC
 * message: a zero byte, its length, the protobuf. The reply's DATA is the message; a call that
 * failed has trailers only. So the headers that come back need not be decoded.
 */
#include "grpc.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "target.h"

enum {
    DATA = 0,
    HEADERS = 1,
    RST_STREAM = 3,
    SETTINGS = 4,
    PING = 6,
    GOAWAY = 7,
    WINDOW_UPDATE = 8,
    END_STREAM = 1,
    ACK = 1,
    END_HEADERS = 4,
    FRAME_HEAD = 9,
    MAX_MESSAGE = 16000, /* one DATA frame of HTTP/2's smallest maximum, 16,384 */
    MESSAGE_HEAD = 5,
    FIRST_WINDOW = 65535,
    WIDEST_WINDOW = 0x7fffffff,
};

struct frame {
    uint32_t bytes, stream;
    uint8_t type, flags;
};

static void put_u32(uint8_t *at, uint32_t n)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(n >> (24 - 8 * i));
}

static uint32_t get_u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static size_t put_frame_head(uint8_t *at, uint32_t bytes, uint8_t type, uint8_t flags,
                             uint32_t stream)
{
    put_u32(at, bytes << 8 | type);
    at[4] = flags;
    put_u32(at + 5, stream);
    return FRAME_HEAD;
}

int grpc_start(struct grpc *g, int fd, const char *authority)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    uint8_t out[128];
    size_t n = sizeof(preface) - 1;
    memcpy(out, preface, n);
    n += put_frame_head(out + n, 6, SETTINGS, 0, 0);
    out[n++] = 0;
    out[n++] = 4; /* SETTINGS_INITIAL_WINDOW_SIZE: replies need never wait for this client */
    put_u32(out + n, WIDEST_WINDOW);
    n += 4;
    n += put_frame_head(out + n, 4, WINDOW_UPDATE, 0, 0);
    put_u32(out + n, WIDEST_WINDOW - FIRST_WINDOW);
    n += 4;
    *g = (struct grpc){.fd = fd, .stream = 1, .may_send = FIRST_WINDOW};
    snprintf(g->authority, sizeof(g->authority), "%s", authority);
    return send_all(fd, out, n);
}

/* A string of at most 126 bytes, its length before it. */
static size_t put_string(uint8_t *at, const char *text)
{
    size_t length = strlen(text);
    at[0] = (uint8_t)length;
    memcpy(at + 1, text, length);
    return 1 + length;
}

static size_t put_headers(uint8_t *at, const struct grpc *g, const char *path)
{
    size_t n = 0;
    at[n++] = 0x83; /* :method POST and :scheme http, of HPACK's static table */
    at[n++] = 0x86;
    at[n++] = 0x04; /* :path */
    n += put_string(at + n, path);
    at[n++] = 0x01; /* :authority */
    n += put_string(at + n, g->authority);
    at[n++] = 0x0f; /* content-type, the table's 31st */
    at[n++] = 0x10;
    n += put_string(at + n, "application/grpc");
    at[n++] = 0x00; /* a name of our own */
    n += put_string(at + n, "te");
    n += put_string(at + n, "trailers");
    return n;
}

static int skip(int fd, uint32_t bytes)
{
    uint8_t dropped[1024];
    int rc = 0;
    while (bytes > 0 && rc == 0) {
        uint32_t n = bytes < sizeof(dropped) ? bytes : (uint32_t)sizeof(dropped);
        rc = recv_all(fd, dropped, n);
        bytes -= n;
    }
    return rc;
}

static int acknowledge(struct grpc *g, const struct frame *f)
{
    uint8_t out[FRAME_HEAD + 8];
    size_t n = FRAME_HEAD;
    int rc = 0;
    if (f->type == PING && f->bytes == 8) {
        rc = recv_all(g->fd, out + n, 8);
        n += 8;
    } else {
        rc = skip(g->fd, f->bytes);
    }
    if (rc < 0 || (f->flags & ACK) != 0)
        return rc;
    put_frame_head(out, (uint32_t)n - FRAME_HEAD, f->type, ACK, 0);
    return send_all(g->fd, out, n);
}

static int widen(struct grpc *g, const struct frame *f)
{
    uint8_t more[4];
    if (f->bytes != sizeof(more))
        return -EPROTO;
    int rc = recv_all(g->fd, more, sizeof(more));
    if (rc == 0 && f->stream == 0) /* a stream's own window is never used up by one message */
        g->may_send += get_u32(more) & WIDEST_WINDOW;
    return rc;
}

/* Reads one frame; what is not DATA is dealt with here, DATA's payload is left to the caller. */
static int next_frame(struct grpc *g, struct frame *f)
{
    uint8_t head[FRAME_HEAD];
    int rc = recv_all(g->fd, head, sizeof(head));
    if (rc < 0)
        return rc;
    *f = (struct frame){.bytes = get_u32(head) >> 8,
                        .type = head[3],
                        .flags = head[4],
                        .stream = get_u32(head + 5) & WIDEST_WINDOW};
    switch (f->type) {
    case DATA:
        return 0;
    case SETTINGS:
    case PING:
        return acknowledge(g, f);
    case WINDOW_UPDATE:
        return widen(g, f);
    case RST_STREAM:
    case GOAWAY:
        return -ECONNRESET;
    default:
        return skip(g->fd, f->bytes);
    }
}

static int send_call(struct grpc *g, const char *path, const void *message, size_t bytes)
{
    uint8_t out[MAX_MESSAGE + 1024];
    struct frame f;
    int rc = 0;
    while (rc == 0 && g->may_send < (int64_t)(MESSAGE_HEAD + bytes))
        rc = next_frame(g, &f);
    if (rc < 0)
        return rc;
    size_t headers = put_headers(out + FRAME_HEAD, g, path);
    size_t n = put_frame_head(out, (uint32_t)headers, HEADERS, END_HEADERS, g->stream) + headers;
    n += put_frame_head(out + n, (uint32_t)(MESSAGE_HEAD + bytes), DATA, END_STREAM, g->stream);
    out[n++] = 0; /* not compressed */
    put_u32(out + n, (uint32_t)bytes);
    n += 4;
    memcpy(out + n, message, bytes);
    g->may_send -= (int64_t)(MESSAGE_HEAD + bytes);
    return send_all(g->fd, out, n + bytes);
}

/* The payload of one DATA frame; *got counts what has come of the message and its head. */
static int take_data(struct grpc *g, const struct frame *f, uint8_t *reply, size_t room,
                     size_t *got)
{
    uint8_t head[MESSAGE_HEAD];
    uint32_t left = f->bytes;
    if (*got == 0 && left >= MESSAGE_HEAD) {
        int rc = recv_all(g->fd, head, MESSAGE_HEAD);
        if (rc < 0)
            return rc;
        left -= MESSAGE_HEAD;
        *got = MESSAGE_HEAD;
    }
    size_t at = *got >= MESSAGE_HEAD ? *got - MESSAGE_HEAD : 0;
    uint32_t kept = at >= room ? 0 : left < room - at ? left : (uint32_t)(room - at);
    int rc = recv_all(g->fd, reply + at, kept);
    *got += left;
    return rc < 0 ? rc : skip(g->fd, left - kept);
}

ssize_t grpc_call(struct grpc *g, const char *path, const void *message, size_t bytes, void *reply,
                  size_t room)
{
    if (bytes > MAX_MESSAGE)
        return -EMSGSIZE;
    int rc = send_call(g, path, message, bytes);
    size_t got = 0;
    for (bool ended = false; rc == 0 && !ended;) {
        struct frame f = {0};
        rc = next_frame(g, &f);
        if (rc == 0 && f.type == DATA)
            rc = take_data(g, &f, reply, room, &got);
        ended = (f.type == DATA || f.type == HEADERS) && f.stream == g->stream &&
                (f.flags & END_STREAM) != 0;
    }
    g->stream += 2;
    if (rc < 0)
        return rc;
    return got >= MESSAGE_HEAD ? (ssize_t)(got - MESSAGE_HEAD) : -EIO;
}
