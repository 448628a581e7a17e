/* SPDX-License-Identifier: MIT */
#include "raft/net/wire.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"

_Static_assert(RAFT_MAX_PROPOSE <= RAFT_MAX_APPEND_ENTRIES, "a forward's head fits as well");

/* ---- Frames ---- */

void wire_read_header(const uint8_t raw[WIRE_HEADER_BYTES], struct wire_header *header)
{
    struct bytes_reader r = bytes_reader(raw, WIRE_HEADER_BYTES);
    header->body_bytes = bytes_get_u32(&r);
    header->crc = bytes_get_u32(&r);
    header->type = bytes_get_u8(&r);
}

bool wire_check(const struct wire_header *header, const uint8_t *body)
{
    return crc32c(crc32c(0, &header->type, 1), body, header->body_bytes) == header->crc;
}

struct buf *wire_frame(enum wire_type type, const void *body, size_t body_bytes,
                       struct buf *const *payloads, uint32_t count)
{
    uint8_t type_byte = (uint8_t)type;
    uint32_t crc = crc32c(crc32c(0, &type_byte, 1), body, body_bytes);
    size_t all_bytes = body_bytes;
    for (uint32_t i = 0; i < count; i++) {
        if (!payloads[i])
            continue;
        crc = crc32c(crc, payloads[i]->data, payloads[i]->bytes);
        all_bytes += payloads[i]->bytes;
    }
    assert(all_bytes <= WIRE_MAX_BODY_BYTES);
    struct buf *head = buf_new((uint32_t)(WIRE_HEADER_BYTES + body_bytes));
    struct bytes_writer w = bytes_writer(head->data, head->bytes);
    bytes_put_u32(&w, (uint32_t)all_bytes);
    bytes_put_u32(&w, crc);
    bytes_put_u8(&w, type_byte);
    bytes_put(&w, body, body_bytes);
    assert(!w.bad);
    return head;
}

static size_t finish(const struct bytes_writer *w)
{
    assert(!w->bad);
    return bytes_written(w);
}

static bool is_whole(const struct bytes_reader *r)
{
    return !r->bad && bytes_left(r) == 0;
}

static bool get_bool(struct bytes_reader *r)
{
    uint8_t v = bytes_get_u8(r);
    if (v > 1)
        r->bad = true;
    return v == 1;
}

/* Whether this can be a member: the text of a peer goes into files and lines of text. */
static bool is_member(const char *name, const char *address)
{
    return raft_net_is_name(name) && raft_net_is_address(address, strlen(address));
}

/* ---- Greetings ---- */

size_t wire_put_hello(uint8_t out[WIRE_MAX_GREETING_BYTES], const struct wire_hello *h)
{
    struct bytes_writer w = bytes_writer(out, WIRE_MAX_GREETING_BYTES);
    bytes_put_u64(&w, WIRE_MAGIC);
    bytes_put_u16(&w, h->version);
    bytes_put_u64(&w, h->cluster);
    bytes_put_u64(&w, h->from);
    bytes_put_string(&w, h->name);
    bytes_put_string(&w, h->address);
    bytes_put_u64(&w, h->expected);
    bytes_put_string(&w, h->expected_name);
    bytes_put_u8(&w, (uint8_t)h->lane);
    bytes_put_u64(&w, h->config_index);
    return finish(&w);
}

bool wire_get_hello(struct wire_hello *h, const uint8_t *body, size_t bytes)
{
    struct bytes_reader r = bytes_reader(body, bytes);
    *h = (struct wire_hello){0};
    if (bytes_get_u64(&r) != WIRE_MAGIC)
        return false;
    h->version = bytes_get_u16(&r);
    if (h->version != RAFT_NET_PROTOCOL)
        return !r.bad;
    h->cluster = bytes_get_u64(&r);
    h->from = bytes_get_u64(&r);
    bytes_get_string(&r, h->name, sizeof(h->name));
    bytes_get_string(&r, h->address, sizeof(h->address));
    h->expected = bytes_get_u64(&r);
    bytes_get_string(&r, h->expected_name, sizeof(h->expected_name));
    h->lane = bytes_get_u8(&r);
    h->config_index = bytes_get_u64(&r);
    return is_whole(&r) && h->from != 0 && h->cluster != 0 && h->lane < WIRE_LANES;
}

