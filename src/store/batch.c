/* SPDX-License-Identifier: MIT */
/*
 * batch.c - applying entries.
 *
 * A batch is one transaction: its entries' changes and the state, whose applied index says how far
 * it got. Either all of it is in the database or none of it; after a crash the rest comes out of
 * the Raft log again. The state and the sessions in memory are copies that are thrown away if the
 * transaction fails; the state is published once it is visible to queries.
 *
 * To commit a transaction costs several times what a small change itself does, and a client that
 * makes one change after the other pays on every node for each. So a lone entry may be applied and
 * *saved* later: the transaction is left open, and what the entry has touched is shown by the cache
 * (cache.h). Saving is the commit. It comes with the next batch, when there is no room for more
 * (unsaved.h), soon after the first of them (node/applier.c), or when a query needs something that
 * only SQLite can tell and that may have been touched (query.c).
 *
 *     saved_index <= applied_index     SQLite shows the former, queries the latter
 *
 * Should the transaction fail, nothing is lost that anybody has seen: its entries are kept until
 * they are saved, and the next one begins by applying them anew, which gives the same rows. That a
 * disk is full is no reason to fail: room for all that may be unsaved is made before. What reaches
 * beyond the transaction cannot be done twice, and is saved at once: a removal may make a copy for
 * those who have the inode open, and a configuration is asked for by name.
 *
 * Garbage (garbage.h) is freed by transactions of their own, between batches.
 *
 * Everything here is done under writer_lock. A batch may hold it for long, but then all that is
 * visible has been saved before, and no query needs it.
 */
#include <assert.h>
#include <errno.h>
#include <time.h>

#include "store/apply.h"
#include "store/garbage.h"
#include "store/internal.h"

enum {
    LITTLE_FILE_BYTES = 16 * 1024,
    UNSAVED_PAGES = UNSAVED_ENTRIES * 16, /* of the write-ahead log: they take no more */
    LOCK_NS = 1000 * 1000,
};

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

/* ---- The transaction ---- */

static void prepare(struct store *s)
{
    s->txn = (struct txn){.sql = &s->writer,
                          .state = s->saved,
                          .sessions = &s->sessions,
                          .orphans = s->orphans,
                          .is_open = s->options.is_open,
                          .is_open_ctx = s->options.ctx};
    s->txn_open = true;
    session_table_begin(&s->sessions, &s->writer);
}

/* What was visible already, and is not in this transaction. */
static void apply_unsaved_anew(struct store *s)
{
    struct store_result told;
    for (uint32_t i = 0; i < s->unsaved.count && s->writer.error == 0; i++)
        apply_entry(s, &s->unsaved.entries[i], &told);
}

static void open_transaction(struct store *s)
{
    if (s->txn_open)
        return;
    sql_begin(&s->writer, true);
    prepare(s);
    apply_unsaved_anew(s);
}

/* False: somebody else has SQLite's lock of writers, or there is more to do than just begin. */
static bool open_transaction_at_once(struct store *s)
{
    if (s->txn_open)
        return true;
    if (s->unsaved.count > 0 || !s->sessions.filled || !sql_begin_at_once(&s->writer))
        return false;
    prepare(s);
    return true;
}

/* Commits, or takes back what has failed. Returns the error. */
static int end_transaction(struct store *s)
{
    int error = sql_end(&s->writer);
    s->txn_open = false;
    if (error)
        session_table_drop(&s->sessions);
    return error;
}

/* In the transaction, and nothing else with it. */
static void apply_entries(struct store *s, const struct store_entry *entries, uint32_t count,
                          struct store_result *results)
{
    s->touched.count = 0;
    s->txn.touched = &s->touched;
    for (uint32_t i = 0; i < count && s->writer.error == 0; i++)
        apply_entry(s, &entries[i], &results[i]);
    s->txn.touched = NULL;
}

static int commit(struct store *s)
{
    session_table_save(&s->sessions, &s->writer);
    tree_save_state(&s->txn);
    int error = end_transaction(s);
    if (error)
        return error;
    batch_saved(s, &s->txn.state);
    if (s->txn.garbage)
        s->garbage = true;
    return 0;
}

void batch_saved(struct store *s, const struct store_state *state)
{
    s->saved = *state;
    atomic_store(&s->saved_index, state->applied_index);
    unsaved_clear(&s->unsaved);
}

int batch_save_locked(struct store *s)
{
    if (s->unsaved.count == 0)
        return 0;
    open_transaction(s);
    return commit(s);
}

/* ---- What is applied becomes visible ---- */

/* Between epochs, so that nobody sees one part of it without the other. */
static void show(struct store *s)
{
    store_publish(s, &s->txn.state);
    cache_begin_epoch(s->cache, s->touched.items, s->touched.count);
}

/* Without the lock, which whoever is told may want to have taken by a query. */
static void tell(struct store *s)
{
    if (s->touched.count && s->options.touched)
        s->options.touched(s->options.ctx, s->touched.items, s->touched.count);
}

/* ---- A batch ---- */

static int apply_batch(struct store *s, const struct store_entry *entries, uint32_t count,
                       struct store_result *results)
{
    open_transaction(s);
    apply_entries(s, entries, count, results);
    cache_end_epoch(s->cache);
    int error = commit(s);
    if (error)
        cache_begin_epoch(s->cache, NULL, 0);
    else
        show(s);
    return error;
}

