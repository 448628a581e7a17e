/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/tree.h"

#ifdef __SANITIZE_THREAD__
/*
 * What SQLite allocates for a chunk is just so large that TSan maps its shadow anew, each time,
 * which takes far longer than to clear it.
 */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "clear_shadow_mmap_threshold=1048576";
}
#endif

enum { SAVE_EVERY = 23 };

char top[64];
struct store *store;
struct store_result result;
uint64_t open_ino;
struct command_caller root_user = {0}, alice = {.uid = 1000, .gid = 1000},
                      bob = {.uid = 1001, .gid = 1001};

static uint64_t next_seq, next_ino;

static bool is_open(void *ctx, uint64_t ino)
{
    (void)ctx;
    return ino == open_ino;
}

void harness_open_options(struct store_options *options, const char *dir, bool create)
{
    *options = (struct store_options){
        .dir = dir, .incarnation = INCARNATION, .create = create, .is_open = is_open};
}

static void open_store(bool create)
{
    struct store_options options;
    char why[STORE_WHY_BYTES] = "";
    harness_open_options(&options, top, create);
    if (store_open(&options, &store, why) != 0)
        fail_msg("%s", why);
}

void harness_reopen(void)
{
    store_close(store);
    open_store(false);
}

int harness_setup(void **state)
{
    (void)state;
    snprintf(top, sizeof(top), "/tmp/raftfs-store-XXXXXX");
    if (!mkdtemp(top))
        return -1;
    next_seq = 1;
    next_ino = 1;
    open_ino = 0;
    open_store(true);
    struct command c = {.op = COMMAND_SESSION, .incarnation = 5, .boot = 1};
    return apply_as_is(&c) == 0 && result.session == 1 ? 0 : -1;
}

void harness_remove_top(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", top);
    if (system(command) != 0)
        fail_msg("%s stays behind", top);
}

int harness_teardown(void **state)
{
    (void)state;
    store_close(store);
    harness_remove_top();
    return 0;
}

/* As the node does with a lone entry, or with one by itself in a batch. */
static int apply_entry(const struct store_entry *entry)
{
    if (getenv("RAFTFS_TEST_UNSAVED") && store_apply_unsaved(store, entry, &result) == 0)
        return 0;
    return store_apply(store, entry, 1, &result);
}

int apply_bytes(const void *data, uint32_t bytes, enum store_entry_kind kind)
{
    struct store_entry entry = {.index = store_applied_index(store) + 1,
                                .term = 1,
                                .kind = kind,
                                .data = data,
                                .bytes = bytes};
    int error = apply_entry(&entry);
    return error ? error : result.status;
}

int apply_as_is(const struct command *c)
{
    struct buf *b = command_encode(c);
    assert_non_null(b);
    int status = apply_bytes(b->data, b->bytes, STORE_ENTRY_COMMAND);
    buf_unref(b);
    return status;
}

int apply(struct command c)
{
    c.session = 1;
    c.seq = next_seq++;
    c.lowest_awaited = c.seq;
    c.time_ns = 1000000 * c.seq;
    if (c.op == COMMAND_CREATE || c.op == COMMAND_MKDIR || c.op == COMMAND_SYMLINK)
        c.ino = ((uint64_t)1 << 32) | next_ino++;
    int status = apply_as_is(&c);
    if (store_is_saved(store) || c.seq % SAVE_EVERY == 0)
        check_fingerprint();
    return status;
}

static struct command named(enum command_op op, uint64_t parent, const char *name,
                            struct command_caller who)
{
    return (struct command){.op = op,
                            .parent = parent,
                            .name = name,
                            .name_bytes = (uint8_t)strlen(name),
                            .caller = who};
}

int do_create(uint64_t parent, const char *name, struct command_caller who, unsigned mode)
{
    struct command c = named(COMMAND_CREATE, parent, name, who);
    c.mode = mode;
    return apply(c);
}

int do_put(uint64_t parent, const char *name, const char *value)
{
    struct command c = named(COMMAND_CREATE, parent, name, root_user);
    c.mode = 0644;
    c.flags = COMMAND_WITH_DATA | COMMAND_TRUNCATE;
    c.data = value;
    c.data_bytes = (uint32_t)strlen(value);
    return apply(c);
}

