/* SPDX-License-Identifier: MIT */
/*
 * fetching_world.h - members, a disk, a driver and an apply thread for fetching.c, all played by
 * the test: nothing happens unless it says so.
 */
#ifndef RAFTFS_TEST_FETCHING_WORLD_H
#define RAFTFS_TEST_FETCHING_WORLD_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/fetching.h"
#include "node/intake.h"

enum { SELF = 1, LEADER = 2, OTHER = 3, SECOND_US = 1000 * 1000, PIECE = RAFT_NET_PIECE_BYTES };

/* What fetching.c did, and what it is to see. */
struct fetching_world {
    uint64_t now_us;
    bool up[4];
    uint32_t asks; /* that were sent */
    raft_id asked;
    struct raft_net_snapshot_ask ask;

    bool job_waits;
    struct intake_job job;
    bool result_waits;
    struct intake_result result;

    bool paused;
    void (*call)(void *ctx);
    void *call_ctx;
    int install_status;
    bool install_unsynced; /* it shows in spite of the error */
    uint64_t applied_index;
    uint32_t installs;
    uint32_t driver_installs;
    char installed_path[4096];
};
extern struct fetching_world world;
extern struct fetching *fetching;
extern const struct snapshot whole; /* what the members have */

uint64_t pump(void);
void need(uint64_t index);

/* The disk does what it was told. */
void do_job(enum intake_kind kind, struct intake_result result);

/* The member that was asked sends what it was asked for, another thing, or a refusal. */
struct raft_net_snapshot_piece piece_of(const struct raft_net_snapshot_ask *ask);
void answer(void);
void answer_with(raft_id from, const struct raft_net_snapshot_piece *piece);
void refuse(int status);

/* The apply thread is idle. */
void run_install(void);

/* From a need to the first ask; to the first piece; from there to the whole; and its installation.
 */
void look_in_vain(void);
void start_receiving(void);
void receive_the_rest(void);
void check_installed(void);

int set_up(void **state);
int tear_down(void **state);

#endif
