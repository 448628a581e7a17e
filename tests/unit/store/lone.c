/* SPDX-License-Identifier: MIT */
#include "lone.h"

#include <stdio.h>

#include "store/internal.h"

#define ROOT STORE_ROOT_INO

uint64_t lone_seq;

struct command put_of(const char *name, const char *value)
{
    return (struct command){.op = COMMAND_CREATE,
                            .flags = COMMAND_WITH_DATA | COMMAND_TRUNCATE,
                            .parent = ROOT,
                            .name = name,
                            .mode = 0644,
                            .data = value,
                            .data_bytes = (uint32_t)strlen(value)};
}

struct command mkdir_of(const char *name)
{
    return (struct command){.op = COMMAND_MKDIR, .parent = ROOT, .name = name, .mode = 0755};
}

struct command removal_of(enum command_op op, const char *name)
{
    return (struct command){.op = op, .parent = ROOT, .name = name};
}

struct command write_of(uint64_t ino, uint64_t offset, const char *data)
{
    return (struct command){.op = COMMAND_WRITE,
                            .ino = ino,
                            .offset = offset,
                            .data = data,
                            .data_bytes = (uint32_t)strlen(data)};
}

struct buf *encode(struct command c)
{
    c.session = 1;
    c.seq = c.lowest_awaited = ++lone_seq;
    c.time_ns = 1000000 * c.seq;
    c.name_bytes = c.name ? (uint8_t)strlen(c.name) : 0;
    c.new_name_bytes = c.new_name ? (uint8_t)strlen(c.new_name) : 0;
    if (c.op == COMMAND_CREATE || c.op == COMMAND_MKDIR)
        c.ino = ((uint64_t)1 << 32) | lone_seq;
    return command_encode(&c);
}

struct store_entry next_entry(enum store_entry_kind kind, const void *data, uint32_t bytes)
{
    return (struct store_entry){.index = store_applied_index(store) + 1,
                                .term = 1,
                                .kind = kind,
                                .data = data,
                                .bytes = bytes};
}

int apply_saved(struct store *s, const struct store_entry *entry, struct store_result *r)
{
    return store_apply(s, entry, 1, r);
}

int apply_by(apply_fn *apply_entry, struct command c)
{
    struct buf *b = encode(c);
    assert_non_null(b);
    struct store_entry entry = next_entry(STORE_ENTRY_COMMAND, b->data, b->bytes);
    int error = apply_entry(store, &entry, &result);
    buf_unref(b); /* nothing of it is needed any more */
    return error;
}

int unsaved(struct command c)
{
    return apply_by(store_apply_unsaved, c);
}

uint64_t put_unsaved(const char *name, const char *value)
{
    assert_int_equal(unsaved(put_of(name, value)), 0);
    assert_int_equal(result.status, 0);
    assert_int_equal(result.seq, lone_seq);
    return result.attr.ino;
}

uint64_t put_saved(const char *name, const char *value)
{
    assert_int_equal(apply_by(apply_saved, put_of(name, value)), 0);
    assert_int_equal(result.status, 0);
    return result.attr.ino;
}

uint64_t index_on_disk(void)
{
    char path[128];
    struct sql sql;
    struct store_state state;
    snprintf(path, sizeof(path), "%s/store.db", top);
    assert_int_equal(sql_open(&sql, path, SQLITE_OPEN_READONLY), 0);
    sql_begin(&sql, false);
    tree_load_state(&sql, &state);
    assert_int_equal(sql_end(&sql), 0);
    sql_close(&sql);
    return state.applied_index;
}