int do_mkdir(uint64_t parent, const char *name, struct command_caller who, unsigned mode)
{
    struct command c = named(COMMAND_MKDIR, parent, name, who);
    c.mode = mode;
    return apply(c);
}

int do_write(uint64_t ino, uint64_t offset, const void *data, size_t bytes, unsigned flags)
{
    return apply((struct command){.op = COMMAND_WRITE,
                                  .ino = ino,
                                  .offset = offset,
                                  .data = data,
                                  .data_bytes = (uint32_t)bytes,
                                  .flags = (uint16_t)flags});
}

int do_unlink(uint64_t parent, const char *name, struct command_caller who)
{
    return apply(named(COMMAND_UNLINK, parent, name, who));
}

int do_rmdir(uint64_t parent, const char *name, struct command_caller who)
{
    return apply(named(COMMAND_RMDIR, parent, name, who));
}

int do_rename(uint64_t parent, const char *name, uint64_t new_parent, const char *new_name,
              unsigned flags, struct command_caller who)
{
    struct command c = named(COMMAND_RENAME, parent, name, who);
    c.new_parent = new_parent;
    c.new_name = new_name;
    c.new_name_bytes = (uint8_t)strlen(new_name);
    c.flags = (uint16_t)flags;
    return apply(c);
}

uint64_t ino_of(uint64_t parent, const char *name)
{
    struct store_attr attr;
    return store_lookup(store, parent, name, strlen(name), &attr) == 0 ? attr.ino : 0;
}

struct store_attr attr_of(uint64_t ino)
{
    struct store_attr attr = {0};
    assert_int_equal(store_getattr(store, ino, &attr), 0);
    return attr;
}

const char *content_of(uint64_t ino)
{
    static char text[4096];
    struct store_attr attr;
    size_t got = 0;
    assert_int_equal(store_read(store, ino, 0, sizeof(text) - 1, text, &got, &attr), 0);
    text[got] = '\0';
    return text;
}

uint64_t fingerprint(void)
{
    struct store_totals totals;
    store_totals(store, &totals);
    return totals.fingerprint;
}

/* ---- The fingerprint, from the tables ---- */

struct table {
    const char *query;
    enum tree_row kind;
    int fields;
    int tail; /* column of the variable part, -1 if there is none */
};

/* Columns in the order in which they are hashed. */
static const struct table tables[] = {
    {"SELECT ino,mode,uid,gid,nlink,size,atime,mtime,ctime,version,dotdot FROM inode",
     TREE_ROW_INODE, 11, -1},
    {"SELECT parent,ino,cookie,name FROM dentry", TREE_ROW_DENTRY, 3, 3},
    {"SELECT ino,n,data FROM chunk", TREE_ROW_CHUNK, 2, 2},
    {"SELECT id,incarnation,boot,lowest FROM session", TREE_ROW_SESSION, 4, -1},
    {"SELECT session,seq,status,ino,data_offset FROM result", TREE_ROW_RESULT, 5, -1},
};

static uint64_t hash_table(struct sql *sql, const struct table *table)
{
    sqlite3_stmt *s = NULL;
    uint64_t sum = 0;
    assert_int_equal(sqlite3_prepare_v2(sql->db, table->query, -1, &s, NULL), SQLITE_OK);
    while (sqlite3_step(s) == SQLITE_ROW) {
        uint64_t fields[12];
        for (int i = 0; i < table->fields; i++)
            fields[i] = sql_u64(s, i);
        const void *tail = table->tail < 0 ? NULL : sqlite3_column_blob(s, table->tail);
        size_t bytes = table->tail < 0 ? 0 : (size_t)sqlite3_column_bytes(s, table->tail);
        sum += tree_row_hash(table->kind, fields, (size_t)table->fields, tail, bytes);
    }
    sqlite3_finalize(s);
    return sum;
}

void check_fingerprint(void)
{
    char path[128];
    struct sql sql;
    uint64_t sum = 0;
    assert_int_equal(store_save(store), 0);
    snprintf(path, sizeof(path), "%s/store.db", top);
    assert_int_equal(sql_open(&sql, path, SQLITE_OPEN_READONLY), 0);
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
        sum += hash_table(&sql, &tables[i]);
    sql_close(&sql);
    assert_int_equal(sum, fingerprint());
}
