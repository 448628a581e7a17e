/* SPDX-License-Identifier: MIT */
#include "node/contact.h"

void contact_init(struct contact *c, uint64_t timeout_us, uint64_t now_us)
{
    c->timeout_us = timeout_us;
    atomic_init(&c->no_leader_since_us, now_us);
    atomic_init(&c->progress_us, now_us);
    atomic_init(&c->stalled, false);
}

void contact_progress(struct contact *c, uint64_t now_us)
{
    c->progress_us = now_us;
    c->stalled = false;
}

void contact_leader(struct contact *c, bool known, uint64_t now_us)
{
    if (known) {
        c->no_leader_since_us = 0;
        contact_progress(c, now_us);
    } else if (c->no_leader_since_us == 0) {
        c->no_leader_since_us = now_us;
    }
}

void contact_watch(struct contact *c, uint64_t asked_us, uint64_t now_us)
{
    uint64_t waits_since_us = asked_us > c->progress_us ? asked_us : c->progress_us;
    if (now_us >= waits_since_us + c->timeout_us)
        c->stalled = true;
}

bool contact_expired(const struct contact *c, uint64_t asked_us, uint64_t now_us)
{
    return contact_refuses(c, now_us) || now_us >= asked_us + 2 * c->timeout_us;
}

bool contact_refuses(const struct contact *c, uint64_t now_us)
{
    uint64_t since_us = c->no_leader_since_us;
    return c->stalled || (since_us != 0 && now_us >= since_us + c->timeout_us);
}
