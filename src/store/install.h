/* SPDX-License-Identifier: MIT */
/*
 * install.h - the whole state at once, out of a snapshot.
 */
#ifndef RAFTFS_STORE_INSTALL_H
#define RAFTFS_STORE_INSTALL_H

#include "store/store.h"

/*
 * Replaces the state of a running store by a snapshot's, which then stands at *index, *term.
 * Atomic: queries go on and see the old or the new state, and so does whoever opens the store after
 * a crash. Synced when it returns 0. Files open on this node that the new state lacks become
 * orphans.
 *
 * On the apply thread, while nothing is applied; the file must stay meanwhile. 0; -EUCLEAN: the
 * snapshot is damaged or none (reported); or another negative errno, as -ENOSPC. After an error the
 * state is the old one, but for an error of the last sync, when it is the new one and not durable.
 */
int store_install(struct store *store, const char *snapshot_path, uint64_t *index, uint64_t *term);

/*
 * Makes DIR/store.db out of a snapshot, for the first node of a new cluster: the tree is the
 * snapshot's, sessions and configuration are nobody's any more. A store that is there already is
 * left alone (-EEXIST). Crash safe: the file appears whole, or not at all. 0 or a negative errno
 * with one line in `why`.
 */
int store_restore(const char *snapshot_path, const char *dir, uint64_t incarnation,
                  char why[STORE_WHY_BYTES]);

#endif
