/* SPDX-License-Identifier: MIT */
#include "target.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Directories come last: they have no prefix. */
static const struct target_kind *const kinds[] = {&target_etcd, &target_libraft, &target_disk,
                                                  &target_tcp,  &target_fuse,    &target_files};

int target_open(struct target *t, const struct options *o, const char *name)
{
    *t = (struct target){.options = o};
    for (size_t i = 0; t->kind == NULL; i++) {
        size_t length = strlen(kinds[i]->prefix);
        if (strncmp(name, kinds[i]->prefix, length) == 0) {
            t->kind = kinds[i];
            t->where = name + length;
        }
    }
    int rc = t->kind->open != NULL ? t->kind->open(t) : 0;
    if (rc < 0)
        complain("%s cannot be used: %s", name, strerror(-rc));
    return rc;
}

void target_close(struct target *t)
{
    if (t->kind->close != NULL)
        t->kind->close(t);
}

int client_connect(struct client *c, struct target *t, unsigned number)
{
    *c = (struct client){.target = t, .number = number, .fd = -1};
    int rc = t->kind->connect(c);
    if (rc < 0)
        complain("no connection to %s%s: %s", t->kind->prefix, t->where, strerror(-rc));
    return rc;
}

void client_disconnect(struct client *c)
{
    if (c->target->kind->disconnect != NULL)
        c->target->kind->disconnect(c);
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

int tcp_connect(const char *host, int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
        return -EINVAL;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    int rc = -errno;
    close(fd);
    return rc;
}

int send_all(int fd, const void *data, size_t bytes)
{
    const char *at = data;
    while (bytes > 0) {
        ssize_t n = send(fd, at, bytes, MSG_NOSIGNAL);
        if (n < 0)
            return -errno;
        at += n;
        bytes -= (size_t)n;
    }
    return 0;
}

int recv_all(int fd, void *data, size_t bytes)
{
    ssize_t n = bytes > 0 ? recv(fd, data, bytes, MSG_WAITALL) : 0;
    if (n < 0)
        return -errno;
    return (size_t)n == bytes ? 0 : -ECONNRESET;
}
