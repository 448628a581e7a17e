/* SPDX-License-Identifier: MIT */
/* What is encoded is decoded; nothing else is, and no bytes make decoding go astray. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "raft/net/wire.h"

static struct raft_entry_meta metas[RAFT_MAX_APPEND_ENTRIES];
static struct buf *payloads[RAFT_MAX_APPEND_ENTRIES];

static void drop_payloads(const struct raft_msg *m)
{
    for (uint32_t i = 0; m->kind == RAFT_MSG_APPEND && i < m->append.count; i++)
        buf_unref(payloads[i]);
}

/* The body of a message's frame, payloads and all. */
static struct buf *body_of(const struct raft_msg *m, const struct raft_entry *entries)
{
    uint8_t head[WIRE_MAX_HEAD_BYTES];
    size_t bytes = wire_put_message(head, m, entries);
    size_t all = bytes;
    uint32_t count = m->kind == RAFT_MSG_APPEND ? m->append.count : 0;
    for (uint32_t i = 0; i < count; i++)
        all += entries[i].payload ? entries[i].payload->bytes : 0;
    struct buf *body = buf_new((uint32_t)all);
    memcpy(body->data, head, bytes);
    for (uint32_t i = 0; i < count; i++)
        if (entries[i].payload) {
            memcpy(body->data + bytes, entries[i].payload->data, entries[i].payload->bytes);
            bytes += entries[i].payload->bytes;
        }
    return body;
}

/* Decodes a copy of its exact size, so that the sanitizer sees a byte too far. */
static bool decode(struct raft_msg *m, const uint8_t *body, size_t bytes)
{
    uint8_t *exact = memory_alloc(bytes ? bytes : 1);
    memcpy(exact, body, bytes);
    bool good = wire_get_message(m, metas, payloads, exact, bytes);
    memory_free(exact);
    return good;
}

static void check_damage(const struct buf *body)
{
    struct raft_msg m;
    for (uint32_t n = 0; n < body->bytes; n++)
        assert_false(decode(&m, body->data, n));
    struct buf *longer = buf_new(body->bytes + 1);
    memcpy(longer->data, body->data, body->bytes);
    longer->data[body->bytes] = 0;
    assert_false(decode(&m, longer->data, longer->bytes));
    for (uint32_t at = 0; at < body->bytes; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            longer->data[at] ^= (uint8_t)(1u << bit);
            if (decode(&m, longer->data, body->bytes))
                drop_payloads(&m);
            longer->data[at] ^= (uint8_t)(1u << bit);
        }
    buf_unref(longer);
}

static void every_message_comes_back(void **state)
{
    (void)state;
    struct buf *command = buf_copy("command", 7), *config = buf_copy("config", 6);
    const struct raft_entry entries[] = {
        {.index = 8, .term = 3, .kind = RAFT_ENTRY_NOOP},
        {.index = 9, .term = 4, .kind = RAFT_ENTRY_COMMAND, .payload = command},
        {.index = 10, .term = 4, .kind = RAFT_ENTRY_CONFIG, .payload = config}};
    const struct raft_msg messages[] = {
        {.kind = RAFT_MSG_PREVOTE, .term = 5, .vote = {7, 4, false}},
        {.kind = RAFT_MSG_PREVOTE_REPLY, .term = 5, .vote_reply = {6, true}},
        {.kind = RAFT_MSG_VOTE, .term = 5, .vote = {7, 4, true}},
        {.kind = RAFT_MSG_VOTE_REPLY, .term = 5, .vote_reply = {6, false}},
        {.kind = RAFT_MSG_APPEND, .term = 5, .append = {7, 3, 6, 3, true, NULL}},
        {.kind = RAFT_MSG_APPEND, .term = 5, .append = {7, 3, 6, 0, false, NULL}},
        {.kind = RAFT_MSG_APPEND_REPLY, .term = 5, .append_reply = {true, 9, 8, 7, {true, false}}},
        {.kind = RAFT_MSG_HEARTBEAT, .term = 5, .heartbeat = {6, 11, 200000, 1000}},
        {.kind = RAFT_MSG_HEARTBEAT_REPLY, .term = 5, .heartbeat_reply = {11, {false, true}}},
        {.kind = RAFT_MSG_READ, .term = 5, .read = {12, true}},
        {.kind = RAFT_MSG_READ_REPLY, .term = 5, .read_reply = {12, 9, true, 400}},
        {.kind = RAFT_MSG_TIMEOUT_NOW, .term = 5},
        {.kind = RAFT_MSG_TRANSFER, .term = 5, .transfer = {77}},
        {.kind = RAFT_MSG_SNAPSHOT, .term = 5, .snapshot = {9, 4}}};
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        struct raft_msg back;
        struct buf *body = body_of(&messages[i], entries);
        assert_true(decode(&back, body->data, body->bytes));
        assert_int_equal(back.kind, messages[i].kind);
        assert_int_equal(back.term, 5);
        if (back.kind == RAFT_MSG_APPEND && back.append.count) {
            assert_null(payloads[0]);
            assert_memory_equal(payloads[1]->data, "command", 7);
            assert_int_equal(metas[1].bytes, 7);
            assert_ptr_equal(metas[2].config, payloads[2]->data);
            assert_int_equal(metas[2].term, 4);
        }
        drop_payloads(&back);
        struct buf *again = body_of(&messages[i], entries); /* the same fields, the same bytes */
        assert_int_equal(again->bytes, body->bytes);
        assert_memory_equal(again->data, body->data, body->bytes);
        check_damage(body);
        buf_unref(again);
        buf_unref(body);
    }
    buf_unref(command);
    buf_unref(config);
}

