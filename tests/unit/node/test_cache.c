/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "raft/cache.h"

static void append(struct raft_cache *cache, uint64_t index, uint64_t term, uint32_t bytes)
{
    raft_cache_append(cache, &(struct raft_entry){.index = index,
                                                  .term = term,
                                                  .kind = RAFT_ENTRY_COMMAND,
                                                  .payload = bytes ? buf_new(bytes) : NULL});
}

static void holds_what_was_appended(void **state)
{
    (void)state;
    struct raft_cache cache;
    struct raft_entry out[1000];
    raft_cache_init(&cache, 41);
    assert_false(raft_cache_get(&cache, 41, 1, out));
    assert_false(raft_cache_get(&cache, 42, 1, out));
    for (uint64_t i = 42; i < 1042; i++) /* more than the ring holds at first */
        append(&cache, i, i / 100, 8);
    assert_true(raft_cache_get(&cache, 42, 1000, out));
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(out[i].index, 42 + i);
        assert_int_equal(out[i].term, (42 + i) / 100);
    }
    assert_false(raft_cache_get(&cache, 1041, 2, out));
    raft_cache_close(&cache);
}

static void truncation_makes_way_for_another_entry(void **state)
{
    (void)state;
    struct raft_cache cache;
    struct raft_entry out[4];
    raft_cache_init(&cache, 0);
    for (uint64_t i = 1; i <= 4; i++)
        append(&cache, i, 1, 16);
    raft_cache_truncate(&cache, 3);
    assert_int_equal(cache.payload_bytes, 32);
    append(&cache, 3, 2, 0);
    assert_true(raft_cache_get(&cache, 1, 3, out));
    assert_int_equal(out[2].term, 2);
    assert_null(out[2].payload);
    raft_cache_close(&cache);
}

/* What is truncated may lie before what the cache holds: entries known only on disk. */
static void truncation_below_the_first_entry_empties(void **state)
{
    (void)state;
    struct raft_cache cache;
    struct raft_entry out[1];
    raft_cache_init(&cache, 10);
    append(&cache, 11, 1, 4);
    raft_cache_truncate(&cache, 6);
    append(&cache, 6, 2, 4);
    assert_true(raft_cache_get(&cache, 6, 1, out));
    assert_int_equal(out[0].term, 2);
    raft_cache_close(&cache);
}

static void eviction_spares_what_is_still_needed(void **state)
{
    (void)state;
    struct raft_cache cache;
    struct raft_entry out[1];
    raft_cache_init(&cache, 0);
    for (uint64_t i = 1; i <= 20; i++)
        append(&cache, i, 1, 1024 * 1024);
    raft_cache_evict(&cache, 5);
    assert_false(raft_cache_get(&cache, 5, 1, out));
    assert_true(raft_cache_get(&cache, 6, 1, out));
    raft_cache_evict(&cache, 20);
    assert_true(cache.payload_bytes <= RAFT_CACHE_BYTES);
    assert_true(raft_cache_get(&cache, 20, 1, out));
    raft_cache_close(&cache);
}

static void small_entries_are_bounded_by_number(void **state)
{
    (void)state;
    struct raft_cache cache;
    raft_cache_init(&cache, 0);
    for (uint64_t i = 1; i <= 50000; i++) {
        append(&cache, i, 1, 0);
        raft_cache_evict(&cache, i);
    }
    assert_true(cache.capacity <= 16384);
    raft_cache_close(&cache);
}

static void compaction_drops_the_oldest(void **state)
{
    (void)state;
    struct raft_cache cache;
    struct raft_entry out[4];
    raft_cache_init(&cache, 0);
    for (uint64_t i = 1; i <= 4; i++)
        append(&cache, i, 1, 16);
    raft_cache_compact(&cache, 2);
    assert_int_equal(cache.payload_bytes, 32);
    assert_false(raft_cache_get(&cache, 2, 1, out));
    assert_true(raft_cache_get(&cache, 3, 2, out));
    raft_cache_compact(&cache, 9); /* more than there is */
    assert_int_equal(cache.payload_bytes, 0);
    append(&cache, 5, 1, 16);
    assert_true(raft_cache_get(&cache, 5, 1, out));
    raft_cache_close(&cache);
}

static void starting_over_empties_and_moves_on(void **state)
{
    (void)state;
    struct raft_cache cache;
    struct raft_entry out[1];
    raft_cache_init(&cache, 0);
    for (uint64_t i = 1; i <= 4; i++)
        append(&cache, i, 1, 16);
    raft_cache_restart(&cache, 1000);
    assert_int_equal(cache.payload_bytes, 0);
    assert_false(raft_cache_get(&cache, 4, 1, out));
    append(&cache, 1001, 2, 16);
    assert_true(raft_cache_get(&cache, 1001, 1, out));
    raft_cache_restart(&cache, 7); /* or back */
    append(&cache, 8, 3, 16);
    assert_true(raft_cache_get(&cache, 8, 1, out));
    raft_cache_close(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_what_was_appended),
        cmocka_unit_test(truncation_makes_way_for_another_entry),
        cmocka_unit_test(compaction_drops_the_oldest),
        cmocka_unit_test(starting_over_empties_and_moves_on),
        cmocka_unit_test(truncation_below_the_first_entry_empties),
        cmocka_unit_test(eviction_spares_what_is_still_needed),
        cmocka_unit_test(small_entries_are_bounded_by_number),
    };
    return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
