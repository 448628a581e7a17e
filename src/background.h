/* SPDX-License-Identifier: MIT */
/*
 * background.h - the daemon's way to the background, and its word to whoever started it.
 *
 * The parent stays until the child serves or has failed, and exits accordingly, so that a script
 * can rely on `raftfs … && ls mnt`. The fork comes before any thread, loop, lock or database is
 * made, because none of them survives one.
 */
#ifndef RAFTFS_BACKGROUND_H
#define RAFTFS_BACKGROUND_H

/* In the parent: never returns. In the child: returns 0, or a negative errno if it cannot fork. */
int background_start(void);

/* The child serves: the parent exits 0, and the terminal is let go. Without a parent: nothing. */
void background_serving(void);

#endif
