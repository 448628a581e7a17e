/* SPDX-License-Identifier: MIT */
#include "node/members.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/report.h"

enum {
    ASK_AGAIN_US = 500 * 1000, /* without an answer, or a sign that it was true */
    RETRY_US = 50 * 1000,      /* the leader is busy, or another one */
    POLL_US = 20 * 1000,       /* the configuration, or an introduction, is on its way */
};

enum role { ROLE_ANY, ROLE_VOTER, ROLE_NONVOTER };

/* What an order's text asks for. */
struct wish {
    enum role role;
    char address[RAFT_ADDRESS_BYTES]; /* empty: as it is */
};

struct members {
    struct orders orders;
    const char *removed; /* this node's name, once it is out */

    /* The order that is worked on, told apart from one that took its place in memory. */
    const struct backend_order *order;
    uint64_t order_us;

    /* The question on its way for it. */
    uint64_t seq;
    uint64_t ask_at_us;
    int refused; /* negative errno: the leader will not do it */

    /* Whoever is to be added. */
    bool inviting; /* the net asks */
    bool invited;  /* for this order */
    struct raft_net_introduction guest;
};

struct members *members_init(uint64_t timeout_us)
{
    struct members *m = memory_zalloc(sizeof(*m));
    orders_init(&m->orders, timeout_us);
    return m;
}

void members_close(struct members *m)
{
    orders_close(&m->orders);
    memory_free(m);
}

struct orders *members_orders(struct members *m)
{
    return &m->orders;
}

/* ---- What is wanted, and what is missing ---- */

static bool add_word(struct wish *wish, const char *word)
{
    if (strcmp(word, "voter") == 0 || strcmp(word, "nonvoter") == 0) {
        bool first = wish->role == ROLE_ANY;
        wish->role = *word == 'v' ? ROLE_VOTER : ROLE_NONVOTER;
        return first;
    }
    bool first = wish->address[0] == '\0';
    strncpy(wish->address, word, sizeof(wish->address) - 1);
    return first && raft_net_is_address(word, strlen(word));
}

static bool parse(const char *text, struct wish *wish)
{
    char copy[BACKEND_TEXT_BYTES], *save = NULL;
    *wish = (struct wish){0};
    memcpy(copy, text, sizeof(copy));
    char *word = strtok_r(copy, " \t\n", &save);
    bool good = word != NULL;
    for (; good && word; word = strtok_r(NULL, " \t\n", &save))
        good = add_word(wish, word);
    return good;
}

static const struct raft_member *find(const struct raft_driver_status *status, const char *name)
{
    for (uint32_t i = 0; i < status->member_count; i++)
        if (strcmp(status->members[i].member.name, name) == 0)
            return &status->members[i].member;
    return NULL;
}

/* The next change on the way to the wish; false if it is fulfilled. */
static bool missing(const struct raft_member *known, const struct wish *wish,
                    struct raft_net_change *change)
{
    bool votes = known->voter || known->promote;
    change->member = known->id;
    if (wish->address[0] && strcmp(wish->address, known->address) != 0) {
        change->kind = RAFT_CHANGE_ADDRESS;
        memcpy(change->address, wish->address, sizeof(change->address));
        return true;
    }
    change->kind = wish->role == ROLE_VOTER ? RAFT_CHANGE_PROMOTE : RAFT_CHANGE_DEMOTE;
    return (wish->role == ROLE_VOTER && !votes) || (wish->role == ROLE_NONVOTER && votes);
}

static bool is_full(const struct raft_driver_status *status, bool voter)
{
    uint32_t voters = 0;
    for (uint32_t i = 0; i < status->member_count; i++)
        voters += status->members[i].member.voter || status->members[i].member.promote;
    return status->member_count == RAFT_MAX_MEMBERS || (voter && voters >= RAFT_MAX_VOTERS);
}