static void greetings_come_back(void **state)
{
    (void)state;
    uint8_t out[WIRE_MAX_GREETING_BYTES];
    struct wire_hello hello = {.version = RAFT_NET_PROTOCOL,
                               .cluster = 1,
                               .from = 2,
                               .name = "node1",
                               .address = "127.0.0.1:8001",
                               .expected = 3,
                               .expected_name = "node2",
                               .lane = WIRE_BULK,
                               .config_index = 99};
    struct wire_hello back;
    size_t bytes = wire_put_hello(out, &hello);
    assert_true(wire_get_hello(&back, out, bytes));
    assert_int_equal(back.cluster, 1);
    assert_int_equal(back.from, 2);
    assert_string_equal(back.name, "node1");
    assert_string_equal(back.address, "127.0.0.1:8001");
    assert_int_equal(back.expected, 3);
    assert_string_equal(back.expected_name, "node2");
    assert_int_equal(back.lane, WIRE_BULK);
    assert_int_equal(back.config_index, 99);
    for (size_t n = 0; n < bytes; n++)
        assert_false(n > 10 && wire_get_hello(&back, out, n));
    hello.version++; /* of a later one only the version is believed */
    bytes = wire_put_hello(out, &hello);
    assert_true(wire_get_hello(&back, out, bytes));
    assert_int_equal(back.version, RAFT_NET_PROTOCOL + 1);
    assert_int_equal(back.from, 0);

    struct raft_net_join join = {
        .id = 7, .name = "n", .address = "h:1", .voter = true, .replaces = 8};
    struct raft_net_join join_back;
    uint16_t version;
    bytes = wire_put_join(out, &join);
    assert_true(wire_get_join(&join_back, &version, out, bytes));
    assert_int_equal(join_back.id, 7);
    assert_string_equal(join_back.name, "n");
    assert_string_equal(join_back.address, "h:1");
    assert_true(join_back.voter);
    assert_int_equal(join_back.replaces, 8);
    join.replaces = join.id; /* nobody follows himself */
    assert_false(wire_get_join(&join_back, &version, out, wire_put_join(out, &join)));
    join.replaces = 0;
    static const char *const no_names[] = {"", ".n", "a/b", "a b", "a\nb"};
    for (size_t i = 0; i < sizeof(no_names) / sizeof(no_names[0]); i++) {
        snprintf(join.name, sizeof(join.name), "%s", no_names[i]);
        assert_false(wire_get_join(&join_back, &version, out, wire_put_join(out, &join)));
    }
    struct raft_net_invitation invitation = {.cluster = 9, .name = "node4"}, invitation_back;
    bytes = wire_put_invitation(out, &invitation);
    assert_true(wire_get_invitation(&invitation_back, &version, out, bytes));
    assert_int_equal(invitation_back.cluster, 9);
    assert_string_equal(invitation_back.name, "node4");
    for (size_t n = 0; n < bytes; n++)
        assert_false(wire_get_invitation(&invitation_back, &version, out, n) &&
                     version == RAFT_NET_PROTOCOL);
    struct raft_net_join_reply reply = {
        .status = RAFT_JOIN_REDIRECT, .cluster = 9, .leader_address = "h:2", .why = "so"};
    struct raft_net_join_reply reply_back;
    bytes = wire_put_join_reply(out, &reply);
    assert_true(wire_get_join_reply(&reply_back, out, bytes));
    assert_int_equal(reply_back.status, RAFT_JOIN_REDIRECT);
    assert_int_equal(reply_back.cluster, 9);
    assert_string_equal(reply_back.leader_address, "h:2");
    assert_string_equal(reply_back.why, "so");
}