size_t wire_put_join(uint8_t out[WIRE_MAX_GREETING_BYTES], const struct raft_net_join *join)
{
    struct bytes_writer w = bytes_writer(out, WIRE_MAX_GREETING_BYTES);
    bytes_put_u64(&w, WIRE_MAGIC);
    bytes_put_u16(&w, RAFT_NET_PROTOCOL);
    bytes_put_u64(&w, join->id);
    bytes_put_string(&w, join->name);
    bytes_put_string(&w, join->address);
    bytes_put_u8(&w, join->voter);
    bytes_put_u64(&w, join->replaces);
    return finish(&w);
}

bool wire_get_join(struct raft_net_join *join, uint16_t *version, const uint8_t *body, size_t bytes)
{
    struct bytes_reader r = bytes_reader(body, bytes);
    *join = (struct raft_net_join){0};
    if (bytes_get_u64(&r) != WIRE_MAGIC)
        return false;
    *version = bytes_get_u16(&r);
    if (*version != RAFT_NET_PROTOCOL)
        return !r.bad;
    join->id = bytes_get_u64(&r);
    bytes_get_string(&r, join->name, sizeof(join->name));
    bytes_get_string(&r, join->address, sizeof(join->address));
    join->voter = get_bool(&r);
    join->replaces = bytes_get_u64(&r);
    return is_whole(&r) && join->id != 0 && join->id != join->replaces &&
           is_member(join->name, join->address);
}

size_t wire_put_invitation(uint8_t out[WIRE_MAX_GREETING_BYTES],
                           const struct raft_net_invitation *invitation)
{
    struct bytes_writer w = bytes_writer(out, WIRE_MAX_GREETING_BYTES);
    bytes_put_u64(&w, WIRE_MAGIC);
    bytes_put_u16(&w, RAFT_NET_PROTOCOL);
    bytes_put_u64(&w, invitation->cluster);
    bytes_put_string(&w, invitation->name);
    return finish(&w);
}

bool wire_get_invitation(struct raft_net_invitation *invitation, uint16_t *version,
                         const uint8_t *body, size_t bytes)
{
    struct bytes_reader r = bytes_reader(body, bytes);
    *invitation = (struct raft_net_invitation){0};
    if (bytes_get_u64(&r) != WIRE_MAGIC)
        return false;
    *version = bytes_get_u16(&r);
    if (*version != RAFT_NET_PROTOCOL)
        return !r.bad;
    invitation->cluster = bytes_get_u64(&r);
    bytes_get_string(&r, invitation->name, sizeof(invitation->name));
    return is_whole(&r) && invitation->cluster != 0 && raft_net_is_name(invitation->name);
}

size_t wire_put_join_reply(uint8_t out[WIRE_MAX_GREETING_BYTES],
                           const struct raft_net_join_reply *reply)
{
    struct bytes_writer w = bytes_writer(out, WIRE_MAX_GREETING_BYTES);
    bytes_put_u8(&w, (uint8_t)reply->status);
    bytes_put_u64(&w, reply->cluster);
    bytes_put_string(&w, reply->leader_address);
    bytes_put_string(&w, reply->why);
    return finish(&w);
}

bool wire_get_join_reply(struct raft_net_join_reply *reply, const uint8_t *body, size_t bytes)
{
    struct bytes_reader r = bytes_reader(body, bytes);
    *reply = (struct raft_net_join_reply){.status = bytes_get_u8(&r)};
    reply->cluster = bytes_get_u64(&r);
    bytes_get_string(&r, reply->leader_address, sizeof(reply->leader_address));
    bytes_get_string(&r, reply->why, sizeof(reply->why));
    if (reply->status > RAFT_JOIN_PENDING)
        return false;
    return is_whole(&r) && (reply->status != RAFT_JOIN_OK || reply->cluster != 0);
}

/* ---- Messages of the core ---- */

static void put_append(struct bytes_writer *w, const struct raft_msg *msg,
                       const struct raft_entry *entries)
{
    bytes_put_u64(w, msg->append.prev_index);
    bytes_put_u64(w, msg->append.prev_term);
    bytes_put_u64(w, msg->append.commit);
    bytes_put_u8(w, msg->append.reserve);
    bytes_put_u32(w, msg->append.count);
    for (uint32_t i = 0; i < msg->append.count; i++) {
        bytes_put_u64(w, entries[i].term);
        bytes_put_u8(w, (uint8_t)entries[i].kind);
        bytes_put_u32(w, entries[i].payload ? entries[i].payload->bytes : 0);
    }
}

