/* SPDX-License-Identifier: MIT */
/*
 * Rows. Session and result have a slot each of the table `progress` (schema.h); a new one takes the
 * lowest free slot. A result that is forgotten leaves its row to whoever gets the slot next, so
 * that the usual command, which adds one result and forgets one, writes one row in place, on the
 * page where the row of the state stands too. Whether a row counts is seen from it and its session:
 * the session is there, and its mark is not above the row's number.
 *
 * Nor is the mark written by itself: each result's row bears the mark of its session at the time,
 * and the highest of them is the mark now. The row that bears it is never one that is forgotten: a
 * mark moves only with a command, whose own result, at or above the mark, is saved by the same
 * batch.
 */
#include "store/session_table.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"
#include "store/store.h"

enum { FIRST_RESULTS = 64, FIRST_SESSIONS = 8, FIRST_FRESH = 64, FIRST_WORDS = 4, WORD_BITS = 64 };

/* ---- Slots ---- */

static void use_slot(struct session_table *t, uint32_t slot)
{
    uint32_t word = slot / WORD_BITS;
    if (word >= t->used_words) {
        uint32_t words = t->used_words ? t->used_words : FIRST_WORDS;
        while (words <= word)
            words *= 2;
        t->used = memory_realloc(t->used, words * sizeof(*t->used));
        memset(t->used + t->used_words, 0, (words - t->used_words) * sizeof(*t->used));
        t->used_words = words;
    }
    t->used[word] |= (uint64_t)1 << slot % WORD_BITS;
}

static uint32_t take_slot(struct session_table *t)
{
    while (t->first_free_word < t->used_words && t->used[t->first_free_word] == UINT64_MAX)
        t->first_free_word++;
    uint32_t slot = t->first_free_word * WORD_BITS;
    if (t->first_free_word < t->used_words)
        slot += (uint32_t)__builtin_ctzll(~t->used[t->first_free_word]);
    use_slot(t, slot);
    return slot;
}

static void give_slot(struct session_table *t, uint32_t slot)
{
    uint32_t word = slot / WORD_BITS;
    t->used[word] &= ~((uint64_t)1 << slot % WORD_BITS);
    if (word < t->first_free_word)
        t->first_free_word = word;
}

/* ---- Sessions ---- */

struct session *session_table_find(struct session_table *t, uint64_t id)
{
    for (uint32_t i = t->count; i-- > 0;)
        if (t->items[i].id == id)
            return &t->items[i];
    return NULL;
}

struct session *session_table_find_incarnation(struct session_table *t, uint64_t incarnation)
{
    for (uint32_t i = t->count; i-- > 0;)
        if (t->items[i].incarnation == incarnation)
            return &t->items[i];
    return NULL;
}

static struct session *append(struct session_table *t, const struct session *session)
{
    if (t->count == t->capacity) {
        t->capacity = t->capacity ? 2 * t->capacity : FIRST_SESSIONS;
        t->items = memory_realloc(t->items, t->capacity * sizeof(*t->items));
    }
    struct session *s = &t->items[t->count++];
    *s = *session;
    s->capacity = FIRST_RESULTS;
    s->results = memory_zalloc(s->capacity * sizeof(*s->results));
    return s;
}

static void put_row(struct sql *sql, uint32_t slot, const uint64_t row[6])
{
    sqlite3_stmt *s = sql_get(sql, SQL_PROGRESS_PUT);
    sql_bind_u64(sql, s, 1, slot);
    for (int i = 0; i < 6; i++)
        sql_bind_u64(sql, s, i + 2, row[i]);
    sql_run(sql, s);
}

void session_table_add(struct session_table *t, struct sql *sql, const struct session *session)
{
    assert(t->count == 0 || t->items[t->count - 1].id < session->id);
    struct session *s = append(t, session);
    s->slot = take_slot(t);
    put_row(sql, s->slot, (const uint64_t[6]){s->id, 0, s->lowest, s->incarnation, s->boot, 0});
}

void session_table_remove(struct session_table *t, struct sql *sql, struct session *session)
{
    for (uint32_t i = 0; i < session->capacity; i++)
        if (session->results[i].seq)
            session_result_forget(t, &session->results[i]);
    sqlite3_stmt *s = sql_get(sql, SQL_PROGRESS_DELETE);
    sql_bind_u64(sql, s, 1, session->slot);
    sql_run(sql, s);
    give_slot(t, session->slot);
    memory_free(session->results);
    uint32_t at = (uint32_t)(session - t->items);
    memmove(session, session + 1, (--t->count - at) * sizeof(*session));
}

