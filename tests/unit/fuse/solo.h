/* SPDX-License-Identifier: MIT */
/*
 * solo.h - a mount over a bare store: a cluster of one without Raft, for tests.
 *
 * A change is sealed, stamped and applied at once, on a thread of its own; a barrier is answered on
 * another. Tests can hold changes back, let them or barriers fail, apply commands as another node
 * would, and count what was applied. Whatever touches the mount runs in a child process, since a
 * process that waits for itself could not even be killed.
 */
#ifndef RAFTFS_TESTS_SOLO_H
#define RAFTFS_TESTS_SOLO_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "fuse/mount.h"
#include "store/command.h"
#include "store/store.h"

enum { SOLO_OUT_BYTES = 64 * 1024, SOLO_MAX_COMMANDS = 4096 };

/* What this node applied: the command without its pointers, and what it came to. */
struct solo_applied {
    enum command_op op;
    uint16_t flags;
    uint32_t data_bytes;
    uint64_t if_version;
    uint32_t set;
    int status;
};

struct solo {
    char dir[64];   /* everything of this test */
    char mount[80]; /* the mount point */
    struct mount *_Atomic fs;
    struct store *store;
    bool no_spin;             /* for the next solo_mount() */
    char out[SOLO_OUT_BYTES]; /* what the last script printed, standard error included */
    struct solo_inside *inside;
};

/* The first line of a test, and how it is listed. Skips the test, saying why, where FUSE cannot be
 * used. */
#define NEEDS_MOUNT(s)       \
    struct solo *s = *state; \
    if (!s)                  \
    skip()
#define ON_A_MOUNT(test) cmocka_unit_test_setup_teardown(test, solo_setup, solo_teardown)
int solo_setup(void **state);
int solo_teardown(void **state);

/* The mount is taken away with mount_close(); the store stays. */
void solo_unmount(struct solo *s);
void solo_mount(struct solo *s, const char *fuse_options);
bool solo_was_unmounted(struct solo *s);

/* Runs a script in the mount point; returns its exit status, and its output in s->out. */
int solo_bash(struct solo *s, const char *script);
int solo_dash(struct solo *s, const char *script);
int solo_python(struct solo *s, const char *script);

/* The same without waiting: a child to talk to. `say` sends it a line, `hear` reads one. */
struct solo_child;
struct solo_child *solo_start(struct solo *s, const char *interpreter, const char *script);
void solo_say(struct solo_child *child, const char *line);
const char *solo_hear(struct solo_child *child);
pid_t solo_pid(struct solo_child *child);
int solo_wait(struct solo_child *child);

/* ---- Switches ---- */

void solo_hold(struct solo *s, bool held);           /* changes wait */
void solo_block(struct solo *s, bool blocks);        /* barriers: whoever asks for one */
void solo_fail_changes(struct solo *s, int status);  /* 0: they work again */
void solo_fail_barriers(struct solo *s, int status); /* likewise */
void solo_set_leader(struct solo *s, const char *text);

unsigned solo_barriers(struct solo *s); /* asked for until now */

/* ---- What was applied ---- */

void solo_forget(struct solo *s); /* counts from here */
unsigned solo_count(struct solo *s);
struct solo_applied solo_nth(struct solo *s, unsigned n);
void solo_await_count(struct solo *s, unsigned count);   /* applied or failed */
void solo_await_waiting(struct solo *s, unsigned count); /* held back */
void solo_await_blocked(struct solo *s, unsigned count);

/* Another node's change; returns what it came to. */
struct store_result solo_elsewhere(struct solo *s, const struct command *command);
void solo_write_elsewhere(struct solo *s, const char *name, const char *value);
void solo_create_elsewhere(struct solo *s, const char *name, const char *value);
void solo_unlink_elsewhere(struct solo *s, const char *name);

/* The value as the store has it, "?" if the name is not there. */
const char *solo_value(struct solo *s, const char *name);

#endif
