/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a command. Behind the header come the caller's credentials and then the op's own
 * fields, in this order:
 *
 *     SESSION   u64 incarnation  u64 boot
 *     CREATE    u64 parent  name  u64 ino  u32 mode  u64 offset  data
 *     MKDIR     u64 parent  name  u64 ino  u32 mode
 *     SYMLINK   u64 parent  name  u64 ino  data (the target)
 *     WRITE     u64 ino  u64 offset  data
 *     SETATTR   u64 ino  u32 set  u32 mode  u32 uid  u32 gid  u64 size  i64 atime_ns  i64 mtime_ns
 *               u64 if_version
 *     UNLINK    u64 parent  name
 *     RMDIR     u64 parent  name
 *     RENAME    u64 parent  name  u64 new_parent  new_name
 *
 * A name is u8 length and its bytes, data u32 length and its bytes. Decoding accepts exactly what
 * encoding makes: a trailing byte, an unknown flag or a name with a slash in it is no command.
 */
#include "store/command.h"

#include <string.h>

#include "base/bytes.h"

enum {
    AT_OP = 1,
    AT_TIME = 4,
    AT_SESSION = 12,
    AT_SEQ = 20,
    AT_LOWEST_AWAITED = 28,
    KNOWN_FLAGS = (COMMAND_CHECK_WRITE << 1) - 1,
    KNOWN_SET = (COMMAND_SET_MTIME_NOW << 1) - 1,
};

static bool name_is_valid(const char *name, size_t bytes)
{
    if (bytes == 0 || bytes > COMMAND_NAME_BYTES)
        return false;
    if (memchr(name, '/', bytes) || memchr(name, 0, bytes))
        return false;
    return !(name[0] == '.' && (bytes == 1 || (bytes == 2 && name[1] == '.')));
}

static void put_name(struct bytes_writer *w, const char *name, uint8_t bytes)
{
    if (!name_is_valid(name, bytes))
        w->bad = true;
    bytes_put_u8(w, bytes);
    bytes_put(w, name, bytes);
}

static void get_name(struct bytes_reader *r, const char **name, uint8_t *bytes)
{
    *bytes = bytes_get_u8(r);
    *name = (const char *)bytes_take(r, *bytes);
    if (*name && !name_is_valid(*name, *bytes))
        r->bad = true;
}

static void put_data(struct bytes_writer *w, const void *data, uint32_t bytes, uint32_t most)
{
    if (bytes > most)
        w->bad = true;
    bytes_put_u32(w, bytes);
    bytes_put(w, data, bytes);
}

static void get_data(struct bytes_reader *r, const void **data, uint32_t *bytes, uint32_t most)
{
    *bytes = bytes_get_u32(r);
    if (*bytes > most)
        r->bad = true;
    *data = bytes_take(r, *bytes);
}

static void put_caller(struct bytes_writer *w, const struct command_caller *caller)
{
    if (caller->group_count > COMMAND_MAX_GROUPS)
        w->bad = true;
    bytes_put_u32(w, caller->uid);
    bytes_put_u32(w, caller->gid);
    bytes_put_u16(w, caller->group_count);
    for (uint16_t i = 0; i < caller->group_count; i++)
        bytes_put_u32(w, caller->groups[i]);
}

static void get_caller(struct bytes_reader *r, struct command_caller *caller,
                       uint32_t groups[COMMAND_MAX_GROUPS])
{
    caller->uid = bytes_get_u32(r);
    caller->gid = bytes_get_u32(r);
    caller->group_count = bytes_get_u16(r);
    caller->groups = groups;
    if (caller->group_count > COMMAND_MAX_GROUPS) {
        r->bad = true;
        caller->group_count = 0;
    }
    for (uint16_t i = 0; i < caller->group_count; i++)
        groups[i] = bytes_get_u32(r);
}

