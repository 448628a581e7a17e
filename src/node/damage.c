/* SPDX-License-Identifier: MIT */
#include "node/damage.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/report.h"

enum { ANSWER_MS = 10 * 1000, ADDRESSES_BYTES = 2 * DATADIR_PEERS_BYTES };

struct question {
    uv_loop_t loop;
    uv_timer_t deadline;
    struct raft_net *net;
    bool answered; /* as far as it will be */
    struct raft_net_join_reply reply;
};

/* ---- Nobody but the asked members is heard ---- */

static void on_join(void *ctx, const struct raft_net_join *join, struct raft_net_join_reply *reply)
{
    (void)ctx, (void)join;
    *reply = (struct raft_net_join_reply){.status = RAFT_JOIN_RETRY};
    snprintf(reply->why, sizeof(reply->why), "this node is being mended");
}

static bool on_invite(void *ctx, const struct raft_net_invitation *invitation,
                      struct raft_net_join *self, char why[RAFT_NET_WHY_BYTES])
{
    (void)ctx, (void)invitation, (void)self;
    snprintf(why, RAFT_NET_WHY_BYTES, "this node is a member, and is being mended");
    return false;
}

static enum raft_net_claim on_claim(void *ctx, uint64_t cluster, raft_id from,
                                    const char *from_name, const char *from_address,
                                    raft_id expected_id)
{
    (void)ctx, (void)cluster, (void)from, (void)from_name, (void)from_address, (void)expected_id;
    return RAFT_CLAIM_IGNORED;
}

/* ---- Asking ---- */

static void on_reply(void *ctx, const struct raft_net_join_reply *reply)
{
    struct question *q = ctx;
    if (reply->status == RAFT_JOIN_REDIRECT)
        return;
    q->reply = *reply;
    q->answered = reply->status != RAFT_JOIN_RETRY && reply->status != RAFT_JOIN_PENDING;
}

static void on_deadline(uv_timer_t *timer)
{
    struct question *q = timer->data;
    q->answered = true;
}

static void on_net_closed(void *ctx)
{
    struct question *q = ctx;
    uv_close((uv_handle_t *)&q->deadline, NULL);
}

/* Waits for a last word: RAFT_JOIN_OK, a refusal, or nothing but RETRY. 0 or a negative errno. */
static int ask(struct question *q, const char *addresses, const struct raft_net_join *join,
               char why[NODE_WHY_BYTES])
{
    /* Of no cluster yet: no hello is accepted, so no other callback runs. */
    struct raft_net_identity self = {.id = join->id};
    struct raft_net_callbacks callbacks = {
        .ctx = q, .on_join = on_join, .on_invite = on_invite, .on_claim = on_claim};
    memcpy(self.name, join->name, sizeof(self.name));
    memcpy(self.address, join->address, sizeof(self.address));
    uv_loop_init(&q->loop);
    uv_timer_init(&q->loop, &q->deadline);
    q->deadline.data = q;
    int status = raft_net_init(&q->net, &q->loop, &self, &callbacks, why);
    if (status == 0) {
        raft_net_join_start(q->net, addresses, join, on_reply, q);
        uv_timer_start(&q->deadline, on_deadline, ANSWER_MS, 0);
        while (!q->answered)
            uv_run(&q->loop, UV_RUN_ONCE);
        raft_net_close(q->net, on_net_closed, q);
    } else {
        uv_close((uv_handle_t *)&q->deadline, NULL);
    }
    uv_run(&q->loop, UV_RUN_DEFAULT);
    uv_loop_close(&q->loop);
    return status;
}

/* ---- Starting over ---- */

static int refuse(const struct datadir *dir, char why[NODE_WHY_BYTES], const char *reason)
{
    snprintf(
        why, NODE_WHY_BYTES,
        "%s is damaged, and %s. Nothing was changed: put an intact copy of %s back; or, if the "
        "other members are lost for ever, --recover another one, or start a new cluster from "
        "a snapshot: raftfs --restore %s/snapshots/FILE (raftfs --help)",
        dir->path, reason, dir->path, dir->path);
    return -EUCLEAN;
}

static int start_over(struct datadir *dir, uint64_t incarnation, char why[NODE_WHY_BYTES])
{
    char aside[DATADIR_PATH_BYTES];
    int status = datadir_start_over(dir, incarnation, aside);
    if (status < 0)
        snprintf(why, NODE_WHY_BYTES, "what is damaged in %s cannot be set aside: %s", dir->path,
                 strerror(-status));
    else
        report_warn("log and store were set aside in %s; this node gets everything anew from the "
                    "other members. Remove that directory when you need it no more",
                    aside);
    return status;
}

int damage_start_over(struct datadir *dir, const struct node_options *o, char why[NODE_WHY_BYTES])
{
    struct question q = {.reply = {.status = RAFT_JOIN_RETRY, .why = "none has answered"}};
    struct raft_net_join join = {.id = datadir_draw(), .voter = !o->nonvoter};
    char addresses[ADDRESSES_BYTES], reason[RAFT_NET_WHY_BYTES + 64];
    bool both = o->join && *dir->peers;
    snprintf(addresses, sizeof(addresses), "%s%s%s", dir->peers, both ? "," : "",
             o->join ? o->join : "");
    if (addresses[0] == '\0')
        return refuse(dir, why, "there is no other member to get everything from");
    if (dir->state == DATADIR_MEMBER)
        join.replaces = dir->identity.id;
    memcpy(join.name, dir->identity.name, sizeof(join.name));
    memcpy(join.address, o->address, sizeof(join.address));
    report_warn("asks the other members (%s) to let this node start over", addresses);
    int status = ask(&q, addresses, &join, why);
    if (status < 0)
        return status;
    if (q.reply.status == RAFT_JOIN_OK)
        return start_over(dir, join.id, why);
    snprintf(reason, sizeof(reason), "the other members let it not start over (%s)", q.reply.why);
    return refuse(dir, why, reason);
}
