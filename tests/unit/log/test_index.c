/* SPDX-License-Identifier: MIT */
/* test_index.c - the index against a model that keeps everything in one array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/memory.h"
#include "raft/log/index.h"

enum { MOST = 60000, STEPS = 3000, LONGEST = 3000 };

static struct {
    uint64_t base;
    uint64_t last;
    uint64_t terms[MOST];
    uint32_t marks[MOST];
} model;

static uint32_t seed = 1;

static uint32_t below(uint32_t limit)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % limit;
}

static void check(const struct log_index *x)
{
    assert_int_equal(x->base_index, model.base);
    assert_int_equal(x->last_index, model.last);
    assert_null(log_index_find(x, model.base));
    assert_null(log_index_find(x, model.last + 1));
    assert_int_equal(log_index_term(x, model.base), model.terms[model.base]);
    for (uint32_t n = 0; n < 20 && model.last > model.base; n++) {
        uint64_t at = n ? model.base + 1 + below((uint32_t)(model.last - model.base)) : model.last;
        assert_int_equal(log_index_find(x, at)->offset, model.marks[at]);
        assert_int_equal(log_index_term(x, at), model.terms[at]);
    }
    if (model.last > model.base)
        assert_int_equal(x->runs[0].first, model.base + 1);
    else
        assert_int_equal(x->run_count, 0);
}

static void any_order_of_changes_agrees_with_the_model(void **state)
{
    (void)state;
    struct log_index x;
    uint64_t term = 1;
    uint32_t mark = 0;
    log_index_init(&x, 0, 0);
    for (uint32_t step = 0; step < STEPS; step++) {
        uint32_t what = below(8), held = (uint32_t)(model.last - model.base);
        term += below(4) == 0;
        if (what == 0 && held > 0) {
            model.last = model.base + below(held);
            log_index_truncate(&x, model.last + 1);
        } else if (what <= 2) {
            model.base += below(held + 1);
            log_index_compact(&x, model.base);
        } else if (model.last + LONGEST >= MOST) {
            model.base = model.last = below(5000);
            model.terms[model.base] = term;
            log_index_restart(&x, model.base, term);
        } else {
            for (uint32_t n = below(LONGEST); n > 0; n--) {
                model.terms[++model.last] = term;
                model.marks[model.last] = ++mark;
                log_index_append(&x, term, &(struct log_place){.offset = mark});
            }
        }
        check(&x);
    }
    log_index_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_order_of_changes_agrees_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
