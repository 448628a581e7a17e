/* SPDX-License-Identifier: MIT */
/*
 * command.h - what is replicated: one change of the tree, as bytes.
 *
 * A command carries everything that applying it may depend on (caller's credentials, time, new
 * inode number, session and sequence number), so that every replica computes the same result from
 * the same log. Layout, little-endian:
 *
 *     u8 version  u8 op  u16 flags  u64 time_ns  u64 session  u64 seq  u64 lowest_awaited
 *     (the header, COMMAND_HEADER_BYTES, whose last fields are filled in late; then by op:)
 *     u32 uid  u32 gid  u16 group_count  u32 groups[]   and the op's own fields
 *
 * Three parties fill the header in: who builds the command (op, flags), the node's session
 * (command_seal) and the leader when it appends (command_stamp). Pure; any thread.
 */
#ifndef RAFTFS_STORE_COMMAND_H
#define RAFTFS_STORE_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum {
    COMMAND_VERSION = 1,
    COMMAND_HEADER_BYTES = 36,
    COMMAND_NAME_BYTES = 255,
    COMMAND_TARGET_BYTES = 4095,  /* of a symlink */
    COMMAND_DATA_BYTES = 1048576, /* of one write */
    COMMAND_MAX_GROUPS = 1024,
    COMMAND_MAX_BYTES = 1100 * 1024,
};

enum command_op {
    COMMAND_SESSION = 1, /* opens (incarnation, boot); ends the sessions of its earlier boots */
    COMMAND_CREATE,      /* a regular file; with COMMAND_WITH_DATA also its first write */
    COMMAND_MKDIR,
    COMMAND_SYMLINK,
    COMMAND_WRITE,
    COMMAND_SETATTR, /* chmod, chown, utimens, truncate */
    COMMAND_UNLINK,
    COMMAND_RMDIR,
    COMMAND_RENAME,
};

enum command_flags {
    COMMAND_EXCLUSIVE = 1 << 0,  /* CREATE: the name must be new (O_EXCL) */
    COMMAND_TRUNCATE = 1 << 1,   /* CREATE of a file that exists, WRITE: empty it first */
    COMMAND_WITH_DATA = 1 << 2,  /* CREATE: data follows */
    COMMAND_APPEND = 1 << 3,     /* CREATE, WRITE: the offset is the end when applied */
    COMMAND_KILL_SUID = 1 << 4,  /* WRITE, SETATTR(size): the caller may not keep suid/sgid */
    COMMAND_NOREPLACE = 1 << 5,  /* RENAME */
    COMMAND_EXCHANGE = 1 << 6,   /* RENAME */
    COMMAND_CHECK_WRITE = 1 << 7 /* SETATTR(size): by path, so the caller needs w */
};

enum command_set {
    COMMAND_SET_MODE = 1 << 0,
    COMMAND_SET_UID = 1 << 1,
    COMMAND_SET_GID = 1 << 2,
    COMMAND_SET_SIZE = 1 << 3,
    COMMAND_SET_ATIME = 1 << 4,
    COMMAND_SET_MTIME = 1 << 5,
    COMMAND_SET_ATIME_NOW = 1 << 6, /* the command's time_ns */
    COMMAND_SET_MTIME_NOW = 1 << 7,
};

/* Who asks; checked again when the command is applied. uid 0 may do anything. */
struct command_caller {
    uint32_t uid;
    uint32_t gid;
    uint16_t group_count;
    const uint32_t *groups; /* supplementary */
};

/* A command in memory. Only the fields that its op uses count; pointers are borrowed. */
struct command {
    enum command_op op;
    uint16_t flags;
    uint64_t time_ns;
    uint64_t session;
    uint64_t seq;
    uint64_t lowest_awaited;
    struct command_caller caller;

    uint64_t incarnation; /* SESSION */
    uint64_t boot;        /* SESSION */

    uint64_t parent;  /* CREATE MKDIR SYMLINK UNLINK RMDIR RENAME */
    const char *name; /* the same; not NUL-terminated */
    uint8_t name_bytes;
    uint64_t new_parent; /* RENAME */
    const char *new_name;
    uint8_t new_name_bytes;

    uint64_t ino;  /* WRITE SETATTR; the new inode's number in CREATE MKDIR SYMLINK */
    uint32_t mode; /* CREATE MKDIR; SETATTR */
    uint32_t set;  /* SETATTR: command_set bits */
    uint32_t uid;  /* SETATTR */
    uint32_t gid;  /* SETATTR */
    uint64_t size; /* SETATTR */
    int64_t atime_ns;
    int64_t mtime_ns;
    uint64_t if_version; /* SETATTR: do nothing (and succeed) unless the data's version is this */

    uint64_t offset;  /* WRITE; CREATE with data */
    const void *data; /* WRITE; CREATE with data; the target of SYMLINK */
    uint32_t data_bytes;
};

/* The command as a new buffer; NULL if a field is over its limit. */
struct buf *command_encode(const struct command *command);

/*
 * False if the bytes are not exactly one valid command. Pointers then point into `data`; group ids
 * are unaligned there and are copied to `groups`.
 */
bool command_decode(struct command *command, uint32_t groups[COMMAND_MAX_GROUPS], const void *data,
                    size_t bytes);

/* Fills session, seq and lowest_awaited in; before the buffer is shared. */
void command_seal(struct buf *command, uint64_t session, uint64_t seq, uint64_t lowest_awaited);

/* It removes something, or opens the session that a removal needs. */
bool command_frees_space(const struct buf *command);

/*
 * Stamps the leader's clock; false if the buffer is too short to be a command (a peer's bad input).
 * Done once, by the leader, before the entry is appended. The store makes stamps strictly
 * increasing when it applies them.
 */
bool command_stamp(struct buf *command, uint64_t time_ns);

#endif
