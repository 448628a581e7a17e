/* SPDX-License-Identifier: MIT */
/*
 * readers.h - the pool of read-only connections behind the queries. Any thread.
 */
#ifndef RAFTFS_STORE_READERS_H
#define RAFTFS_STORE_READERS_H

#include "store/sql.h"

struct readers;

enum { READERS_MOST = 8 };

/* `path` is copied; connections are opened when they are needed. */
void readers_open(struct readers **out, const char *path);
void readers_close(struct readers *r);

/* A connection of one's own, waiting for one if all are busy; NULL with a negative errno. */
struct sql *readers_take(struct readers *r, int *error);
void readers_give(struct readers *r, struct sql *sql);

/* Waits until none is taken; whoever wants one waits until they are let go. */
void readers_hold(struct readers *r);
void readers_let_go(struct readers *r);

#endif
