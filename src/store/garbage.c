/* SPDX-License-Identifier: MIT */
#include "store/garbage.h"

enum { PIECE_ROWS = 8 }; /* what a lone writer may have to wait for: half a MiB */

struct range {
    uint64_t ino;
    uint64_t first;
    uint64_t last;
};

/* ---- The table ---- */

static bool read_range(struct sql *sql, sqlite3_stmt *s, struct range *out)
{
    bool found = sql_step(sql, s);
    if (found)
        *out = (struct range){.ino = sql_u64(s, 0), .first = sql_u64(s, 1), .last = sql_u64(s, 2)};
    sql_done(s);
    return found;
}

/* The range that row n is in. */
static bool find(struct sql *sql, uint64_t ino, uint64_t n, struct range *out)
{
    sqlite3_stmt *s = sql_get(sql, SQL_GARBAGE_AT);
    sql_bind_u64(sql, s, 1, ino);
    sql_bind_u64(sql, s, 2, n);
    return read_range(sql, s, out) && out->last >= n;
}

static void put(struct sql *sql, uint64_t ino, uint64_t first, uint64_t last)
{
    sqlite3_stmt *s = sql_get(sql, SQL_GARBAGE_PUT);
    sql_bind_u64(sql, s, 1, ino);
    sql_bind_u64(sql, s, 2, first);
    sql_bind_u64(sql, s, 3, last);
    sql_run(sql, s);
}

static void drop(struct sql *sql, enum sql_statement which, uint64_t ino, uint64_t first)
{
    sqlite3_stmt *s = sql_get(sql, which);
    sql_bind_u64(sql, s, 1, ino);
    sql_bind_u64(sql, s, 2, first);
    sql_run(sql, s);
}

void garbage_add(struct txn *t, uint64_t ino, uint64_t first)
{
    struct range before;
    if (find(t->sql, ino, first, &before))
        first = before.first;
    drop(t->sql, SQL_GARBAGE_DELETE_FROM, ino, first);
    put(t->sql, ino, first, INT64_MAX);
    t->garbage = true;
}

void garbage_take_out(struct sql *sql, uint64_t ino, uint64_t n)
{
    struct range range;
    if (!find(sql, ino, n, &range))
        return;
    drop(sql, SQL_GARBAGE_DELETE, ino, range.first);
    if (range.first < n)
        put(sql, ino, range.first, n - 1);
    if (n < range.last)
        put(sql, ino, n + 1, range.last);
}

/* ---- Freeing ---- */

/* How far a piece of the range reaches. */
static uint64_t end_of_piece(struct sql *sql, const struct range *range)
{
    sqlite3_stmt *s = sql_get(sql, SQL_GARBAGE_ROWS);
    uint64_t last = range->last;
    unsigned rows = 0;
    sql_bind_u64(sql, s, 1, range->ino);
    sql_bind_u64(sql, s, 2, range->first);
    while (rows < PIECE_ROWS && sql_step(sql, s) && sql_u64(s, 0) == range->ino &&
           sql_u64(s, 1) <= range->last) {
        last = sql_u64(s, 1);
        rows++;
    }
    sql_done(s);
    return rows < PIECE_ROWS ? range->last : last;
}

bool garbage_free_some(struct sql *sql)
{
    struct range range;
    if (!read_range(sql, sql_get(sql, SQL_GARBAGE_ANY), &range))
        return false;
    uint64_t last = end_of_piece(sql, &range);
    sqlite3_stmt *s = sql_get(sql, SQL_GARBAGE_FREE);
    sql_bind_u64(sql, s, 1, range.ino);
    sql_bind_u64(sql, s, 2, range.first);
    sql_bind_u64(sql, s, 3, last);
    sql_run(sql, s);
    drop(sql, SQL_GARBAGE_DELETE, range.ino, range.first);
    if (last < range.last)
        put(sql, range.ino, last + 1, range.last);
    return true;
}
