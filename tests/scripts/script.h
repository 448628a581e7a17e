/* SPDX-License-Identifier: MIT */
/*
 * script.h - a cluster that does only what it is told, and tells what it does.
 *
 * Nodes are sim_node: a core, its modelled log, the driver's order of carrying out effects. What
 * the simulator deals from a seed, a script decides by command: which message arrives when, when a
 * disk has synced, whose clock moves. A message stays in flight until it is delivered or dropped; a
 * write is durable at once unless the disk is held. Each node has a clock of its own, since nothing
 * in Raft compares two of them: a campaign is "this node's election time-out passes now".
 *
 * script_world.c  nodes, clocks, links
 * script_trace.c  what a step did, as text; what must hold across nodes after each
 * script_parse.c  words to messages, links, durations
 * script_run.c    a command's words, and who carries it out
 * script_life.c, script_requests.c
 *                 the commands about processes, and those that ask one for something
 * run_script.c    files: commands and expected text, compared or rewritten
 */
#ifndef RAFTFS_SCRIPT_H
#define RAFTFS_SCRIPT_H

#include <stdio.h>

#include "sim/sim_node.h"
#include "sim/sim_text.h"

enum {
    SCRIPT_NODES = 9, /* with ids 1 to 9 */
    SCRIPT_TERMS = 64,
    SCRIPT_HEARTBEAT_US = 100 * 1000,
    SCRIPT_ELECTION_US = 700 * 1000,
    SCRIPT_PATIENCE_US = 5 * SCRIPT_ELECTION_US, /* no election timer is longer */
};

struct script_node {
    struct sim_node node;
    uint64_t now_us;
    uint64_t wake_at_us;
    uint32_t boots;
    bool disk_held;
    /* As the trace told it last. */
    enum raft_role role;
    uint64_t term;
    raft_id leader;
    uint64_t commit;
    uint64_t config_index;
    char wrote[SIM_TEXT_BYTES]; /* by the step that is running */
};

struct script {
    FILE *out;
    bool quiet; /* messages and writes are not told */
    bool broken;
    struct sim_hooks hooks;
    struct sim_configs configs;
    struct raft_effects effects;
    struct script_node nodes[SCRIPT_NODES];
    bool cut[SCRIPT_NODES + 1][SCRIPT_NODES + 1]; /* [from][to] */
    struct sim_packet **packets;                  /* in flight, oldest first */
    uint32_t packet_count;
    uint32_t packet_capacity;
    uint64_t tokens;
    uint64_t payloads;
    raft_id leaders[SCRIPT_TERMS];
    struct sim_log committed; /* by whomever first */
};

/* Which messages a command is about. */
struct script_filter {
    uint32_t link_count; /* 0: all */
    struct {
        raft_id from, to; /* 0: any */
    } links[SCRIPT_NODES];
    uint32_t kinds; /* a bit each; 0: all */
    uint32_t most;  /* messages; 0: any number */
};

/* ---- script_world.c ---- */
struct script *script_new(FILE *out);
void script_free(struct script *s);
struct script_node *script_node(struct script *s, raft_id id);
struct raft_member script_member(raft_id id);

/* A disk before its node's first start. Terms are those of entries 2 on; entry 1 is `config`. */
void script_format(struct script *s, raft_id id, const struct raft_config *config,
                   const uint64_t *terms, uint32_t count);
/* The state machine stands at `applied`, which may be ahead of the log. */
void script_boot(struct script *s, struct script_node *n, uint64_t applied);
void script_crash(struct script_node *n, bool unsynced_survives);

/* A step, and what the disk finishes after it. */
void script_step(struct script_node *n, struct raft_event *event, const struct sim_entry *entries);
void script_arrive(struct script_node *n, const struct sim_packet *packet);
void script_persist(struct script_node *n, uint32_t most);
void script_install(struct script *s, struct script_node *n, uint64_t index);

/* Delivers what is in flight and what comes of it; or drops, or doubles what is in flight. */
void script_deliver(struct script *s, struct script_filter filter, bool with_answers);
void script_drop(struct script *s, struct script_filter filter);
void script_duplicate(struct script *s, struct script_filter filter);

/* Timers fire in the order in which they are due; `deliver`: between them, all is delivered. */
void script_pass(struct script *s, raft_id only, uint64_t duration_us, bool deliver);
void script_campaign(struct script_node *n);

/* ---- script_trace.c ---- */
void script_tell_step(struct script *s, struct script_node *n, const struct raft_effects *out);
void script_tell_message(struct script *s, const char *what, const struct raft_msg *m);
void script_tell_status(struct script *s, const struct script_node *n);
void script_tell_log(struct script *s, const struct script_node *n);
void script_check(struct script *s, struct script_node *n);

/* ---- script_parse.c: false if the text is no such thing ---- */
bool script_parse_number(const char *text, uint64_t *value);
bool script_parse_id(const char *text, raft_id *id);
bool script_parse_duration(const char *text, uint64_t *us);
bool script_parse_link(const char *text, raft_id *from, raft_id *to);
bool script_parse_filter(char **words, uint32_t count, struct script_filter *filter);
/* "append 1->2 t3 prev 10:3 +2 commit 9": a message as the trace writes it; the caller frees it. */
struct sim_packet *script_parse_packet(char **words, uint32_t count);

/* ---- script_run.c ---- */
/* Runs one command; NULL, or what is wrong with it. */
const char *script_run(struct script *s, const char *command);

/* A command's words after its name. */
struct script_words {
    char **word;
    uint32_t count;
};

/* The node named by word k (up or down; running); NULL if there is no such word or node. */
struct script_node *script_node_at(struct script *s, struct script_words w, uint32_t k);
struct script_node *script_running_at(struct script *s, struct script_words w, uint32_t k);
bool script_word_is(struct script_words w, uint32_t k, const char *text);

/* ---- script_life.c, script_requests.c: a command each ---- */
typedef const char *script_command(struct script *s, struct script_words w);
script_command script_do_nodes;
script_command script_do_preset;
script_command script_do_start;
script_command script_do_crash;
script_command script_do_restart;
script_command script_do_hold_disk;
script_command script_do_persist;
script_command script_do_release_disk;
script_command script_do_disk;
script_command script_do_compact;
script_command script_do_install;
script_command script_do_propose;
script_command script_do_read;
script_command script_do_transfer;
script_command script_do_add;
script_command script_do_remove;
script_command script_do_promote;
script_command script_do_demote;
script_command script_do_address;
script_command script_do_replace;

#endif
