/* SPDX-License-Identifier: MIT */
/*
 * session.h - exactly once: a command that was sent twice is applied once.
 *
 * A session is one boot of one data directory. Its commands are numbered; the result of each is
 * kept until a later command says that nobody waits for it any more.
 */
#ifndef RAFTFS_STORE_SESSION_H
#define RAFTFS_STORE_SESSION_H

#include "store/command.h"
#include "store/session_table.h"
#include "store/tree.h"

/* COMMAND_SESSION: opens the session and ends those of earlier boots. A negative errno or 0. */
int session_open(struct txn *t, const struct command *command, struct store_result *result);

/* Ends all of them. */
void session_end_all(struct txn *t);

/*
 * Whether the command is to be applied now. If not, `result` holds what it came to before, or seq 0
 * (nobody waits for it), or -EROFS (its session has ended; nothing happened).
 */
bool session_admit(struct txn *t, const struct command *command, struct store_result *result);

/* Keeps the result of a command that was admitted. */
void session_record(struct txn *t, const struct store_result *result);

#endif
