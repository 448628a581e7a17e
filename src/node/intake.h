/* SPDX-License-Identifier: MIT */
/*
 * intake.h - the disk's side of fetching.h: a thread that writes one incoming snapshot.
 *
 * Threads: one job at a time; intake_start() and intake_done() are the loop's and never wait.
 */
#ifndef RAFTFS_NODE_INTAKE_H
#define RAFTFS_NODE_INTAKE_H

#include "base/buf.h"
#include "store/snapshot.h"

struct intake;

enum intake_kind {
    INTAKE_LOOK = 1, /* what earlier tries have left: a whole one, or a part, which is opened */
    INTAKE_OPEN,     /* a place for `what`, which goes on where an earlier try stopped */
    INTAKE_WRITE,    /* `data` at the offset of the one that is open */
    INTAKE_FINISH,   /* all has come: the one that is open becomes a snapshot in the directory */
    INTAKE_CLOSE,    /* keeps what has come */
    INTAKE_DISCARD,  /* forgets it */
};

struct intake_job {
    enum intake_kind kind;
    uint64_t need_index; /* of LOOK: at or above it */
    uint64_t damaged_id; /* of LOOK: not this one */
    struct snapshot what;
    uint64_t offset;
    struct buf *data; /* the reference passes over */
};

struct intake_result {
    enum intake_kind kind;
    int status;               /* 0 or a negative errno; of LOOK -ENOENT: nothing of use */
    bool whole;               /* of LOOK */
    struct snapshot snapshot; /* of LOOK and FINISH */
    uint64_t offset;          /* of LOOK, OPEN and WRITE: where the next piece goes */
};

/* In the directory `dir`; wake() when a job is done, on the intake's thread. */
struct intake *intake_init(const char *dir, void (*wake)(void *ctx), void *ctx);

/* Ends the job that runs, keeps what has come. */
void intake_close(struct intake *intake);

/* None may be running. */
void intake_start(struct intake *intake, const struct intake_job *job);

/* Whether the job is done: then its result, once. */
bool intake_done(struct intake *intake, struct intake_result *result);

#endif