static void forwards_come_back(void **state)
{
    (void)state;
    struct buf *two[] = {buf_copy("one", 3), buf_copy("", 0)};
    uint8_t out[WIRE_MAX_HEAD_BYTES];
    size_t bytes = wire_put_forward(out, 41, two, 2);
    memcpy(out + bytes, "one", 3);
    struct wire_forward back;
    assert_true(wire_get_forward(&back, payloads, out, bytes + 3));
    assert_int_equal(back.seq, 41);
    assert_int_equal(back.count, 2);
    assert_memory_equal(payloads[0]->data, "one", 3);
    buf_unref(payloads[0]);
    buf_unref(payloads[1]);
    for (size_t n = 0; n < bytes + 3; n++)
        assert_false(wire_get_forward(&back, payloads, out, n));
    buf_unref(two[0]);
    buf_unref(two[1]);
    struct wire_forward reply = {.seq = 41, .count = 2, .status = RAFT_FORWARD_REFUSED};
    bytes = wire_put_forward_reply(out, &reply);
    assert_true(wire_get_forward_reply(&back, out, bytes));
    assert_int_equal(back.status, RAFT_FORWARD_REFUSED);
}

static void changes_come_back(void **state)
{
    (void)state;
    uint8_t out[WIRE_MAX_GREETING_BYTES];
    struct raft_net_change change = {
        .seq = 7, .kind = RAFT_CHANGE_ADDRESS, .member = 99, .address = "127.0.0.1:8009"};
    struct raft_net_change back;
    size_t bytes = wire_put_change(out, &change);
    assert_true(wire_get_change(&back, out, bytes));
    assert_int_equal(back.seq, 7);
    assert_int_equal(back.kind, RAFT_CHANGE_ADDRESS);
    assert_int_equal(back.member, 99);
    assert_string_equal(back.address, "127.0.0.1:8009");
    for (size_t n = 0; n < bytes; n++)
        assert_false(wire_get_change(&back, out, n));
    change.kind = RAFT_CHANGE_ADD; /* it needs a name */
    assert_false(wire_get_change(&back, out, wire_put_change(out, &change)));
    memcpy(change.name, "node4", 6);
    change.promote = true;
    assert_true(wire_get_change(&back, out, wire_put_change(out, &change)));
    assert_string_equal(back.name, "node4");
    assert_true(back.promote);
    change.kind = RAFT_CHANGE_ADDRESS + 1;
    assert_false(wire_get_change(&back, out, wire_put_change(out, &change)));

    uint64_t seq;
    enum raft_refusal refusal;
    bytes = wire_put_change_reply(out, 7, RAFT_NO_SPACE);
    assert_true(wire_get_change_reply(&seq, &refusal, out, bytes));
    assert_int_equal(seq, 7);
    assert_int_equal(refusal, RAFT_NO_SPACE);
    assert_false(wire_get_change_reply(&seq, &refusal, out, bytes - 1));
    bytes = wire_put_change_reply(out, 7, RAFT_NO_SPACE + 1);
    assert_false(wire_get_change_reply(&seq, &refusal, out, bytes));
}

/* Decodes a copy of its exact size, as decode() does. */
static bool decode_piece(struct raft_net_snapshot_piece *p, struct buf **data, const uint8_t *body,
                         size_t bytes)
{
    uint8_t *exact = memory_alloc(bytes ? bytes : 1);
    memcpy(exact, body, bytes);
    bool good = wire_get_snapshot_piece(p, data, exact, bytes);
    memory_free(exact);
    return good;
}