/* What is missing of a member that is none yet; who it is, is to be found out. */
static int examine_new(const struct backend_order *order, const struct raft_driver_status *status,
                       const struct wish *wish, struct raft_net_change *change)
{
    if (order->kind != BACKEND_ORDER_ADD)
        return -ENOENT;
    if (!raft_net_is_name(order->name) || wish->address[0] == '\0')
        return -EINVAL;
    if (is_full(status, wish->role == ROLE_VOTER))
        return -ENOSPC;
    change->kind = RAFT_CHANGE_ADD;
    change->promote = wish->role != ROLE_NONVOTER;
    memcpy(change->address, wish->address, sizeof(change->address));
    memcpy(change->name, order->name, sizeof(change->name));
    return 1;
}

static int examine_removal(const struct raft_member *known, const struct raft_driver_status *status,
                           struct raft_net_change *change)
{
    if (!known)
        return status->config_committed ? 0 : 1;
    *change = (struct raft_net_change){.kind = RAFT_CHANGE_REMOVE, .member = known->id};
    return 1;
}

/* How far an order is: 1 while it has to wait, with change->kind 0 if there is nothing to ask. */
static int examine(const struct backend_order *order, const struct raft_driver_status *status,
                   struct raft_net_change *change)
{
    const struct raft_member *known = find(status, order->name);
    struct wish wish;
    *change = (struct raft_net_change){0};
    if (order->kind == BACKEND_ORDER_REMOVE)
        return examine_removal(known, status, change);
    if (!parse(order->text, &wish))
        return -EINVAL;
    if (!known)
        return examine_new(order, status, &wish, change);
    if (missing(known, &wish, change)) {
        bool votes = change->kind == RAFT_CHANGE_PROMOTE;
        return votes && is_full(status, true) ? -ENOSPC : 1;
    }
    change->kind = 0;
    bool awaits_promotion = wish.role == ROLE_VOTER && !known->voter;
    return status->config_committed && !awaits_promotion ? 0 : 1;
}

/* ---- Who is to be added ---- */

static void on_introduction(void *ctx, const struct raft_net_introduction *introduction)
{
    struct members *m = ctx;
    m->inviting = introduction->status == RAFT_INVITE_UNREACHABLE;
    if (m->invited)
        m->guest = *introduction;
}

static void stop_inviting(struct members *m, struct raft_driver *driver)
{
    if (m->inviting)
        raft_driver_invite_stop(driver);
    m->inviting = false;
}

/* Fills in who it is; false while that is not known. */
static bool introduce(struct members *m, struct raft_driver *driver, struct raft_net_change *change)
{
    if (!m->invited) {
        m->invited = m->inviting = true;
        m->guest = (struct raft_net_introduction){.status = RAFT_INVITE_UNREACHABLE};
        snprintf(m->guest.why, sizeof(m->guest.why), "%s does not answer", change->address);
        raft_driver_invite(driver, change->name, change->address, on_introduction, m);
    }
    change->member = m->guest.join.id;
    change->promote = change->promote && m->guest.join.voter;
    return m->guest.status == RAFT_INVITE_INTRODUCED;
}

/* ---- Asking the leader ---- */

void members_change_done(struct members *m, uint64_t seq, enum raft_refusal refusal,
                         uint64_t now_us)
{
    if (seq != m->seq)
        return;
    /* The others are a matter of time; so is RAFT_INVALID, of a change that this node has not seen.
     */
    m->refused = refusal == RAFT_UNSAFE ? -EBUSY : 0;
    m->ask_at_us = now_us + (refusal == RAFT_ACCEPTED ? ASK_AGAIN_US : RETRY_US);
}

static void ask(struct members *m, struct raft_driver *driver, struct raft_net_change *change,
                uint64_t now_us)
{
    change->seq = ++m->seq;
    m->ask_at_us = now_us + ASK_AGAIN_US;
    if (!raft_driver_change(driver, change))
        m->ask_at_us = now_us + RETRY_US;
}

/* ---- Answers ---- */

