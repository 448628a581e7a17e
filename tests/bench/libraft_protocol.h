/* SPDX-License-Identifier: MIT */
/*
 * libraft_protocol.h - what the bench and libraft-server say to each other: a request with a key
 * and a value behind it, then a reply, one request at a time on a connection. Both run on one
 * machine, so numbers are in its byte order.
 */
#ifndef BENCH_LIBRAFT_PROTOCOL_H
#define BENCH_LIBRAFT_PROTOCOL_H

#include <stdint.h>

enum { LIBRAFT_MAX_BYTES = 64 * 1024 };

struct libraft_request {
    uint32_t key_bytes, value_bytes;
};

struct libraft_reply {
    int32_t status; /* 0, or a negative errno: -EAGAIN when this server does not lead */
};

#endif