/* ---- Results ---- */

static struct session_result *place_of(const struct session *s, uint64_t seq)
{
    return &s->results[seq & (s->capacity - 1)];
}

struct session_result *session_result(const struct session *s, uint64_t seq)
{
    struct session_result *r = place_of(s, seq);
    return r->seq == seq ? r : NULL;
}

/* All numbers lie within `capacity` from the mark on, so that no two have the same place. */
static void make_room(struct session *s, uint64_t seq)
{
    uint32_t capacity = s->capacity;
    assert(seq >= s->lowest && seq - s->lowest < STORE_MAX_RESULTS);
    while (seq - s->lowest >= capacity)
        capacity *= 2;
    if (capacity == s->capacity)
        return;
    struct session old = *s;
    s->capacity = capacity;
    s->results = memory_zalloc(capacity * sizeof(*s->results));
    for (uint32_t i = 0; i < old.capacity; i++)
        if (old.results[i].seq)
            *place_of(s, old.results[i].seq) = old.results[i];
    memory_free(old.results);
}

static void place(struct session *s, const struct session_result *result)
{
    make_room(s, result->seq);
    *place_of(s, result->seq) = *result;
}

void session_result_add(struct session_table *t, struct session *session,
                        const struct session_result *result)
{
    place(session, result);
    if (t->fresh_count == t->fresh_capacity) {
        t->fresh_capacity = t->fresh_capacity ? 2 * t->fresh_capacity : FIRST_FRESH;
        t->fresh = memory_realloc(t->fresh, t->fresh_capacity * sizeof(*t->fresh));
    }
    t->fresh[t->fresh_count++] = (struct session_fresh){.session = session->id, .seq = result->seq};
}

void session_result_forget(struct session_table *t, struct session_result *result)
{
    if (result->slot)
        give_slot(t, result->slot);
    result->seq = 0;
}

/* ---- Rows ---- */

static void fill_sessions(struct session_table *t, struct sql *sql)
{
    sqlite3_stmt *s = sql_get(sql, SQL_SESSION_LIST);
    while (sql_step(sql, s)) {
        struct session session = {.id = sql_u64(s, 0),
                                  .incarnation = sql_u64(s, 1),
                                  .boot = sql_u64(s, 2),
                                  .lowest = sql_u64(s, 3),
                                  .slot = (uint32_t)sql_u64(s, 4)};
        append(t, &session);
        use_slot(t, session.slot);
    }
    sql_done(s);
}

static void fill_results(struct session_table *t, struct sql *sql)
{
    sqlite3_stmt *s = sql_get(sql, SQL_RESULT_LIST);
    while (sql_step(sql, s)) {
        struct session_result result = {.seq = sql_u64(s, 1),
                                        .status = (int32_t)(int64_t)sql_u64(s, 2),
                                        .ino = sql_u64(s, 3),
                                        .offset = sql_u64(s, 4),
                                        .slot = (uint32_t)sql_u64(s, 5)};
        place(session_table_find(t, sql_u64(s, 0)), &result);
        use_slot(t, result.slot);
    }
    sql_done(s);
}

void session_table_begin(struct session_table *t, struct sql *sql)
{
    if (t->filled)
        return;
    use_slot(t, 0); /* the state's */
    fill_sessions(t, sql);
    fill_results(t, sql);
    t->filled = true;
}

void session_table_save(struct session_table *t, struct sql *sql)
{
    for (uint32_t i = 0; i < t->fresh_count; i++) {
        const struct session *s = session_table_find(t, t->fresh[i].session);
        struct session_result *r = s ? session_result(s, t->fresh[i].seq) : NULL;
        if (!r)
            continue;
        r->slot = take_slot(t);
        put_row(sql, r->slot,
                (const uint64_t[6]){s->id, r->seq, s->lowest, (uint64_t)(int64_t)r->status, r->ino,
                                    r->offset});
    }
    t->fresh_count = 0;
}

void session_table_drop(struct session_table *t)
{
    for (uint32_t i = 0; i < t->count; i++)
        memory_free(t->items[i].results);
    t->count = 0;
    t->fresh_count = 0;
    t->first_free_word = 0;
    if (t->used)
        memset(t->used, 0, t->used_words * sizeof(*t->used));
    t->filled = false;
}

void session_table_free(struct session_table *t)
{
    session_table_drop(t);
    memory_free(t->items);
    memory_free(t->used);
    memory_free(t->fresh);
    *t = (struct session_table){0};
}