static void put_disk(struct bytes_writer *w, const struct raft_disk_state *disk)
{
    bytes_put_u8(w, disk->full);
    bytes_put_u8(w, disk->stalled);
}

static void get_disk(struct bytes_reader *r, struct raft_disk_state *disk)
{
    disk->full = get_bool(r);
    disk->stalled = get_bool(r);
}

size_t wire_put_message(uint8_t out[WIRE_MAX_HEAD_BYTES], const struct raft_msg *msg,
                        const struct raft_entry *entries)
{
    struct bytes_writer w = bytes_writer(out, WIRE_MAX_HEAD_BYTES);
    bytes_put_u8(&w, (uint8_t)msg->kind);
    bytes_put_u64(&w, msg->term);
    switch (msg->kind) {
    case RAFT_MSG_PREVOTE:
    case RAFT_MSG_VOTE:
        bytes_put_u64(&w, msg->vote.last_index);
        bytes_put_u64(&w, msg->vote.last_term);
        bytes_put_u8(&w, msg->vote.transfer);
        break;
    case RAFT_MSG_PREVOTE_REPLY:
    case RAFT_MSG_VOTE_REPLY:
        bytes_put_u64(&w, msg->vote_reply.election_term);
        bytes_put_u8(&w, msg->vote_reply.granted);
        break;
    case RAFT_MSG_APPEND:
        put_append(&w, msg, entries);
        break;
    case RAFT_MSG_APPEND_REPLY:
        bytes_put_u8(&w, msg->append_reply.ok);
        bytes_put_u64(&w, msg->append_reply.match);
        bytes_put_u64(&w, msg->append_reply.hint_index);
        bytes_put_u64(&w, msg->append_reply.hint_term);
        put_disk(&w, &msg->append_reply.disk);
        break;
    case RAFT_MSG_HEARTBEAT:
        bytes_put_u64(&w, msg->heartbeat.commit);
        bytes_put_u64(&w, msg->heartbeat.round);
        bytes_put_u32(&w, msg->heartbeat.lease_us);
        bytes_put_u32(&w, msg->heartbeat.grant_us);
        break;
    case RAFT_MSG_HEARTBEAT_REPLY:
        bytes_put_u64(&w, msg->heartbeat_reply.round);
        put_disk(&w, &msg->heartbeat_reply.disk);
        break;
    case RAFT_MSG_READ:
        bytes_put_u64(&w, msg->read.token);
        bytes_put_u8(&w, msg->read.takes_grant);
        break;
    case RAFT_MSG_READ_REPLY:
        bytes_put_u64(&w, msg->read_reply.token);
        bytes_put_u64(&w, msg->read_reply.index);
        bytes_put_u8(&w, msg->read_reply.ok);
        bytes_put_u32(&w, msg->read_reply.grant_us);
        break;
    case RAFT_MSG_TIMEOUT_NOW:
        break;
    case RAFT_MSG_TRANSFER:
        bytes_put_u64(&w, msg->transfer.to);
        break;
    case RAFT_MSG_SNAPSHOT:
        bytes_put_u64(&w, msg->snapshot.index);
        bytes_put_u64(&w, msg->snapshot.term);
        break;
    }
    return finish(&w);
}

static void get_append(struct bytes_reader *r, struct raft_msg *msg,
                       struct raft_entry_meta metas[RAFT_MAX_APPEND_ENTRIES])
{
    msg->append.prev_index = bytes_get_u64(r);
    msg->append.prev_term = bytes_get_u64(r);
    msg->append.commit = bytes_get_u64(r);
    msg->append.reserve = get_bool(r);
    msg->append.count = bytes_get_u32(r);
    msg->append.entries = metas;
    if (msg->append.count > RAFT_MAX_APPEND_ENTRIES) {
        msg->append.count = 0;
        r->bad = true;
    }
    for (uint32_t i = 0; i < msg->append.count; i++) {
        metas[i] = (struct raft_entry_meta){.term = bytes_get_u64(r)};
        metas[i].kind = bytes_get_u8(r);
        metas[i].bytes = bytes_get_u32(r);
        bool noop = metas[i].kind == RAFT_ENTRY_NOOP;
        if (metas[i].kind < RAFT_ENTRY_NOOP || metas[i].kind > RAFT_ENTRY_CONFIG ||
            metas[i].bytes > RAFT_MAX_ENTRY_BYTES || (noop && metas[i].bytes != 0))
            r->bad = true;
    }
}

