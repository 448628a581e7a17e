/* SPDX-License-Identifier: MIT */
/*
 * datadir.h - whose data directory this is.
 *
 * DIR/identity is a text file, replaced whole (written aside, synced, renamed, directory synced):
 *
 *     raftfs 1
 *     name node1
 *     address 127.0.0.1:8001
 *     cluster 91c3a0f3d2b14e57
 *     incarnation 5be0c7e1f7a6a0b2
 *     state member
 *     boot 3
 *     peers 127.0.0.1:8002,127.0.0.1:8003
 *
 * The incarnation is drawn when the directory is made, and identifies the member in messages,
 * configurations, log and store: a wiped node that comes back under its old name is somebody else.
 * state is `founding` until the log of a new cluster is durable, `joining` until a configuration
 * that holds this node has been applied, `member` from then on, and `removed` once the cluster has
 * done without this node: that is for ever. A joining directory never starts a cluster. boot counts
 * the starts: a session is one boot's, and a later boot ends the earlier one's. peers, which may be
 * missing, are the other members: what log and store know, for when neither can be read.
 *
 * DIR/lock is locked (flock) for as long as a daemon uses the directory. One thread at a time.
 */
#ifndef RAFTFS_NODE_DATADIR_H
#define RAFTFS_NODE_DATADIR_H

#include <stdbool.h>
#include <stdint.h>

#include "raft/net/net.h"

enum datadir_state { DATADIR_FOUNDING = 1, DATADIR_JOINING, DATADIR_MEMBER, DATADIR_REMOVED };

enum {
    DATADIR_WHY_BYTES = 512,
    DATADIR_PATH_BYTES = 4096,
    DATADIR_PEERS_BYTES = RAFT_MAX_MEMBERS * RAFT_ADDRESS_BYTES,
};

struct datadir {
    char *path;
    int lock_fd;
    bool fresh; /* made just now, or founding was never finished */
    enum datadir_state state;
    uint64_t boot; /* from 1 */
    struct raft_net_identity identity;
    char peers[DATADIR_PEERS_BYTES]; /* addresses with commas between them */
};

/*
 * Locks the directory, making it if need be, and reads whose it is; an empty one becomes `name`'s,
 * founding or joining. Counts this boot. 0, or a negative errno with a line in `why`: -EBUSY
 * (another daemon), -EEXIST (another node's), -EUCLEAN (not readable as an identity), -EPROTO (a
 * newer format), -ENOTCONN (removed from its cluster).
 */
int datadir_open(struct datadir *dir, const char *path, const char *name, const char *address,
                 bool joining, char why[DATADIR_WHY_BYTES]);

/* The same of a directory that must be some node's: `name`'s, or anybody's if that is empty. */
int datadir_open_existing(struct datadir *dir, const char *path, const char *name,
                          char why[DATADIR_WHY_BYTES]);

/*
 * The same of an empty directory that becomes `name`'s: a member of a new cluster, once it is
 * saved. -ENOTEMPTY: it is not.
 */
int datadir_open_empty(struct datadir *dir, const char *path, const char *name, const char *address,
                       char why[DATADIR_WHY_BYTES]);
void datadir_close(struct datadir *dir);

/* Puts dir->state and dir->identity on disk. 0 or a negative errno. */
int datadir_save(const struct datadir *dir);

/* Removes what an unfinished founding left: DIR/log and DIR/store.db. */
int datadir_clear(const struct datadir *dir);

/* A number for a new incarnation, never 0; or 0 if the system has no random numbers. */
uint64_t datadir_draw(void);

/*
 * Sets log, store and a copy of the identity aside as DIR/corrupt-N, which it names in `aside`, and
 * makes the directory a joining one of the same node, with this incarnation. Cut short, it can be
 * done again. 0 or a negative errno.
 */
int datadir_start_over(struct datadir *dir, uint64_t incarnation, char aside[DATADIR_PATH_BYTES]);

#endif
