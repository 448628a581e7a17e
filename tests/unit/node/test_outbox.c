/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "raft/outbox.h"

static void put(struct raft_outbox *box, uint64_t after_write, uint64_t term)
{
    raft_outbox_put(box, &(struct raft_send){.msg = {.kind = RAFT_MSG_VOTE_REPLY, .term = term},
                                             .after_write = after_write});
}

static void a_message_waits_for_its_write(void **state)
{
    (void)state;
    struct raft_outbox box;
    struct raft_msg msg;
    raft_outbox_init(&box);
    put(&box, 3, 1);
    put(&box, 3, 2);
    put(&box, 5, 3);
    assert_false(raft_outbox_take(&box, 2, &msg));
    assert_true(raft_outbox_take(&box, 4, &msg));
    assert_int_equal(msg.term, 1);
    assert_true(raft_outbox_take(&box, 4, &msg));
    assert_int_equal(msg.term, 2);
    assert_false(raft_outbox_take(&box, 4, &msg));
    assert_true(raft_outbox_take(&box, 5, &msg));
    assert_int_equal(msg.term, 3);
    assert_false(raft_outbox_take(&box, UINT64_MAX, &msg));
    raft_outbox_close(&box);
}

static void order_survives_growing(void **state)
{
    (void)state;
    struct raft_outbox box;
    struct raft_msg msg;
    raft_outbox_init(&box);
    for (uint64_t i = 1; i <= 40; i++)
        put(&box, i, i);
    for (uint64_t i = 1; i <= 30; i++)
        assert_true(raft_outbox_take(&box, i, &msg));
    for (uint64_t i = 41; i <= 500; i++) /* wraps, then grows */
        put(&box, i, i);
    for (uint64_t i = 31; i <= 500; i++) {
        assert_true(raft_outbox_take(&box, i, &msg));
        assert_int_equal(msg.term, i);
    }
    raft_outbox_close(&box);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_waits_for_its_write),
        cmocka_unit_test(order_survives_growing),
    };
    return cmocka_run_group_tests_name("outbox", tests, NULL, NULL);
}
