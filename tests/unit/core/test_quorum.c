/* SPDX-License-Identifier: MIT */
/* Majorities against a table, and against counting all subsets the slow way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "raft/core/core.h"

/* "vi": v a voter of the incoming side, o of the outgoing, b of both, l a learner. */
static struct raft_config config_of(const char *roles)
{
    struct raft_config c = {.count = (uint32_t)strlen(roles)};
    for (uint32_t i = 0; i < c.count; i++) {
        c.members[i].id = i + 1;
        c.members[i].voter = roles[i] == 'v' || roles[i] == 'b';
        c.members[i].voter_out = roles[i] == 'o' || roles[i] == 'b';
    }
    return c;
}

static void commit_table(void **state)
{
    (void)state;
    static const struct {
        const char *roles;
        uint64_t match[9];
        uint64_t commit;
    } table[] = {
        {"v", {12}, 12},
        {"vv", {12, 5}, 5},
        {"vvv", {12, 5, 6}, 6},
        {"vvv", {12, 0, 0}, 0},
        {"vvvv", {9, 8, 7, 6}, 7},
        {"vvvvv", {1, 2, 3, 4, 5}, 3},
        {"vl", {7, 100}, 7},
        {"vvvl", {7, 8, 9, 100}, 8},
        {"bbb", {4, 5, 6}, 5},
        {"vo", {9, 4}, 4},
        {"ovvv", {3, 9, 9, 9}, 3},
        {"bvvoo", {10, 10, 2, 2, 2}, 2},
        {"bvvoo", {10, 10, 2, 10, 2}, 10},
        {"l", {5}, 0},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct raft_config c = config_of(table[i].roles);
        assert_int_equal(quorum_commit(&c, table[i].match), table[i].commit);
    }
}

static bool side_wins(const struct raft_config *c, const bool *yes, bool outgoing)
{
    int voters = 0, votes = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        bool voter = outgoing ? c->members[i].voter_out : c->members[i].voter;
        voters += voter;
        votes += voter && yes[i];
    }
    return voters == 0 || 2 * votes > voters;
}

/* The commit index is the largest that the members who hold it could have voted through. */
static void agrees_with_counting(void **state)
{
    (void)state;
    static const char kinds[] = "vobl";
    uint64_t rng = 1;
    for (int round = 0; round < 20000; round++) {
        char roles[8] = "v";
        uint64_t match[8], slow = 0;
        size_t count = 1 + rng % 7;
        for (size_t i = 0; i < count; i++) {
            rng = rng * 6364136223846793005u + 1442695040888963407u;
            roles[i] = i ? kinds[(rng >> 33) % 4] : 'v';
            match[i] = (rng >> 40) % 8;
        }
        roles[count] = '\0';
        struct raft_config c = config_of(roles);
        for (uint64_t index = 1; index < 8; index++) {
            bool holds[8];
            for (size_t i = 0; i < count; i++)
                holds[i] = match[i] >= index;
            bool wins = side_wins(&c, holds, false) && side_wins(&c, holds, true);
            assert_int_equal(quorum_reached(&c, holds), wins);
            if (wins)
                slow = index;
        }
        assert_int_equal(quorum_commit(&c, match), slow);
    }
}

static void nobody_is_no_quorum(void **state)
{
    (void)state;
    struct raft_config none = {0};
    bool yes[1] = {true};
    assert_false(quorum_reached(&none, yes));
    assert_int_equal(quorum_commit(&none, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commit_table),
        cmocka_unit_test(agrees_with_counting),
        cmocka_unit_test(nobody_is_no_quorum),
    };
    return cmocka_run_group_tests_name("quorum", tests, NULL, NULL);
}