static void put_setattr(struct bytes_writer *w, const struct command *c)
{
    bytes_put_u64(w, c->ino);
    bytes_put_u32(w, c->set);
    bytes_put_u32(w, c->mode);
    bytes_put_u32(w, c->uid);
    bytes_put_u32(w, c->gid);
    bytes_put_u64(w, c->size);
    bytes_put_u64(w, (uint64_t)c->atime_ns);
    bytes_put_u64(w, (uint64_t)c->mtime_ns);
    bytes_put_u64(w, c->if_version);
}

static void get_setattr(struct bytes_reader *r, struct command *c)
{
    c->ino = bytes_get_u64(r);
    c->set = bytes_get_u32(r);
    c->mode = bytes_get_u32(r);
    c->uid = bytes_get_u32(r);
    c->gid = bytes_get_u32(r);
    c->size = bytes_get_u64(r);
    c->atime_ns = (int64_t)bytes_get_u64(r);
    c->mtime_ns = (int64_t)bytes_get_u64(r);
    c->if_version = bytes_get_u64(r);
    if (c->set & ~(uint32_t)KNOWN_SET)
        r->bad = true;
}

static void put_op(struct bytes_writer *w, const struct command *c)
{
    switch (c->op) {
    case COMMAND_SESSION:
        bytes_put_u64(w, c->incarnation);
        bytes_put_u64(w, c->boot);
        return;
    case COMMAND_WRITE:
        bytes_put_u64(w, c->ino);
        bytes_put_u64(w, c->offset);
        put_data(w, c->data, c->data_bytes, COMMAND_DATA_BYTES);
        return;
    case COMMAND_SETATTR:
        put_setattr(w, c);
        return;
    case COMMAND_CREATE:
    case COMMAND_MKDIR:
    case COMMAND_SYMLINK:
    case COMMAND_UNLINK:
    case COMMAND_RMDIR:
    case COMMAND_RENAME:
        break;
    default:
        w->bad = true;
        return;
    }
    bytes_put_u64(w, c->parent);
    put_name(w, c->name, c->name_bytes);
    if (c->op == COMMAND_RENAME) {
        bytes_put_u64(w, c->new_parent);
        put_name(w, c->new_name, c->new_name_bytes);
    }
    if (c->op == COMMAND_CREATE || c->op == COMMAND_MKDIR || c->op == COMMAND_SYMLINK)
        bytes_put_u64(w, c->ino);
    if (c->op == COMMAND_CREATE || c->op == COMMAND_MKDIR)
        bytes_put_u32(w, c->mode);
    if (c->op == COMMAND_CREATE) {
        bytes_put_u64(w, c->offset);
        put_data(w, c->data, c->data_bytes, COMMAND_DATA_BYTES);
    }
    if (c->op == COMMAND_SYMLINK)
        put_data(w, c->data, c->data_bytes, COMMAND_TARGET_BYTES);
}

static void get_op(struct bytes_reader *r, struct command *c)
{
    switch (c->op) {
    case COMMAND_SESSION:
        c->incarnation = bytes_get_u64(r);
        c->boot = bytes_get_u64(r);
        return;
    case COMMAND_WRITE:
        c->ino = bytes_get_u64(r);
        c->offset = bytes_get_u64(r);
        get_data(r, &c->data, &c->data_bytes, COMMAND_DATA_BYTES);
        return;
    case COMMAND_SETATTR:
        get_setattr(r, c);
        return;
    case COMMAND_CREATE:
    case COMMAND_MKDIR:
    case COMMAND_SYMLINK:
    case COMMAND_UNLINK:
    case COMMAND_RMDIR:
    case COMMAND_RENAME:
        break;
    default:
        r->bad = true;
        return;
    }
    c->parent = bytes_get_u64(r);
    get_name(r, &c->name, &c->name_bytes);
    if (c->op == COMMAND_RENAME) {
        c->new_parent = bytes_get_u64(r);
        get_name(r, &c->new_name, &c->new_name_bytes);
    }
    if (c->op == COMMAND_CREATE || c->op == COMMAND_MKDIR || c->op == COMMAND_SYMLINK)
        c->ino = bytes_get_u64(r);
    if (c->op == COMMAND_CREATE || c->op == COMMAND_MKDIR)
        c->mode = bytes_get_u32(r);
    if (c->op == COMMAND_CREATE) {
        c->offset = bytes_get_u64(r);
        get_data(r, &c->data, &c->data_bytes, COMMAND_DATA_BYTES);
    }
    if (c->op == COMMAND_SYMLINK) {
        get_data(r, &c->data, &c->data_bytes, COMMAND_TARGET_BYTES);
        if (c->data && (c->data_bytes == 0 || memchr(c->data, 0, c->data_bytes)))
            r->bad = true;
    }
}

