/* SPDX-License-Identifier: MIT */
#include "store/apply.h"

#include <errno.h>

#include "store/session.h"

/*
 * Stamps grow strictly, whatever the leaders' clocks did, so that every ctime is new. A clock that
 * is off by centuries must not use the range up.
 */
static void stamp(struct txn *t, const struct command *c)
{
    const uint64_t latest_ns = INT64_MAX / 2;
    uint64_t time_ns = c->time_ns < latest_ns ? c->time_ns : latest_ns;
    uint64_t next_ns = t->state.last_stamp + 1;
    t->state.last_stamp = time_ns > next_ns ? time_ns : next_ns;
    t->stamp = (int64_t)t->state.last_stamp;
}

/* A new inode's number must come out of the caller's own session, or it could be taken already. */
static bool ino_is_fresh(struct txn *t, const struct command *c)
{
    struct inode taken;
    return c->ino >> 32 == c->session && !tree_get(t, c->ino, &taken);
}

static int apply_op(struct txn *t, const struct command *c, struct store_result *r)
{
    switch (c->op) {
    case COMMAND_CREATE:
        return ino_is_fresh(t, c) ? apply_create(t, c, r) : -EINVAL;
    case COMMAND_MKDIR:
        return ino_is_fresh(t, c) ? apply_mkdir(t, c, r) : -EINVAL;
    case COMMAND_SYMLINK:
        return ino_is_fresh(t, c) ? apply_symlink(t, c, r) : -EINVAL;
    case COMMAND_WRITE:
        return apply_write(t, c, r);
    case COMMAND_SETATTR:
        return apply_setattr(t, c, r);
    case COMMAND_UNLINK:
        return apply_unlink(t, c, r);
    case COMMAND_RMDIR:
        return apply_rmdir(t, c, r);
    case COMMAND_RENAME:
        return apply_rename(t, c, r);
    case COMMAND_SESSION:
        break;
    }
    return -EINVAL;
}

void apply_command(struct txn *t, const struct command *c, struct store_result *r)
{
    stamp(t, c);
    if (c->op == COMMAND_SESSION) {
        r->status = session_open(t, c, r);
        return;
    }
    if (!session_admit(t, c, r))
        return;
    r->status = apply_op(t, c, r);
    session_record(t, r);
}
