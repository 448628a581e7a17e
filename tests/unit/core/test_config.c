/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "raft/raft.h"

static struct raft_config make(uint32_t count)
{
    struct raft_config c = {.count = count};
    for (uint32_t i = 0; i < count; i++) {
        c.members[i].id = i + 1;
        c.members[i].voter = i < 3;
        c.members[i].promote = i == 4;
        snprintf(c.members[i].name, sizeof(c.members[i].name), "node%u", i);
        snprintf(c.members[i].address, sizeof(c.members[i].address), "127.0.0.1:%u", 8000 + i);
    }
    return c;
}

static void what_was_encoded_is_decoded(void **state)
{
    (void)state;
    static struct raft_config in, out;
    uint8_t bytes[RAFT_MAX_CONFIG_BYTES];
    for (uint32_t count = 1; count <= RAFT_MAX_MEMBERS; count++) {
        in = make(count);
        size_t n = raft_config_encode(&in, bytes, sizeof(bytes));
        assert_true(n > 0);
        memset(&out, 0, sizeof(out));
        assert_true(raft_config_decode(&out, bytes, n));
        assert_memory_equal(&in, &out, sizeof(in));
    }
}

static void the_largest_fits(void **state)
{
    (void)state;
    static struct raft_config c;
    uint8_t bytes[RAFT_MAX_CONFIG_BYTES];
    c = make(RAFT_MAX_MEMBERS);
    for (uint32_t i = 0; i < c.count; i++) {
        memset(c.members[i].name, 'n', RAFT_NAME_BYTES - 1);
        memset(c.members[i].address, 'a', RAFT_ADDRESS_BYTES - 1);
    }
    assert_true(raft_config_encode(&c, bytes, sizeof(bytes)) > 0);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    static struct raft_config c, out;
    uint8_t bytes[RAFT_MAX_CONFIG_BYTES];
    c = make(5);
    size_t n = raft_config_encode(&c, bytes, sizeof(bytes));
    for (size_t cut = 0; cut < n; cut++)
        assert_false(raft_config_decode(&out, bytes, cut));
    bytes[n] = 0;
    assert_false(raft_config_decode(&out, bytes, n + 1));
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    static struct raft_config c, out;
    uint8_t bytes[RAFT_MAX_CONFIG_BYTES];
    c = make(3);
    c.members[1].id = c.members[0].id; /* twice */
    assert_false(raft_config_decode(&out, bytes, raft_config_encode(&c, bytes, sizeof(bytes))));
    c = make(3);
    c.members[2].id = 0;
    assert_false(raft_config_decode(&out, bytes, raft_config_encode(&c, bytes, sizeof(bytes))));
    c = make(3);
    for (int i = 0; i < 3; i++)
        c.members[i].voter = false;
    assert_false(raft_config_decode(&out, bytes, raft_config_encode(&c, bytes, sizeof(bytes))));
    c = make(RAFT_MAX_VOTERS + 1);
    for (int i = 0; i <= RAFT_MAX_VOTERS; i++)
        c.members[i].voter = true;
    assert_false(raft_config_decode(&out, bytes, raft_config_encode(&c, bytes, sizeof(bytes))));
    c = make(3);
    c.members[0].name[0] = '\0';
    assert_false(raft_config_decode(&out, bytes, raft_config_encode(&c, bytes, sizeof(bytes))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_encoded_is_decoded),
        cmocka_unit_test(the_largest_fits),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(nonsense_is_refused),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
