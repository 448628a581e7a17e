/* SPDX-License-Identifier: MIT */
#include "node/joining.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/report.h"

enum { FIRST_ANSWER_S = 3, REPORT_EVERY_US = 60 * 1000 * 1000 };

void joining_init(struct joining *j)
{
    *j = (struct joining){.status = -1};
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->answered, NULL);
}

void joining_close(struct joining *j)
{
    pthread_cond_destroy(&j->answered);
    pthread_mutex_destroy(&j->lock);
}

static bool is_refusal(int status)
{
    return status == RAFT_JOIN_NAME_TAKEN || status == RAFT_JOIN_REFUSED;
}

static void report(struct joining *j, const struct raft_net_join_reply *reply)
{
    uint64_t now_us = clock_mono_us();
    if (j->reported_us && now_us < j->reported_us + REPORT_EVERY_US)
        return;
    j->reported_us = now_us;
    report_warn("cannot join yet: %s; trying on", reply->why);
}

static void on_reply(void *ctx, const struct raft_net_join_reply *reply)
{
    struct joining *j = ctx;
    if (reply->status == RAFT_JOIN_REDIRECT)
        return;
    pthread_mutex_lock(&j->lock);
    bool waited_for = j->status < 0;
    j->status = (int)reply->status;
    memcpy(j->why, reply->why, sizeof(j->why));
    pthread_cond_signal(&j->answered);
    pthread_mutex_unlock(&j->lock);
    if (is_refusal((int)reply->status) && !waited_for) {
        report_error("cannot join: %s", reply->why);
        kill(getpid(), SIGTERM);
    } else if (reply->status == RAFT_JOIN_RETRY) {
        report(j, reply);
    }
}

/* The addresses under which the cluster may be found: -join, the peers on file, the log's members.
 */
static void known_addresses(const struct raft_driver_status *status, raft_id self, const char *join,
                            const char *peers, char *out, size_t out_bytes)
{
    size_t used = (size_t)snprintf(out, out_bytes, "%s", join ? join : "");
    if (*peers && used < out_bytes)
        used += (size_t)snprintf(out + used, out_bytes - used, "%s%s", used ? "," : "", peers);
    for (uint32_t i = 0; i < status->member_count && used < out_bytes; i++) {
        const struct raft_member *m = &status->members[i].member;
        if (m->id != self)
            used +=
                (size_t)snprintf(out + used, out_bytes - used, "%s%s", used ? "," : "", m->address);
    }
}

static bool on_file(const struct raft_driver_status *status, const struct raft_net_identity *self)
{
    for (uint32_t i = 0; i < status->member_count; i++) {
        const struct raft_member *m = &status->members[i].member;
        if (m->id == self->id && strcmp(m->address, self->address) == 0)
            return true;
    }
    return false;
}

bool joining_start(struct joining *j, struct raft_driver *driver,
                   const struct raft_net_identity *self, const char *join, const char *peers,
                   bool voter)
{
    char addresses[4 * RAFT_MAX_MEMBERS * RAFT_ADDRESS_BYTES];
    struct raft_driver_status *status = memory_alloc(sizeof(*status));
    raft_driver_status(driver, status);
    known_addresses(status, self->id, join, peers, addresses, sizeof(addresses));
    bool known = on_file(status, self), lost = status->member_count == 0 && addresses[0] == '\0';
    memory_free(status);
    if (lost)
        report_warn("is no member yet, and knows nobody to ask: stop it, and start it with -join");
    if (known || addresses[0] == '\0')
        return false;
    struct raft_net_join request = {.id = self->id, .voter = voter};
    memcpy(request.name, self->name, sizeof(request.name));
    memcpy(request.address, self->address, sizeof(request.address));
    raft_driver_join(driver, addresses, &request, on_reply, j);
    return true;
}

int joining_await_answer(struct joining *j, char why[RAFT_DRIVER_WHY_BYTES])
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += FIRST_ANSWER_S;
    pthread_mutex_lock(&j->lock);
    while (j->status < 0)
        if (pthread_cond_timedwait(&j->answered, &j->lock, &until) == ETIMEDOUT)
            break;
    bool refused = is_refusal(j->status);
    if (refused)
        snprintf(why, RAFT_DRIVER_WHY_BYTES, "cannot join: %s", j->why);
    else if (j->status < 0)
        j->status = RAFT_JOIN_RETRY; /* from now on nobody waits */
    pthread_mutex_unlock(&j->lock);
    return refused ? -EEXIST : 0;
}
