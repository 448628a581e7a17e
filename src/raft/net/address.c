/* SPDX-License-Identifier: MIT */
/*
 * HOST:PORT to a socket address. A numeric host, in brackets if it is IPv6, costs nothing; only a
 * name goes to the resolver, which runs on libuv's thread pool.
 */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "raft/net/internal.h"

struct resolution {
    uv_getaddrinfo_t request;
    struct raft_net *net;
    net_resolved_fn *done;
    uint64_t key;
};

/* Splits the text; false if it is not HOST:PORT. */
static bool split(const char *text, char host[RAFT_ADDRESS_BYTES], const char **port)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || (size_t)(colon - text) >= RAFT_ADDRESS_BYTES)
        return false;
    size_t bytes = (size_t)(colon - text);
    if (text[0] == '[' && bytes > 2 && text[bytes - 1] == ']') {
        text++;
        bytes -= 2;
    }
    memcpy(host, text, bytes);
    host[bytes] = '\0';
    *port = colon + 1;
    return true;
}

static bool is_numeric(const char *host, const char *port, struct sockaddr_storage *out)
{
    int number = atoi(port);
    return uv_ip4_addr(host, number, (struct sockaddr_in *)out) == 0 ||
           uv_ip6_addr(host, number, (struct sockaddr_in6 *)out) == 0;
}

static const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct resolution *r = request->data;
    struct raft_net *net = r->net;
    net->resolving--;
    if (!net->closing)
        r->done(net, r->key, status == 0 ? found->ai_addr : NULL, status);
    uv_freeaddrinfo(found);
    memory_free(r);
    if (net->closing)
        net_handle_closed(net);
}

void net_resolve(struct raft_net *net, const char *text, net_resolved_fn *done, uint64_t key)
{
    char host[RAFT_ADDRESS_BYTES];
    const char *port;
    struct sockaddr_storage address;
    if (!split(text, host, &port)) {
        done(net, key, NULL, UV_EINVAL);
        return;
    }
    if (is_numeric(host, port, &address)) {
        done(net, key, (struct sockaddr *)&address, 0);
        return;
    }
    struct resolution *r = memory_zalloc(sizeof(*r));
    r->net = net;
    r->done = done;
    r->key = key;
    r->request.data = r;
    int rc = uv_getaddrinfo(net->loop, &r->request, on_resolved, host, port, &hints);
    if (rc == 0) {
        net->resolving++;
        return;
    }
    memory_free(r);
    done(net, key, NULL, rc);
}

int net_resolve_now(struct raft_net *net, const char *text, struct sockaddr_storage *out)
{
    char host[RAFT_ADDRESS_BYTES];
    const char *port;
    if (!split(text, host, &port))
        return UV_EINVAL;
    if (is_numeric(host, port, out))
        return 0;
    uv_getaddrinfo_t request;
    int rc = uv_getaddrinfo(net->loop, &request, NULL, host, port, &hints);
    if (rc < 0)
        return rc;
    memcpy(out, request.addrinfo->ai_addr, request.addrinfo->ai_addrlen);
    uv_freeaddrinfo(request.addrinfo);
    return 0;
}
