/* SPDX-License-Identifier: MIT */
/*
 * session_table.h - the sessions and the results of their commands, in memory beside their rows.
 *
 * Every command asks for its session and moves its mark, so none of that is read from the database.
 * The table is filled by the first batch, changed by the rules of session.c, and saved at the end
 * of each transaction: a result that came and went within one is never written. If that fails, or
 * another state is installed, it is dropped and filled anew.
 *
 * Threads: whoever applies or saves, under the store's writer_lock.
 */
#ifndef RAFTFS_STORE_SESSION_TABLE_H
#define RAFTFS_STORE_SESSION_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "store/sql.h"

struct session_result {
    uint64_t seq; /* 0: none */
    uint64_t ino;
    uint64_t offset;
    int32_t status;
    uint32_t slot; /* its row; 0: not saved yet */
};

struct session {
    uint64_t id;
    uint64_t incarnation;
    uint64_t boot;
    uint64_t lowest; /* the mark: results below it are forgotten */
    uint32_t slot;   /* its row */
    uint32_t capacity;
    struct session_result *results; /* by seq modulo capacity, a power of two */
};

struct session_fresh {
    uint64_t session;
    uint64_t seq;
};

struct session_table {
    bool filled;
    struct session *items; /* in order of id, which only grows */
    uint32_t count;
    uint32_t capacity;
    uint64_t *used; /* slots, a bit each */
    uint32_t used_words;
    uint32_t first_free_word;    /* none before it has a free one */
    struct session_fresh *fresh; /* results of this batch */
    uint32_t fresh_count;
    uint32_t fresh_capacity;
};

void session_table_free(struct session_table *table);

/* What it holds is not what the database holds. */
void session_table_drop(struct session_table *table);

/* Around the commands of a batch, in its transaction. Errors stay in `sql`. */
void session_table_begin(struct session_table *table, struct sql *sql);
void session_table_save(struct session_table *table, struct sql *sql);

/* NULL if there is none. Both stay good until a session is added or removed. */
struct session *session_table_find(struct session_table *table, uint64_t id);
struct session *session_table_find_incarnation(struct session_table *table, uint64_t incarnation);

/* An id above all earlier ones. The row is written at once. */
void session_table_add(struct session_table *table, struct sql *sql, const struct session *session);
void session_table_remove(struct session_table *table, struct sql *sql, struct session *session);

/* The result of that number, NULL if none is known. */
struct session_result *session_result(const struct session *session, uint64_t seq);
void session_result_add(struct session_table *table, struct session *session,
                        const struct session_result *result);
void session_result_forget(struct session_table *table, struct session_result *result);

#endif