/* The fixed part of any message; an append's entries follow it. */
static void get_fields(struct bytes_reader *r, struct raft_msg *msg,
                       struct raft_entry_meta metas[RAFT_MAX_APPEND_ENTRIES])
{
    msg->kind = bytes_get_u8(r);
    msg->term = bytes_get_u64(r);
    switch (msg->kind) {
    case RAFT_MSG_PREVOTE:
    case RAFT_MSG_VOTE:
        msg->vote.last_index = bytes_get_u64(r);
        msg->vote.last_term = bytes_get_u64(r);
        msg->vote.transfer = get_bool(r);
        return;
    case RAFT_MSG_PREVOTE_REPLY:
    case RAFT_MSG_VOTE_REPLY:
        msg->vote_reply.election_term = bytes_get_u64(r);
        msg->vote_reply.granted = get_bool(r);
        return;
    case RAFT_MSG_APPEND:
        get_append(r, msg, metas);
        return;
    case RAFT_MSG_APPEND_REPLY:
        msg->append_reply.ok = get_bool(r);
        msg->append_reply.match = bytes_get_u64(r);
        msg->append_reply.hint_index = bytes_get_u64(r);
        msg->append_reply.hint_term = bytes_get_u64(r);
        get_disk(r, &msg->append_reply.disk);
        return;
    case RAFT_MSG_HEARTBEAT:
        msg->heartbeat.commit = bytes_get_u64(r);
        msg->heartbeat.round = bytes_get_u64(r);
        msg->heartbeat.lease_us = bytes_get_u32(r);
        msg->heartbeat.grant_us = bytes_get_u32(r);
        return;
    case RAFT_MSG_HEARTBEAT_REPLY:
        msg->heartbeat_reply.round = bytes_get_u64(r);
        get_disk(r, &msg->heartbeat_reply.disk);
        return;
    case RAFT_MSG_READ:
        msg->read.token = bytes_get_u64(r);
        msg->read.takes_grant = get_bool(r);
        return;
    case RAFT_MSG_READ_REPLY:
        msg->read_reply.token = bytes_get_u64(r);
        msg->read_reply.index = bytes_get_u64(r);
        msg->read_reply.ok = get_bool(r);
        msg->read_reply.grant_us = bytes_get_u32(r);
        return;
    case RAFT_MSG_TIMEOUT_NOW:
        return;
    case RAFT_MSG_TRANSFER:
        msg->transfer.to = bytes_get_u64(r);
        return;
    case RAFT_MSG_SNAPSHOT:
        msg->snapshot.index = bytes_get_u64(r);
        msg->snapshot.term = bytes_get_u64(r);
        return;
    }
    r->bad = true;
}

static void drop_payloads(struct buf **payloads, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        buf_unref(payloads[i]);
}

/* Copies one payload out of the frame; NULL with the cursor bad if it is not there. */
static struct buf *get_payload(struct bytes_reader *r, uint32_t bytes)
{
    const uint8_t *data = bytes_take(r, bytes);
    return data ? buf_copy(data, bytes) : NULL;
}

bool wire_get_message(struct raft_msg *msg, struct raft_entry_meta metas[RAFT_MAX_APPEND_ENTRIES],
                      struct buf *payloads[RAFT_MAX_APPEND_ENTRIES], const uint8_t *body,
                      size_t bytes)
{
    struct bytes_reader r = bytes_reader(body, bytes);
    *msg = (struct raft_msg){0};
    get_fields(&r, msg, metas);
    if (r.bad || msg->kind != RAFT_MSG_APPEND)
        return is_whole(&r);
    uint32_t n = 0;
    for (; n < msg->append.count && !r.bad; n++) {
        payloads[n] = metas[n].kind == RAFT_ENTRY_NOOP ? NULL : get_payload(&r, metas[n].bytes);
        if (metas[n].kind == RAFT_ENTRY_CONFIG && payloads[n])
            metas[n].config = payloads[n]->data;
    }
    if (is_whole(&r))
        return true;
    drop_payloads(payloads, n);
    return false;
}

