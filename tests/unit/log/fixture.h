/* SPDX-License-Identifier: MIT */
/*
 * fixture.h - a log in a directory of its own, beside a model of what it must hold.
 *
 * The payload of an entry follows from its index, term and size, so the model keeps these only.
 * Every helper fails the test when the log does not do as it should. One log at a time.
 */
#ifndef RAFTFS_TESTS_LOG_FIXTURE_H
#define RAFTFS_TESTS_LOG_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "raft/log/log.h"

/* Sanitizers make a recovery some twenty times as slow: fewer of them are looked at then. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { FIXTURE_SLOW = 1 };
#else
enum { FIXTURE_SLOW = 0 };
#endif

enum {
    FIXTURE_INCARNATION = 77,
    FIXTURE_MAX_ENTRIES = 8192,
    FIXTURE_MAX_DURABLE = 8192,
    FIXTURE_PATH_BYTES = 256,
};

struct model_entry {
    uint64_t term;
    enum raft_entry_kind kind;
    uint32_t bytes;
};

struct model {
    uint64_t base_index;
    uint64_t last_index;
    struct raft_hard_state hard;
    struct model_entry entries[FIXTURE_MAX_ENTRIES]; /* by index */
};

struct fixture {
    char top[FIXTURE_PATH_BYTES];
    char dir[FIXTURE_PATH_BYTES + 8]; /* top/log */
    uint32_t segment_bytes;
    bool direct;
    struct raft_log *log;
    struct raft_log_recovered recovered; /* of the last open */
    char why[RAFT_LOG_WHY_BYTES];
    struct model model;
    uint64_t next_id;
    void (*on_durable)(void *ctx, uint64_t id); /* is told too, if not NULL; before others hear */
};

int fixture_setup(void **state);
int fixture_teardown(void **state);

/* The payload that an entry must have; the caller gives it back. NULL for a no-op. */
struct buf *fixture_payload(uint64_t index, const struct model_entry *e);

/* raft_log_open() of the fixture's directory. */
int fixture_try_open(struct fixture *f, bool create);

/* Opens what must be good, and checks all of it against the model. */
void fixture_open(struct fixture *f, bool create);

/* The same for a log whose entries up to `index` may be gone: the model's base becomes the log's.
 */
void fixture_open_compacted(struct fixture *f, uint64_t index);
void fixture_close(struct fixture *f);
void fixture_reopen(struct fixture *f);

/* One write, in the log and in the model: its id. `kinds` NULL: commands. */
struct fixture_write {
    uint64_t restart_index; /* 0: none */
    uint64_t restart_term;
    uint64_t truncate_from;
    uint64_t term;
    uint32_t count;
    const uint32_t *bytes;
    enum raft_entry_kind kind;   /* 0: a command */
    struct raft_hard_state hard; /* term 0: none */
    bool reserve;
};
uint64_t fixture_submit(struct fixture *f, const struct fixture_write *write);
void fixture_model(struct model *model, const struct fixture_write *write);

/* Submits an entry and waits until it is durable. */
void fixture_append(struct fixture *f, uint64_t term, enum raft_entry_kind kind, uint32_t bytes);

void fixture_wait_durable(struct fixture *f, uint64_t id);

/* Waits until on_space has said so last. */
void fixture_wait_space(struct fixture *f, bool full);

/* The ids that on_durable has named since the log was opened: how many, and copied to `ids`. */
uint32_t fixture_durable(struct fixture *f, uint64_t ids[FIXTURE_MAX_DURABLE]);

/* Reads and checks what it gets against the model: its status, and how many entries in *count. */
int fixture_read(struct fixture *f, uint64_t first, uint64_t last, uint32_t *count);

/* Reads every entry that the model holds. */
void fixture_read_all(struct fixture *f);

/* ---- The files ---- */

/* The path of a segment (0: the last one), and the numbers of the first and last. */
void fixture_segment(struct fixture *f, uint64_t number, char path[FIXTURE_PATH_BYTES * 2]);
uint32_t fixture_segments(struct fixture *f, uint64_t *first, uint64_t *last);

/* Waits until the first segment there is has this number. */
void fixture_wait_first(struct fixture *f, uint64_t number);
uint8_t *fixture_load(const char *path, uint32_t *bytes); /* memory_free() gives it back */

/* Leaves the log's directory there, and empty. */
void fixture_clear(struct fixture *f);
void fixture_store(const char *path, const void *data, uint32_t bytes);

#endif
