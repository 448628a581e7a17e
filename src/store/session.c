/* SPDX-License-Identifier: MIT */
/*
 * A session's mark is the lowest number still awaited. Results below it are forgotten, and a
 * command below it does nothing, for its caller has gone and a later change of the same caller may
 * have been applied meanwhile (thesis 6.3; the trap is a retry that comes in after its own
 * successor). Should a node not move its mark, the bound on results moves it.
 */
#include "store/session.h"

#include <errno.h>

static uint64_t session_hash(const struct session *session)
{
    const uint64_t fields[] = {session->id, session->incarnation, session->boot, session->lowest};
    return tree_row_hash(TREE_ROW_SESSION, fields, 4, NULL, 0);
}

static uint64_t result_hash(const struct session *session, const struct session_result *r)
{
    const uint64_t fields[] = {session->id, r->seq, (uint64_t)(int64_t)r->status, r->ino,
                               r->offset};
    return tree_row_hash(TREE_ROW_RESULT, fields, 5, NULL, 0);
}

/* From the mark on no two numbers share a place, so one round sees them all. */
static void forget_results(struct txn *t, struct session *session, uint64_t below)
{
    uint64_t count = below - session->lowest;
    for (uint64_t i = 0; i < count && i < session->capacity; i++) {
        struct session_result *r = session_result(session, session->lowest + i);
        if (!r)
            continue;
        t->state.fingerprint -= result_hash(session, r);
        session_result_forget(t->sessions, r);
    }
}

static void end_session(struct txn *t, struct session *session)
{
    forget_results(t, session, INT64_MAX);
    t->state.fingerprint -= session_hash(session);
    session_table_remove(t->sessions, t->sql, session);
}

void session_end_all(struct txn *t)
{
    while (t->sessions->count)
        end_session(t, &t->sessions->items[t->sessions->count - 1]);
}

/* A new cluster's root directory belongs to its founder, whose session is the first one. */
static void give_root(struct txn *t, const struct command_caller *founder)
{
    struct inode before;
    if (!tree_get(t, STORE_ROOT_INO, &before))
        return;
    struct inode after = before;
    after.attr.uid = founder->uid;
    after.attr.gid = founder->gid;
    after.attr.atime_ns = after.attr.mtime_ns = after.attr.ctime_ns = t->stamp;
    tree_update(t, &before, &after);
}

int session_open(struct txn *t, const struct command *c, struct store_result *result)
{
    result->incarnation = c->incarnation;
    result->boot = c->boot;

    /* At most one session an incarnation, by what follows. */
    struct session *old = session_table_find_incarnation(t->sessions, c->incarnation);
    if (old && old->boot > c->boot)
        return -ESTALE; /* a late copy of an earlier boot's request */
    if (old && old->boot == c->boot) {
        result->session = old->id;
        return 0;
    }
    if (old)
        end_session(t, old);
    struct session fresh = {
        .id = t->state.next_session++, .incarnation = c->incarnation, .boot = c->boot, .lowest = 1};
    session_table_add(t->sessions, t->sql, &fresh);
    t->state.fingerprint += session_hash(&fresh);
    if (fresh.id == 1)
        give_root(t, &c->caller);
    result->session = fresh.id;
    return 0;
}

/* What it came to the first time. The attributes are those of now. */
static void replay(struct txn *t, const struct session_result *known, struct store_result *result)
{
    struct inode inode;
    result->status = known->status;
    result->offset = known->offset;
    if (known->ino && tree_get(t, known->ino, &inode))
        result->attr = inode.attr;
}

static void move_mark(struct txn *t, struct session *session, uint64_t lowest)
{
    if (lowest <= session->lowest)
        return;
    forget_results(t, session, lowest);
    t->state.fingerprint -= session_hash(session);
    session->lowest = lowest;
    t->state.fingerprint += session_hash(session);
}

bool session_admit(struct txn *t, const struct command *c, struct store_result *result)
{
    struct session *session = session_table_find(t->sessions, c->session);
    result->session = c->session;
    result->seq = c->seq;
    if (!session) {
        result->status = -EROFS;
        return false;
    }
    if (c->seq < session->lowest) {
        result->seq = 0;
        return false;
    }
    const struct session_result *known = session_result(session, c->seq);
    if (known) {
        replay(t, known, result);
        return false;
    }
    uint64_t lowest = c->lowest_awaited <= c->seq ? c->lowest_awaited : c->seq;
    if (c->seq >= STORE_MAX_RESULTS && lowest <= c->seq - STORE_MAX_RESULTS)
        lowest = c->seq - STORE_MAX_RESULTS + 1;
    move_mark(t, session, lowest);
    return true;
}

void session_record(struct txn *t, const struct store_result *r)
{
    struct session *session = session_table_find(t->sessions, r->session);
    struct session_result result = {
        .seq = r->seq, .ino = r->attr.ino, .offset = r->offset, .status = (int32_t)r->status};
    session_result_add(t->sessions, session, &result);
    t->state.fingerprint += result_hash(session, &result);
}