int store_apply(struct store *s, const struct store_entry *entries, uint32_t count,
                struct store_result *results)
{
    pthread_mutex_lock(&s->writer_lock);
    int error = batch_save_locked(s); /* so that no query has to wait for what follows */
    if (error == 0)
        error = apply_batch(s, entries, count, results);
    pthread_mutex_unlock(&s->writer_lock);
    if (error)
        return error;
    tell(s);
    /* Nothing is unsaved: this is for a checkpoint that is due, and for room for what comes. */
    (void)store_save(s);
    return 0;
}

/* ---- A lone entry ---- */

/*
 * Whether it is little work, and likely to read nothing from the disk: to cut a large file means to
 * read the hashes of all its rows. Of a name that is made nothing is known, but it is hardly ever
 * there.
 */
static bool is_little(struct store *s, const struct command *c)
{
    struct store_attr attr;
    uint64_t epoch = cache_epoch(s->cache);
    if (c->data_bytes && c->offset > LITTLE_FILE_BYTES)
        return false; /* the row is filled up to there */
    switch (c->op) {
    case COMMAND_WRITE:
    case COMMAND_SETATTR:
        return cache_find(s->cache, epoch, c->ino, &attr) && attr.size_bytes <= LITTLE_FILE_BYTES;
    case COMMAND_CREATE:
        return !cache_find_name(s->cache, epoch, c->parent, c->name, c->name_bytes, &attr) ||
               attr.size_bytes <= LITTLE_FILE_BYTES;
    case COMMAND_MKDIR:
    case COMMAND_SYMLINK:
    case COMMAND_SESSION:
        return true;
    case COMMAND_UNLINK:
    case COMMAND_RMDIR:
    case COMMAND_RENAME:
        break;
    }
    return false;
}

static bool may_be_saved_later(struct store *s, const struct store_entry *entry)
{
    struct command command;
    return entry->kind != STORE_ENTRY_CONFIG && unsaved_has_room(&s->unsaved, entry) &&
           checkpoint_has_room(s->checkpoint, s->wal_pages + UNSAVED_PAGES) &&
           (!decode(s, entry, &command) || is_little(s, &command));
}

static int apply_unsaved(struct store *s, const struct store_entry *entry,
                         struct store_result *result)
{
    if (!may_be_saved_later(s, entry) || !open_transaction_at_once(s))
        return -EAGAIN;
    apply_entries(s, entry, 1, result);
    if (s->writer.error)
        return end_transaction(s);
    unsaved_add(&s->unsaved, entry, s->touched.items, s->touched.count);
    cache_end_epoch(s->cache);
    show(s);
    return 0;
}

int store_apply_unsaved(struct store *s, const struct store_entry *entry,
                        struct store_result *result)
{
    if (pthread_mutex_trylock(&s->writer_lock) != 0)
        return -EAGAIN;
    int error = apply_unsaved(s, entry, result);
    pthread_mutex_unlock(&s->writer_lock);
    if (error == 0)
        tell(s);
    return error;
}

/* ---- Saving ---- */

bool store_is_saved(const struct store *s)
{
    uint64_t applied = atomic_load(&s->applied_index);
    return atomic_load(&s->saved_index) >= applied;
}

/* False: somebody else has had it for a moment. */
static bool lock_soon(struct store *s)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += LOCK_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return pthread_mutex_timedlock(&s->writer_lock, &until) == 0;
}

/* Whoever has the lock may have saved it, and go on with a batch that nobody here need wait for. */
int batch_save(struct store *s)
{
    while (!store_is_saved(s)) {
        if (!lock_soon(s))
            continue;
        int error = batch_save_locked(s);
        pthread_mutex_unlock(&s->writer_lock);
        return error;
    }
    return 0;
}

/* Under the lock, no transaction is open: a checkpoint may want SQLite's lock of writers. */
static void look_after_log(struct store *s, bool saved)
{
    if (saved)
        checkpoint_grown(s->checkpoint, s->wal_pages);
    checkpoint_make_room(s->checkpoint, s->wal_pages + UNSAVED_PAGES);
}

int store_save(struct store *s)
{
    orphans_settle(s->orphans, s->options.is_open, s->options.ctx);
    pthread_mutex_lock(&s->writer_lock);
    int error = batch_save_locked(s);
    look_after_log(s, error == 0);
    pthread_mutex_unlock(&s->writer_lock);
    return error;
}

/* ---- Garbage ---- */

bool store_has_garbage(const struct store *s)
{
    return atomic_load(&s->garbage);
}

/* In a transaction of its own, which leaves the state as it is: what is unsaved comes before. */
static int reclaim(struct store *s)
{
    int error = batch_save_locked(s);
    if (error)
        return error;
    sql_begin(&s->writer, true);
    bool more = garbage_free_some(&s->writer);
    error = sql_end(&s->writer);
    if (error == 0)
        s->garbage = more;
    return error;
}

int store_reclaim(struct store *s)
{
    pthread_mutex_lock(&s->writer_lock);
    int error = reclaim(s);
    look_after_log(s, error == 0);
    pthread_mutex_unlock(&s->writer_lock);
    return error;
}