/* ---- Forwarded proposals ---- */

size_t wire_put_forward(uint8_t out[WIRE_MAX_HEAD_BYTES], uint64_t seq, struct buf *const *payloads,
                        uint32_t count)
{
    struct bytes_writer w = bytes_writer(out, WIRE_MAX_HEAD_BYTES);
    bytes_put_u64(&w, seq);
    bytes_put_u32(&w, count);
    for (uint32_t i = 0; i < count; i++)
        bytes_put_u32(&w, payloads[i]->bytes);
    return finish(&w);
}

bool wire_get_forward(struct wire_forward *forward, struct buf *payloads[RAFT_MAX_PROPOSE],
                      const uint8_t *body, size_t bytes)
{
    uint32_t sizes[RAFT_MAX_PROPOSE];
    struct bytes_reader r = bytes_reader(body, bytes);
    *forward = (struct wire_forward){.seq = bytes_get_u64(&r)};
    forward->count = bytes_get_u32(&r);
    if (r.bad || forward->count == 0 || forward->count > RAFT_MAX_PROPOSE)
        return false;
    for (uint32_t i = 0; i < forward->count; i++) {
        sizes[i] = bytes_get_u32(&r);
        if (sizes[i] > RAFT_MAX_ENTRY_BYTES)
            r.bad = true;
    }
    uint32_t n = 0;
    for (; n < forward->count && !r.bad; n++)
        payloads[n] = get_payload(&r, sizes[n]);
    if (is_whole(&r))
        return true;
    drop_payloads(payloads, n);
    return false;
}

size_t wire_put_forward_reply(uint8_t out[WIRE_MAX_HEAD_BYTES], const struct wire_forward *reply)
{
    struct bytes_writer w = bytes_writer(out, WIRE_MAX_HEAD_BYTES);
    bytes_put_u64(&w, reply->seq);
    bytes_put_u32(&w, reply->count);
    bytes_put_u8(&w, (uint8_t)reply->status);
    return finish(&w);
}

bool wire_get_forward_reply(struct wire_forward *reply, const uint8_t *body, size_t bytes)
{
    struct bytes_reader r = bytes_reader(body, bytes);
    *reply = (struct wire_forward){.seq = bytes_get_u64(&r)};
    reply->count = bytes_get_u32(&r);
    reply->status = bytes_get_u8(&r);
    return is_whole(&r) && reply->status <= RAFT_FORWARD_FULL;
}

/* ---- Changes of the configuration, asked of the leader ---- */

size_t wire_put_change(uint8_t out[WIRE_MAX_GREETING_BYTES], const struct raft_net_change *change)
{
    struct bytes_writer w = bytes_writer(out, WIRE_MAX_GREETING_BYTES);
    bytes_put_u64(&w, change->seq);
    bytes_put_u8(&w, (uint8_t)change->kind);
    bytes_put_u64(&w, change->member);
    bytes_put_string(&w, change->address);
    bytes_put_string(&w, change->name);
    bytes_put_u8(&w, change->promote);
    return finish(&w);
}

bool wire_get_change(struct raft_net_change *change, const uint8_t *body, size_t bytes)
{
    struct bytes_reader r = bytes_reader(body, bytes);
    *change = (struct raft_net_change){.seq = bytes_get_u64(&r)};
    change->kind = bytes_get_u8(&r);
    change->member = bytes_get_u64(&r);
    bytes_get_string(&r, change->address, sizeof(change->address));
    bytes_get_string(&r, change->name, sizeof(change->name));
    change->promote = get_bool(&r);
    if (change->kind < RAFT_CHANGE_ADD || change->kind > RAFT_CHANGE_ADDRESS)
        return false;
    return is_whole(&r) &&
           (change->kind != RAFT_CHANGE_ADD || is_member(change->name, change->address));
}

size_t wire_put_change_reply(uint8_t out[WIRE_MAX_GREETING_BYTES], uint64_t seq,
                             enum raft_refusal refusal)
{
    struct bytes_writer w = bytes_writer(out, WIRE_MAX_GREETING_BYTES);
    bytes_put_u64(&w, seq);
    bytes_put_u8(&w, (uint8_t)refusal);
    return finish(&w);
}

