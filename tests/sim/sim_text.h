/* SPDX-License-Identifier: MIT */
/*
 * sim_text.h - what happens, in words: messages, events and writes as one line each.
 *
 * Used by the simulator's trace and by the scripts' expected output, so a script can be written by
 * reading a trace.
 */
#ifndef RAFTFS_SIM_TEXT_H
#define RAFTFS_SIM_TEXT_H

#include "sim_log.h"

enum { SIM_TEXT_BYTES = 256 };

/* F, P, C or L. */
char sim_role_text(enum raft_role role);

const char *sim_refusal_text(enum raft_refusal refusal);

/* "append 1->2 t3 prev 10:3 +2 commit 9" */
void sim_msg_text(char out[SIM_TEXT_BYTES], const struct raft_msg *msg);

/* "write 7: drop 11.. append 11..12 hard t4 vote 2" */
void sim_write_text(char out[SIM_TEXT_BYTES], const struct sim_write *write);

/* "1 2 3 | 4 (learner) 5 (learner, promote)", joint: "1 2 -> 1 3" */
void sim_config_text(char out[SIM_TEXT_BYTES], const struct raft_config *config);

/* An event's name, with what matters of it (a message as sim_msg_text() has it). */
void sim_event_text(char out[SIM_TEXT_BYTES], const struct raft_event *event);

#endif
