/* SPDX-License-Identifier: MIT */
/*
 * A session's row holds its mark: the lowest number still awaited. Results below it are forgotten,
 * and a command below it does nothing, for its caller has gone and a later change of the same
 * caller may have been applied meanwhile (thesis 6.3; the trap is a retry that comes in after its
 * own successor). Should a node not move its mark, the bound on results moves it.
 */
#include "store/session.h"

#include <errno.h>

struct session {
    uint64_t id;
    uint64_t incarnation;
    uint64_t boot;
    uint64_t lowest;
};

static uint64_t session_hash(const struct session *session)
{
    const uint64_t fields[] = {session->id, session->incarnation, session->boot, session->lowest};
    return tree_row_hash(TREE_ROW_SESSION, fields, 4, NULL, 0);
}

static uint64_t result_hash(uint64_t session, uint64_t seq, uint64_t status, uint64_t ino,
                            uint64_t offset)
{
    const uint64_t fields[] = {session, seq, status, ino, offset};
    return tree_row_hash(TREE_ROW_RESULT, fields, 5, NULL, 0);
}

static void put_session(struct txn *t, const struct session *session)
{
    sqlite3_stmt *s = sql_get(t->sql, SQL_SESSION_PUT);
    sql_bind_u64(t->sql, s, 1, session->id);
    sql_bind_u64(t->sql, s, 2, session->incarnation);
    sql_bind_u64(t->sql, s, 3, session->boot);
    sql_bind_u64(t->sql, s, 4, session->lowest);
    sql_run(t->sql, s);
    t->state.fingerprint += session_hash(session);
}

static bool get_session(struct txn *t, uint64_t id, struct session *session)
{
    sqlite3_stmt *s = sql_get(t->sql, SQL_SESSION_GET);
    sql_bind_u64(t->sql, s, 1, id);
    bool found = sql_step(t->sql, s);
    if (found)
        *session = (struct session){
            .id = id, .incarnation = sql_u64(s, 0), .boot = sql_u64(s, 1), .lowest = sql_u64(s, 2)};
    sql_done(s);
    return found;
}

static void forget_results(struct txn *t, uint64_t session, uint64_t below)
{
    sqlite3_stmt *s = sql_get(t->sql, SQL_RESULT_BELOW);
    sql_bind_u64(t->sql, s, 1, session);
    sql_bind_u64(t->sql, s, 2, below);
    bool any = false;
    while (sql_step(t->sql, s)) {
        t->state.fingerprint -=
            result_hash(session, sql_u64(s, 0), sql_u64(s, 1), sql_u64(s, 2), sql_u64(s, 3));
        any = true;
    }
    sql_done(s);
    if (!any)
        return;
    s = sql_get(t->sql, SQL_RESULT_DELETE_BELOW);
    sql_bind_u64(t->sql, s, 1, session);
    sql_bind_u64(t->sql, s, 2, below);
    sql_run(t->sql, s);
}

static void end_session(struct txn *t, const struct session *session)
{
    forget_results(t, session->id, INT64_MAX);
    sqlite3_stmt *s = sql_get(t->sql, SQL_SESSION_DELETE);
    sql_bind_u64(t->sql, s, 1, session->id);
    sql_run(t->sql, s);
    t->state.fingerprint -= session_hash(session);
}

static bool get_any(struct txn *t, struct session *session)
{
    sqlite3_stmt *s = sql_get(t->sql, SQL_SESSION_ANY);
    bool found = sql_step(t->sql, s);
    if (found)
        *session = (struct session){.id = sql_u64(s, 0),
                                    .incarnation = sql_u64(s, 1),
                                    .boot = sql_u64(s, 2),
                                    .lowest = sql_u64(s, 3)};
    sql_done(s);
    return found;
}

void session_end_all(struct txn *t)
{
    struct session session;
    while (get_any(t, &session))
        end_session(t, &session);
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
    sqlite3_stmt *s = sql_get(t->sql, SQL_SESSION_LIST);
    sql_bind_u64(t->sql, s, 1, c->incarnation);
    struct session old = {.incarnation = c->incarnation};
    if (sql_step(t->sql, s)) {
        old.id = sql_u64(s, 0);
        old.boot = sql_u64(s, 1);
        old.lowest = sql_u64(s, 2);
    }
    sql_done(s);
    if (old.id && old.boot > c->boot)
        return -ESTALE; /* a late copy of an earlier boot's request */
    if (old.id && old.boot == c->boot) {
        result->session = old.id;
        return 0;
    }
    if (old.id)
        end_session(t, &old);
    struct session fresh = {
        .id = t->state.next_session++, .incarnation = c->incarnation, .boot = c->boot, .lowest = 1};
    put_session(t, &fresh);
    if (fresh.id == 1)
        give_root(t, &c->caller);
    result->session = fresh.id;
    return 0;
}

/* What it came to the first time. The attributes are those of now. */
static bool replay(struct txn *t, const struct command *c, struct store_result *result)
{
    sqlite3_stmt *s = sql_get(t->sql, SQL_RESULT_GET);
    sql_bind_u64(t->sql, s, 1, c->session);
    sql_bind_u64(t->sql, s, 2, c->seq);
    bool found = sql_step(t->sql, s);
    uint64_t ino = 0;
    if (found) {
        result->status = (int)(int64_t)sql_u64(s, 0);
        ino = sql_u64(s, 1);
        result->offset = sql_u64(s, 2);
    }
    sql_done(s);
    struct inode inode;
    if (ino && tree_get(t, ino, &inode))
        result->attr = inode.attr;
    return found;
}

static void move_mark(struct txn *t, struct session *session, uint64_t lowest)
{
    if (lowest <= session->lowest)
        return;
    forget_results(t, session->id, lowest);
    t->state.fingerprint -= session_hash(session);
    session->lowest = lowest;
    put_session(t, session);
}

bool session_admit(struct txn *t, const struct command *c, struct store_result *result)
{
    struct session session;
    result->session = c->session;
    result->seq = c->seq;
    if (!get_session(t, c->session, &session)) {
        result->status = -EROFS;
        return false;
    }
    if (c->seq < session.lowest) {
        result->seq = 0;
        return false;
    }
    if (replay(t, c, result))
        return false;
    uint64_t lowest = c->lowest_awaited <= c->seq ? c->lowest_awaited : c->seq;
    if (c->seq >= STORE_MAX_RESULTS && lowest <= c->seq - STORE_MAX_RESULTS)
        lowest = c->seq - STORE_MAX_RESULTS + 1;
    move_mark(t, &session, lowest);
    return true;
}

void session_record(struct txn *t, const struct store_result *r)
{
    uint64_t status = (uint64_t)(int64_t)r->status;
    sqlite3_stmt *s = sql_get(t->sql, SQL_RESULT_PUT);
    sql_bind_u64(t->sql, s, 1, r->session);
    sql_bind_u64(t->sql, s, 2, r->seq);
    sql_bind_u64(t->sql, s, 3, status);
    sql_bind_u64(t->sql, s, 4, r->attr.ino);
    sql_bind_u64(t->sql, s, 5, r->offset);
    sql_run(t->sql, s);
    t->state.fingerprint += result_hash(r->session, r->seq, status, r->attr.ino, r->offset);
}