/* Nothing is known of an order that has just become the oldest. */
static void work_on(struct members *m, const struct backend_order *order)
{
    if (order && order == m->order && order->asked_us == m->order_us)
        return;
    m->order = order;
    m->order_us = order ? order->asked_us : 0;
    m->refused = 0;
    m->ask_at_us = 0;
    m->seq++; /* an answer that is still on its way is for nobody */
    m->invited = false;
}

/* What has become of the oldest order: 1 while it has to wait. */
static int outcome(const struct members *m, const struct backend_order *order,
                   const struct raft_driver_status *status, uint64_t now_us,
                   struct raft_net_change *change)
{
    if (m->removed)
        return order->kind == BACKEND_ORDER_REMOVE && strcmp(order->name, m->removed) == 0
                   ? 0
                   : -ETIMEDOUT;
    int state = examine(order, status, change);
    bool late = order_is_late(&m->orders, order, now_us);
    if (state <= 0)
        return state;
    if (m->refused)
        return m->refused;
    if (change->kind != RAFT_CHANGE_ADD || !m->invited)
        return late ? -ETIMEDOUT : 1;
    if (m->guest.status == RAFT_INVITE_REFUSED)
        return -EADDRINUSE;
    bool nobody = m->guest.status == RAFT_INVITE_UNREACHABLE;
    return !late ? 1 : nobody ? -EHOSTUNREACH : -ETIMEDOUT;
}

static const char *explain(const struct members *m, int status)
{
    switch (status) {
    case -EINVAL:
        return "write an address, voter or nonvoter, or both; a new member needs an address, and a "
               "name of letters, digits, '.', '_' and '-'";
    case -EBUSY:
        return "the voters that answer would be no majority afterwards";
    case -ENOSPC:
        return "the cluster has as many members, or voters, as it can have";
    case -ETIMEDOUT:
        return "the leader has not done it in time, and still may";
    case -EHOSTUNREACH:
    case -EADDRINUSE:
        return m->guest.why;
    default:
        return strerror(-status);
    }
}

/* Answers all that can be; false if none is left, else the oldest needs *change (kind 0: time). */
static bool answer(struct members *m, const struct raft_driver_status *status, uint64_t now_us,
                   struct raft_net_change *change)
{
    struct backend_link *link;
    pthread_mutex_lock(&m->orders.lock);
    while ((link = queue_first(&m->orders.waiting))) {
        struct backend_order *order = order_of(link);
        work_on(m, order);
        int state = outcome(m, order, status, now_us, change);
        if (state > 0)
            break;
        queue_remove(link);
        pthread_mutex_unlock(&m->orders.lock);
        if (state < 0)
            report_warn(".raft/members/%s stays as it is: %s", order->name, explain(m, state));
        work_on(m, NULL);
        order->done(order, state);
        pthread_mutex_lock(&m->orders.lock);
    }
    pthread_mutex_unlock(&m->orders.lock);
    return link != NULL;
}

void members_removed(struct members *m, const char *self)
{
    m->removed = self;
}

/* Whether an order is left; then what it needs next is in *change. */
static bool settle(struct members *m, struct raft_driver *driver, uint64_t now_us,
                   struct raft_net_change *change)
{
    if (orders_empty(&m->orders))
        return false;
    struct raft_driver_status *status = memory_alloc(sizeof(*status));
    raft_driver_status(driver, status);
    bool waits = answer(m, status, now_us, change);
    memory_free(status);
    return waits;
}

uint64_t members_pump(struct members *m, struct raft_driver *driver, uint64_t now_us)
{
    struct raft_net_change change;
    bool waits = settle(m, driver, now_us, &change);
    if (!waits || change.kind != RAFT_CHANGE_ADD)
        stop_inviting(m, driver);
    if (!waits)
        return UINT64_MAX;
    if (!change.kind || (change.kind == RAFT_CHANGE_ADD && !introduce(m, driver, &change)))
        return now_us + POLL_US;
    if (now_us >= m->ask_at_us)
        ask(m, driver, &change, now_us);
    return m->ask_at_us;
}