bool wire_get_change_reply(uint64_t *seq, enum raft_refusal *refusal, const uint8_t *body,
                           size_t bytes)
{
    struct bytes_reader r = bytes_reader(body, bytes);
    *seq = bytes_get_u64(&r);
    *refusal = bytes_get_u8(&r);
    return is_whole(&r) && *refusal <= RAFT_NO_SPACE;
}

/* ---- Snapshots, in pieces ---- */

size_t wire_put_snapshot_ask(uint8_t out[WIRE_MAX_GREETING_BYTES],
                             const struct raft_net_snapshot_ask *ask)
{
    struct bytes_writer w = bytes_writer(out, WIRE_MAX_GREETING_BYTES);
    bytes_put_u64(&w, ask->seq);
    bytes_put_u64(&w, ask->id);
    bytes_put_u64(&w, ask->min_index);
    bytes_put_u64(&w, ask->offset);
    bytes_put_u32(&w, ask->bytes);
    return finish(&w);
}

bool wire_get_snapshot_ask(struct raft_net_snapshot_ask *ask, const uint8_t *body, size_t bytes)
{
    struct bytes_reader r = bytes_reader(body, bytes);
    *ask = (struct raft_net_snapshot_ask){.seq = bytes_get_u64(&r)};
    ask->id = bytes_get_u64(&r);
    ask->min_index = bytes_get_u64(&r);
    ask->offset = bytes_get_u64(&r);
    ask->bytes = bytes_get_u32(&r);
    return is_whole(&r) && ask->bytes > 0 && ask->bytes <= RAFT_NET_PIECE_BYTES;
}

/* Error numbers differ between systems: these do not. */
enum { PIECE_OK = 0, PIECE_NONE, PIECE_UNREADABLE, PIECE_STATUSES };

static const int piece_status[PIECE_STATUSES] = {0, -ENOENT, -EIO};

size_t wire_put_snapshot_piece(uint8_t out[WIRE_MAX_GREETING_BYTES],
                               const struct raft_net_snapshot_piece *piece)
{
    struct bytes_writer w = bytes_writer(out, WIRE_MAX_GREETING_BYTES);
    uint8_t status = PIECE_UNREADABLE;
    if (piece->status == 0 || piece->status == -ENOENT)
        status = piece->status == 0 ? PIECE_OK : PIECE_NONE;
    bytes_put_u64(&w, piece->seq);
    bytes_put_u8(&w, status);
    if (status != PIECE_OK)
        return finish(&w);
    bytes_put_u64(&w, piece->id);
    bytes_put_u64(&w, piece->index);
    bytes_put_u64(&w, piece->term);
    bytes_put_u64(&w, piece->total_bytes);
    bytes_put_u64(&w, piece->offset);
    bytes_put_u32(&w, piece->bytes);
    return finish(&w);
}

static bool lies_within(const struct raft_net_snapshot_piece *p)
{
    return p->offset <= p->total_bytes && p->bytes <= p->total_bytes - p->offset;
}

bool wire_get_snapshot_piece(struct raft_net_snapshot_piece *p, struct buf **data,
                             const uint8_t *body, size_t bytes)
{
    struct bytes_reader r = bytes_reader(body, bytes);
    *data = NULL;
    *p = (struct raft_net_snapshot_piece){.seq = bytes_get_u64(&r)};
    uint8_t status = bytes_get_u8(&r);
    if (r.bad || status >= PIECE_STATUSES)
        return false;
    p->status = piece_status[status];
    if (status != PIECE_OK)
        return is_whole(&r);
    p->id = bytes_get_u64(&r);
    p->index = bytes_get_u64(&r);
    p->term = bytes_get_u64(&r);
    p->total_bytes = bytes_get_u64(&r);
    p->offset = bytes_get_u64(&r);
    p->bytes = bytes_get_u32(&r);
    if (r.bad || p->id == 0 || p->index == 0 || p->term == 0 || p->bytes > RAFT_NET_PIECE_BYTES ||
        !lies_within(p) || bytes_left(&r) != p->bytes)
        return false;
    *data = p->bytes ? get_payload(&r, p->bytes) : NULL;
    return true;
}