struct buf *command_encode(const struct command *c)
{
    size_t most = COMMAND_HEADER_BYTES + 128 + 4u * c->caller.group_count + c->name_bytes +
                  c->new_name_bytes + c->data_bytes;
    if (most > COMMAND_MAX_BYTES)
        return NULL;
    struct buf *b = buf_new((uint32_t)most);
    struct bytes_writer w = bytes_writer(b->data, most);
    bytes_put_u8(&w, COMMAND_VERSION);
    bytes_put_u8(&w, (uint8_t)c->op);
    bytes_put_u16(&w, c->flags);
    bytes_put_u64(&w, c->time_ns);
    bytes_put_u64(&w, c->session);
    bytes_put_u64(&w, c->seq);
    bytes_put_u64(&w, c->lowest_awaited);
    put_caller(&w, &c->caller);
    put_op(&w, c);
    if (w.bad) {
        buf_unref(b);
        return NULL;
    }
    b->bytes = (uint32_t)bytes_written(&w);
    return b;
}

bool command_decode(struct command *c, uint32_t groups[COMMAND_MAX_GROUPS], const void *data,
                    size_t bytes)
{
    struct bytes_reader r = bytes_reader(data, bytes);
    *c = (struct command){0};
    if (bytes > COMMAND_MAX_BYTES || bytes_get_u8(&r) != COMMAND_VERSION)
        return false;
    c->op = bytes_get_u8(&r);
    c->flags = bytes_get_u16(&r);
    c->time_ns = bytes_get_u64(&r);
    c->session = bytes_get_u64(&r);
    c->seq = bytes_get_u64(&r);
    c->lowest_awaited = bytes_get_u64(&r);
    get_caller(&r, &c->caller, groups);
    get_op(&r, c);
    /* They are row ids and the like, where SQLite's integers have a sign. */
    if ((c->seq | c->ino | c->parent | c->new_parent | c->session | c->offset) > INT64_MAX)
        return false;
    return !r.bad && bytes_left(&r) == 0 && (c->flags & ~(unsigned)KNOWN_FLAGS) == 0;
}

static void put_at(struct buf *b, size_t at, uint64_t v)
{
    struct bytes_writer w = bytes_writer(b->data + at, sizeof(v));
    bytes_put_u64(&w, v);
}

void command_seal(struct buf *command, uint64_t session, uint64_t seq, uint64_t lowest_awaited)
{
    put_at(command, AT_SESSION, session);
    put_at(command, AT_SEQ, seq);
    put_at(command, AT_LOWEST_AWAITED, lowest_awaited);
}

bool command_stamp(struct buf *command, uint64_t time_ns)
{
    if (command->bytes < COMMAND_HEADER_BYTES)
        return false;
    put_at(command, AT_TIME, time_ns);
    return true;
}

bool command_frees_space(const struct buf *command)
{
    uint8_t op = command->bytes > AT_OP ? command->data[AT_OP] : 0;
    return op == COMMAND_UNLINK || op == COMMAND_RMDIR || op == COMMAND_SESSION;
}
