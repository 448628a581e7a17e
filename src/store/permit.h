/* SPDX-License-Identifier: MIT */
/*
 * permit.h - who may do what, by POSIX's rules: owner, group, others, and root.
 *
 * The kernel asks the same questions before it sends a request (default_permissions), but of the
 * attributes of that moment; these are asked when a command is applied. Pure; any thread.
 */
#ifndef RAFTFS_STORE_PERMIT_H
#define RAFTFS_STORE_PERMIT_H

#include "store/command.h"
#include "store/store.h"

enum permit_want { PERMIT_EXECUTE = 1, PERMIT_WRITE = 2, PERMIT_READ = 4 };

bool permit_in_group(const struct command_caller *caller, uint32_t gid);
bool permit_is_owner(const struct command_caller *caller, const struct store_attr *attr);

/* 0 or -EACCES; `want` is a sum of permit_want. */
int permit_access(const struct command_caller *caller, const struct store_attr *attr,
                  unsigned want);

/* Whether the caller may take `victim` out of `dir`: 0, -EACCES, or -EPERM (sticky directory). */
int permit_delete(const struct command_caller *caller, const struct store_attr *dir,
                  const struct store_attr *victim);

#endif
