/* SPDX-License-Identifier: MIT */
/* When a peer counts as lost: two nets on one loop, whose connections are cut under them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "raft/net/internal.h"

enum { PATIENCE_MS = 60 * 1000 };

struct side {
    struct raft_net *net;
    unsigned ups;
    unsigned losses;
    bool closed;
};

static uv_loop_t loop;
static struct side sides[2];

static void on_peer_up(void *ctx, raft_id peer)
{
    (void)peer;
    ((struct side *)ctx)->ups++;
}

static void on_peer_lost(void *ctx, raft_id peer)
{
    (void)peer;
    ((struct side *)ctx)->losses++;
}

static bool is_removed(void *ctx, raft_id from, uint64_t config_index)
{
    (void)ctx;
    (void)from;
    (void)config_index;
    return false;
}

static void on_closed(void *ctx)
{
    ((struct side *)ctx)->closed = true;
}

static void on_patience(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("nothing happens any more");
}

static void run_until(bool (*done)(void))
{
    uv_timer_t patience;
    uv_timer_init(&loop, &patience);
    uv_timer_start(&patience, on_patience, PATIENCE_MS, 0);
    while (!done())
        uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&patience, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
}

static struct raft_net_identity identity_of(int k, int port)
{
    struct raft_net_identity identity = {.cluster = 7, .id = (raft_id)(k + 1)};
    snprintf(identity.name, sizeof(identity.name), "node%d", k + 1);
    snprintf(identity.address, sizeof(identity.address), "127.0.0.1:%d", port);
    return identity;
}

/* A port that is free now; whoever takes it before us makes us try the next. */
static int open_side(int k)
{
    char why[RAFT_NET_WHY_BYTES];
    struct raft_net_callbacks callbacks = {.ctx = &sides[k],
                                           .is_removed = is_removed,
                                           .on_peer_up = on_peer_up,
                                           .on_peer_lost = on_peer_lost};
    for (int port = 24000 + k; port < 32000; port += 2) {
        struct raft_net_identity identity = identity_of(k, port);
        if (raft_net_init(&sides[k].net, &loop, &identity, &callbacks, why) == 0)
            return port;
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    fail_msg("no port is free: %s", why);
    return 0;
}

static bool both_up(void)
{
    return sides[0].ups >= 1 && sides[1].ups >= 1;
}

static int setup(void **state)
{
    (void)state;
    uv_loop_init(&loop);
    memset(sides, 0, sizeof(sides));
    struct raft_config config = {.count = 2};
    for (int k = 0; k < 2; k++) {
        struct raft_net_identity identity = identity_of(k, open_side(k));
        config.members[k] = (struct raft_member){.id = identity.id, .voter = true};
        memcpy(config.members[k].name, identity.name, sizeof(identity.name));
        memcpy(config.members[k].address, identity.address, sizeof(identity.address));
    }
    raft_net_set_members(sides[0].net, &config, 1);
    raft_net_set_members(sides[1].net, &config, 1);
    run_until(both_up);
    return 0;
}

static bool first_closed(void)
{
    return sides[0].closed;
}

static bool second_closed(void)
{
    return sides[1].closed;
}

static int teardown(void **state)
{
    (void)state;
    raft_net_close(sides[0].net, on_closed, &sides[0]);
    run_until(first_closed);
    if (!sides[1].closed) {
        raft_net_close(sides[1].net, on_closed, &sides[1]);
        run_until(second_closed);
    }
    return uv_loop_close(&loop);
}

static bool up_again(void)
{
    return sides[0].ups >= 2;
}

/* Both processes live: the connection is made anew, and nobody is called dead. */
static void a_broken_connection_is_no_death(void **state)
{
    (void)state;
    struct net_peer *peer = net_peer_find(sides[0].net, 2);
    for (int lane = 0; lane < WIRE_LANES; lane++) {
        int fd = -1;
        uv_fileno((uv_handle_t *)&peer->dialled[lane]->tcp, &fd);
        shutdown(fd, SHUT_RDWR);
    }
    run_until(up_again);
    assert_int_equal(sides[0].losses, 0);
    assert_int_equal(sides[1].losses, 0);
}

static bool lost(void)
{
    return sides[0].losses > 0;
}

static void nobody_listening_is_death(void **state)
{
    (void)state;
    raft_net_close(sides[1].net, on_closed, &sides[1]);
    run_until(lost);
    run_until(second_closed);
    assert_int_equal(sides[0].losses, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_broken_connection_is_no_death, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_listening_is_death, setup, teardown),
    };
    return cmocka_run_group_tests_name("peers", tests, NULL, NULL);
}
