/* SPDX-License-Identifier: MIT */
/*
 * batch.c - applying batches.
 *
 * A batch is one transaction: its entries' changes and the state, whose applied index says how far
 * it got. Either all of it is in the database or none of it; after a crash the rest comes out of
 * the Raft log again. The state and the sessions in memory are copies that are thrown away if the
 * transaction fails; the state is published once it is visible to queries.
 *
 * A batch may begin before its first entry is committed: store_try() carries that one out while the
 * disks of a majority are still at it, which take longer. Nobody sees it, for the transaction is
 * open and nothing is published; what a change costs once it is committed is the commit alone. If
 * another entry comes in its place, all of it is undone, and it is as if it had never been tried:
 * SQLite forgets the changed pages, sessions are read anew, the state and what was touched start
 * over with each batch. What reaches beyond these is not tried: a removal may make a copy for those
 * who have the inode open.
 *
 * Term and index say that two entries are the same (Log Matching, thesis 3.5).
 */
#include <assert.h>
#include <errno.h>

#include "store/apply.h"
#include "store/internal.h"

static void begin(struct store *s)
{
    s->txn = (struct txn){.sql = &s->writer,
                          .state = s->published,
                          .sessions = &s->sessions,
                          .orphans = s->orphans,
                          .touched = &s->touched,
                          .is_open = s->options.is_open,
                          .is_open_ctx = s->options.ctx};
    s->touched.count = 0;
    sql_begin(&s->writer, true);
    session_table_begin(&s->sessions, &s->writer);
}

static void apply_config(struct txn *t, const struct store_entry *entry)
{
    sqlite3_stmt *s = sql_get(t->sql, SQL_CONFIG_PUT);
    sql_bind_u64(t->sql, s, 1, entry->index);
    sql_bind_blob(t->sql, s, 2, entry->data, entry->bytes);
    sql_run(t->sql, s);
}

/* False: the entry is no command, or cannot be decoded. */
static bool decode(struct store *s, const struct store_entry *entry, struct command *command)
{
    return entry->kind == STORE_ENTRY_COMMAND &&
           command_decode(command, s->groups, entry->data, entry->bytes);
}

static void apply_entry(struct store *s, const struct store_entry *entry,
                        struct store_result *result)
{
    struct txn *t = &s->txn;
    assert(entry->index == t->state.applied_index + 1);
    *result = (struct store_result){0};
    t->index = entry->index;
    struct command command;
    if (entry->kind == STORE_ENTRY_CONFIG)
        apply_config(t, entry);
    else if (decode(s, entry, &command))
        apply_command(t, &command, result);
    t->state.applied_index = entry->index;
    t->state.applied_term = entry->term;
}

/* ---- Before it is committed ---- */

static bool can_be_undone(struct store *s, const struct store_entry *entry)
{
    struct command command;
    return !decode(s, entry, &command) ||
           (command.op != COMMAND_UNLINK && command.op != COMMAND_RMDIR &&
            command.op != COMMAND_RENAME);
}

bool store_try(struct store *s, const struct store_entry *entry)
{
    store_undo(s);
    if (entry->index != s->published.applied_index + 1 || !can_be_undone(s, entry))
        return false;
    begin(s);
    apply_entry(s, entry, &s->tried_result);
    s->tried = true;
    if (s->writer.error)
        store_undo(s); /* should it be committed, it fails again, and is told */
    return s->tried;
}

void store_undo(struct store *s)
{
    if (!s->tried)
        return;
    s->tried = false;
    if (s->writer.error == 0)
        s->writer.error = -ECANCELED;
    sql_end(&s->writer);
    session_table_drop(&s->sessions);
}

/* ---- Once it is ---- */

static bool is_tried(const struct store *s, const struct store_entry *entry)
{
    const struct store_state *state = &s->txn.state; /* as that entry left it */
    return s->tried && state->applied_index == entry->index && state->applied_term == entry->term;
}

/* How many of the entries the transaction holds that is open now. */
static uint32_t begin_or_go_on(struct store *s, const struct store_entry *entries,
                               struct store_result *results)
{
    if (is_tried(s, &entries[0])) {
        s->tried = false;
        results[0] = s->tried_result;
        return 1;
    }
    store_undo(s);
    begin(s);
    return 0;
}

int store_apply(struct store *s, const struct store_entry *entries, uint32_t count,
                struct store_result *results)
{
    uint32_t held = begin_or_go_on(s, entries, results);
    for (uint32_t i = held; i < count && s->writer.error == 0; i++)
        apply_entry(s, &entries[i], &results[i]);
    session_table_save(&s->sessions, &s->writer);
    tree_save_state(&s->txn);
    cache_end_epoch(s->cache);
    int error = sql_end(&s->writer);
    cache_begin_epoch(s->cache, s->touched.items, error ? 0 : s->touched.count);
    if (error) {
        session_table_drop(&s->sessions);
        return error;
    }
    store_publish(s, &s->txn.state);
    if (s->touched.count && s->options.touched)
        s->options.touched(s->options.ctx, s->touched.items, s->touched.count);
    orphans_settle(s->orphans, s->options.is_open, s->options.ctx);
    checkpoint_grown(s->checkpoint, s->wal_pages);
    return 0;
}
