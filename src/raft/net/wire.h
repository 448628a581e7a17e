/* SPDX-License-Identifier: MIT */
/*
 * wire.h - the bytes between two nodes. Pure; any thread.
 *
 * A connection carries frames, little-endian:
 *
 *     u32 length of the body   u32 CRC-32C of type and body   u8 type   body
 *
 * Its first frame is a HELLO, answered with WELCOME, REFUSED or REMOVED; a JOIN, answered with
 * JOIN_REPLY; or an INVITE, answered with the JOIN of whoever is there, or REFUSED. After a WELCOME
 * the dialler sends MESSAGE, FORWARD, CHANGE, SNAPSHOT_ASK and the answers to these, and the
 * acceptor nothing more: its answers go over the connections that it dialled itself.
 *
 * HELLO, JOIN and INVITE start with WIRE_MAGIC and the protocol version, and these fields will keep
 * their place, so that every version can tell every other what it is.
 *
 * Decoders believe nothing: they return false unless the body is exactly one valid thing within its
 * limits. Who sent a message, and to whom, is known from the connection and is not in the frame.
 */
#ifndef RAFTFS_RAFT_NET_WIRE_H
#define RAFTFS_RAFT_NET_WIRE_H

#include "raft/net/net.h"

#define WIRE_MAGIC 0x0a73667466617200u /* "\0raftfs\n" in a dump, and not a line of text */

enum {
    WIRE_HEADER_BYTES = 9,
    WIRE_MAX_GREETING_BYTES = 1024, /* of any frame before a connection is accepted */
    WIRE_MAX_HEAD_BYTES = 64 + 13 * RAFT_MAX_APPEND_ENTRIES, /* a frame without its payloads */
    WIRE_MAX_BODY_BYTES = WIRE_MAX_HEAD_BYTES + RAFT_MAX_APPEND_BYTES,
};

enum wire_type {
    WIRE_HELLO = 1,
    WIRE_WELCOME,
    WIRE_REFUSED, /* a line of text says why */
    WIRE_JOIN,
    WIRE_JOIN_REPLY,
    WIRE_MESSAGE,
    WIRE_FORWARD,
    WIRE_FORWARD_REPLY,
    WIRE_CHANGE,
    WIRE_CHANGE_REPLY,
    WIRE_REMOVED, /* in answer to a HELLO: its sender is no member any more */
    WIRE_INVITE,
    WIRE_SNAPSHOT_ASK,
    WIRE_SNAPSHOT_PIECE,
};

enum wire_lane { WIRE_CONTROL = 0, WIRE_BULK, WIRE_LANES };

struct wire_hello {
    uint16_t version;
    uint64_t cluster;
    raft_id from;
    char name[RAFT_NAME_BYTES];
    char address[RAFT_ADDRESS_BYTES];
    raft_id expected; /* who is believed to be at the other end */
    char expected_name[RAFT_NAME_BYTES];
    enum wire_lane lane;
    uint64_t
        config_index; /* of the newest configuration that has the sender as a member; 0: none */
};

struct wire_forward {
    uint64_t seq;
    uint32_t count;
    enum raft_net_forward_status status; /* of a reply */
};

/* ---- Frames ---- */

struct wire_header {
    uint32_t body_bytes;
    uint32_t crc;
    uint8_t type;
};

void wire_read_header(const uint8_t raw[WIRE_HEADER_BYTES], struct wire_header *header);
bool wire_check(const struct wire_header *header, const uint8_t *body);

/*
 * The frame's head as a new buffer: header and `body`. Payloads that are sent behind it count in
 * its length and checksum.
 */
struct buf *wire_frame(enum wire_type type, const void *body, size_t body_bytes,
                       struct buf *const *payloads, uint32_t count);

/* ---- Bodies: encoders return the bytes written, which always fit ---- */

size_t wire_put_hello(uint8_t out[WIRE_MAX_GREETING_BYTES], const struct wire_hello *hello);
/* False for what is no hello. Of another version only `version` is filled in. */
bool wire_get_hello(struct wire_hello *hello, const uint8_t *body, size_t bytes);

size_t wire_put_join(uint8_t out[WIRE_MAX_GREETING_BYTES], const struct raft_net_join *join);
bool wire_get_join(struct raft_net_join *join, uint16_t *version, const uint8_t *body,
                   size_t bytes);

size_t wire_put_invitation(uint8_t out[WIRE_MAX_GREETING_BYTES],
                           const struct raft_net_invitation *invitation);
bool wire_get_invitation(struct raft_net_invitation *invitation, uint16_t *version,
                         const uint8_t *body, size_t bytes);

size_t wire_put_join_reply(uint8_t out[WIRE_MAX_GREETING_BYTES],
                           const struct raft_net_join_reply *reply);
bool wire_get_join_reply(struct raft_net_join_reply *reply, const uint8_t *body, size_t bytes);

/* Without the payloads, whose sizes and terms are taken from `entries`. */
size_t wire_put_message(uint8_t out[WIRE_MAX_HEAD_BYTES], const struct raft_msg *msg,
                        const struct raft_entry *entries);
/*
 * msg->append.entries is `metas`; payloads[i] becomes a new buffer, NULL for a no-op. Nothing is
 * left allocated when it returns false.
 */
bool wire_get_message(struct raft_msg *msg, struct raft_entry_meta metas[RAFT_MAX_APPEND_ENTRIES],
                      struct buf *payloads[RAFT_MAX_APPEND_ENTRIES], const uint8_t *body,
                      size_t bytes);

size_t wire_put_forward(uint8_t out[WIRE_MAX_HEAD_BYTES], uint64_t seq, struct buf *const *payloads,
                        uint32_t count);
bool wire_get_forward(struct wire_forward *forward, struct buf *payloads[RAFT_MAX_PROPOSE],
                      const uint8_t *body, size_t bytes);

size_t wire_put_forward_reply(uint8_t out[WIRE_MAX_HEAD_BYTES], const struct wire_forward *reply);
bool wire_get_forward_reply(struct wire_forward *reply, const uint8_t *body, size_t bytes);

size_t wire_put_change(uint8_t out[WIRE_MAX_GREETING_BYTES], const struct raft_net_change *change);
bool wire_get_change(struct raft_net_change *change, const uint8_t *body, size_t bytes);

size_t wire_put_change_reply(uint8_t out[WIRE_MAX_GREETING_BYTES], uint64_t seq,
                             enum raft_refusal refusal);
bool wire_get_change_reply(uint64_t *seq, enum raft_refusal *refusal, const uint8_t *body,
                           size_t bytes);

size_t wire_put_snapshot_ask(uint8_t out[WIRE_MAX_GREETING_BYTES],
                             const struct raft_net_snapshot_ask *ask);
bool wire_get_snapshot_ask(struct raft_net_snapshot_ask *ask, const uint8_t *body, size_t bytes);

/* Without the data, which follows. */
size_t wire_put_snapshot_piece(uint8_t out[WIRE_MAX_GREETING_BYTES],
                               const struct raft_net_snapshot_piece *piece);
/* *data becomes a new buffer, NULL if there are no bytes. */
bool wire_get_snapshot_piece(struct raft_net_snapshot_piece *piece, struct buf **data,
                             const uint8_t *body, size_t bytes);

#endif