/* Neither a part, nor more, nor any flipped bit makes decoding go astray. */
static void check_piece_damage(uint8_t *body, size_t bytes)
{
    struct raft_net_snapshot_piece p;
    struct buf *data;
    for (size_t n = 0; n <= bytes + 1; n++)
        assert_true(n == bytes || !decode_piece(&p, &data, body, n));
    for (size_t bit = 0; bit < bytes * 8; bit++) {
        body[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (decode_piece(&p, &data, body, bytes)) {
            assert_int_equal(p.bytes, data ? data->bytes : 0);
            buf_unref(data);
        }
        body[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void snapshot_asks_come_back(void **state)
{
    (void)state;
    uint8_t out[WIRE_MAX_GREETING_BYTES];
    struct raft_net_snapshot_ask ask = {
        .seq = 3, .id = 4, .min_index = 5, .offset = 1ull << 40, .bytes = RAFT_NET_PIECE_BYTES};
    struct raft_net_snapshot_ask back;
    size_t bytes = wire_put_snapshot_ask(out, &ask);
    assert_true(wire_get_snapshot_ask(&back, out, bytes));
    assert_int_equal(back.seq, 3);
    assert_int_equal(back.id, 4);
    assert_int_equal(back.min_index, 5);
    assert_int_equal(back.offset, 1ull << 40);
    assert_int_equal(back.bytes, RAFT_NET_PIECE_BYTES);
    for (size_t n = 0; n <= bytes + 1; n++)
        assert_int_equal(wire_get_snapshot_ask(&back, out, n), n == bytes);
    ask.bytes++;
    assert_false(wire_get_snapshot_ask(&back, out, wire_put_snapshot_ask(out, &ask)));
    ask.bytes = 0;
    assert_false(wire_get_snapshot_ask(&back, out, wire_put_snapshot_ask(out, &ask)));
}

static void snapshot_pieces_come_back(void **state)
{
    (void)state;
    uint8_t out[WIRE_MAX_GREETING_BYTES + 8];
    struct raft_net_snapshot_piece piece = {
        .seq = 3, .id = 4, .index = 5, .term = 6, .total_bytes = 100, .offset = 93, .bytes = 7};
    struct raft_net_snapshot_piece back;
    struct buf *data;
    size_t bytes = wire_put_snapshot_piece(out, &piece);
    memcpy(out + bytes, "7 bytes", 8);
    assert_true(decode_piece(&back, &data, out, bytes + 7));
    assert_memory_equal(&back, &piece, sizeof(piece));
    assert_int_equal(data->bytes, 7);
    assert_memory_equal(data->data, "7 bytes", 7);
    buf_unref(data);
    check_piece_damage(out, bytes + 7);

    piece.offset++; /* beyond the end */
    assert_int_equal(wire_put_snapshot_piece(out, &piece), bytes);
    assert_false(decode_piece(&back, &data, out, bytes + 7));
    piece.offset = UINT64_MAX - 3; /* nor beyond all numbers */
    assert_int_equal(wire_put_snapshot_piece(out, &piece), bytes);
    assert_false(decode_piece(&back, &data, out, bytes + 7));
    piece = (struct raft_net_snapshot_piece){
        .seq = 3, .id = 4, .index = 5, .term = 6, .total_bytes = 100, .offset = 100};
    bytes = wire_put_snapshot_piece(out, &piece);
    assert_true(decode_piece(&back, &data, out, bytes));
    assert_null(data);
    piece.id = 0;
    bytes = wire_put_snapshot_piece(out, &piece);
    assert_false(decode_piece(&back, &data, out, bytes));
}

static void snapshot_refusals_come_back(void **state)
{
    (void)state;
    static const int sent[] = {-ENOENT, -EIO, -EUCLEAN}, seen[] = {-ENOENT, -EIO, -EIO};
    uint8_t out[WIRE_MAX_GREETING_BYTES];
    struct raft_net_snapshot_piece back;
    struct buf *data;
    for (int i = 0; i < 3; i++) {
        struct raft_net_snapshot_piece piece = {.seq = 3, .status = sent[i]};
        size_t bytes = wire_put_snapshot_piece(out, &piece);
        assert_true(decode_piece(&back, &data, out, bytes));
        assert_int_equal(back.seq, 3);
        assert_int_equal(back.status, seen[i]);
        assert_null(data);
        check_piece_damage(out, bytes);
    }
}

static void a_frame_that_was_changed_does_not_pass(void **state)
{
    (void)state;
    struct buf *payload[] = {buf_copy("payload", 7)};
    struct buf *head = wire_frame(WIRE_FORWARD, "body", 4, payload, 1);
    uint8_t body[] = "bodypayload";
    struct wire_header header;
    wire_read_header(head->data, &header);
    assert_int_equal(header.body_bytes, 11);
    assert_int_equal(header.type, WIRE_FORWARD);
    assert_true(wire_check(&header, body));
    for (size_t bit = 0; bit < 11 * 8; bit++) {
        body[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(wire_check(&header, body));
        body[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    header.type = WIRE_MESSAGE;
    assert_false(wire_check(&header, body));
    buf_unref(head);
    buf_unref(payload[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_comes_back),
        cmocka_unit_test(greetings_come_back),
        cmocka_unit_test(forwards_come_back),
        cmocka_unit_test(changes_come_back),
        cmocka_unit_test(snapshot_asks_come_back),
        cmocka_unit_test(snapshot_pieces_come_back),
        cmocka_unit_test(snapshot_refusals_come_back),
        cmocka_unit_test(a_frame_that_was_changed_does_not_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
