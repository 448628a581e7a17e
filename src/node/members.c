/* SPDX-License-Identifier: MIT */
#include "node/members.h"

#include <errno.h>
#include <string.h>

#include "base/memory.h"

enum {
    ASK_AGAIN_US = 500 * 1000,  /* without an answer, or a sign that it was true */
    RETRY_US = 50 * 1000,       /* the leader is busy, or another one */
    COMMIT_POLL_US = 20 * 1000, /* the configuration is on its way */
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

    /* The question on its way for the oldest order. */
    uint64_t seq;
    uint64_t ask_at_us;
    int refused; /* negative errno: the leader will not do it */
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

/* How far an order is: 1 while it has to wait, with change->kind 0 if there is nothing to ask. */
static int examine(const struct backend_order *order, const struct raft_driver_status *status,
                   struct raft_net_change *change)
{
    const struct raft_member *known = find(status, order->name);
    struct wish wish;
    *change = (struct raft_net_change){0};
    if (order->kind == BACKEND_ORDER_REMOVE && known) {
        *change = (struct raft_net_change){.kind = RAFT_CHANGE_REMOVE, .member = known->id};
        return 1;
    }
    if (order->kind == BACKEND_ORDER_REMOVE)
        return status->config_committed ? 0 : 1;
    if (!parse(order->text, &wish))
        return -EINVAL;
    if (!known)
        return -ENOENT;
    if (missing(known, &wish, change))
        return 1;
    change->kind = 0;
    bool awaits_promotion = wish.role == ROLE_VOTER && !known->voter;
    return status->config_committed && !awaits_promotion ? 0 : 1;
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
    if (state > 0 && m->refused)
        return m->refused;
    return state > 0 && order_is_late(&m->orders, order, now_us) ? -ETIMEDOUT : state;
}

/* Answers all that can be; false if none is left, else the oldest needs *change (kind 0: time). */
static bool answer(struct members *m, const struct raft_driver_status *status, uint64_t now_us,
                   struct raft_net_change *change)
{
    struct backend_link *link;
    pthread_mutex_lock(&m->orders.lock);
    while ((link = queue_first(&m->orders.waiting))) {
        struct backend_order *order = order_of(link);
        int state = outcome(m, order, status, now_us, change);
        if (state > 0)
            break;
        queue_remove(link);
        pthread_mutex_unlock(&m->orders.lock);
        m->refused = 0;
        m->ask_at_us = 0;
        m->seq++; /* an answer that is still on its way is for nobody */
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

uint64_t members_pump(struct members *m, struct raft_driver *driver, uint64_t now_us)
{
    struct raft_net_change change;
    if (orders_empty(&m->orders))
        return UINT64_MAX;
    struct raft_driver_status *status = memory_alloc(sizeof(*status));
    raft_driver_status(driver, status);
    bool waits = answer(m, status, now_us, &change);
    memory_free(status);
    if (!waits)
        return UINT64_MAX;
    if (!change.kind)
        return now_us + COMMIT_POLL_US;
    if (now_us >= m->ask_at_us)
        ask(m, driver, &change, now_us);
    return m->ask_at_us;
}
