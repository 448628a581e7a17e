/* SPDX-License-Identifier: MIT */
/* direct.c: batches that the kernel writes, beside those of the writer thread. */
#include <errno.h>
#include <libaio.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fixture.h"

enum { TRIES = 1000 };

int __real_io_submit(io_context_t ctx, long count, struct iocb **iocbs);
int __wrap_io_submit(io_context_t ctx, long count, struct iocb **iocbs);
int __real_io_getevents(io_context_t ctx, long least, long most, struct io_event *events,
                        struct timespec *timeout);
int __wrap_io_getevents(io_context_t ctx, long least, long most, struct io_event *events,
                        struct timespec *timeout);

int __real_statx(int dir, const char *path, int flags, unsigned mask, struct statx *out);
int __wrap_statx(int dir, const char *path, int flags, unsigned mask, struct statx *out);

static struct {
    bool refuses;
    bool fails;
    bool knows_no_alignment;
    uint32_t alignment; /* 0: as it is */
    unsigned taken;
} kernel;

int __wrap_statx(int dir, const char *path, int flags, unsigned mask, struct statx *out)
{
    int rc = __real_statx(dir, path, flags, mask, out);
#ifdef STATX_DIOALIGN
    if (kernel.alignment)
        out->stx_dio_offset_align = kernel.alignment;
    if (kernel.knows_no_alignment)
        out->stx_mask &= ~STATX_DIOALIGN;
#endif
    return rc;
}

int __wrap_io_submit(io_context_t ctx, long count, struct iocb **iocbs)
{
    if (kernel.refuses)
        return -EAGAIN;
    kernel.taken++;
    return __real_io_submit(ctx, count, iocbs);
}

int __wrap_io_getevents(io_context_t ctx, long least, long most, struct io_event *events,
                        struct timespec *timeout)
{
    int n = __real_io_getevents(ctx, least, most, events, timeout);
    if (n == 1 && kernel.fails)
        events[0].res = (unsigned long)-EIO;
    return n;
}

static int setup(void **state)
{
    kernel.refuses = kernel.fails = kernel.knows_no_alignment = false;
    kernel.alignment = kernel.taken = 0;
    setenv("TMPDIR", "/var/tmp", 0); /* a disk: in memory, a write has ended when it begins */
    int status = fixture_setup(state);
    struct fixture *f = *state;
    f->direct = true;
    return status;
}

static uint64_t submit(struct fixture *f, uint32_t bytes)
{
    return fixture_submit(f,
                          &(struct fixture_write){
                              .term = 1, .count = 1, .bytes = &bytes, .kind = RAFT_ENTRY_COMMAND});
}

static uint64_t reap(struct fixture *f)
{
    struct pollfd p = {.fd = raft_log_event_fd(f->log), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 60 * 1000), 1);
    return raft_log_reap(f->log);
}

/* Whether the kernel took it; otherwise it is durable. */
static bool is_taken(struct fixture *f, uint64_t id, unsigned taken_before)
{
    raft_log_push(f->log);
    if (kernel.taken > taken_before)
        return true;
    fixture_wait_durable(f, id);
    return false;
}

/* Whoever does it: what begins a segment is the writer's. */
static void write_one(struct fixture *f, uint32_t bytes)
{
    unsigned taken = kernel.taken;
    uint64_t id = submit(f, bytes);
    if (is_taken(f, id, taken))
        assert_int_equal(reap(f), id);
}

/*
 * One that the kernel takes: the writer thread, which may be about to begin, or not at its end yet,
 * is free to be faster.
 */
static uint64_t submit_until_taken(struct fixture *f, uint32_t bytes)
{
    for (int tries = 0; tries < TRIES; tries++) {
        unsigned taken = kernel.taken;
        uint64_t id = submit(f, bytes);
        if (is_taken(f, id, taken))
            return id;
    }
    return 0;
}

static void write_until_direct(struct fixture *f, uint32_t bytes)
{
    uint64_t id = submit_until_taken(f, bytes);
    assert_true(id > 0);
    assert_int_equal(reap(f), id);
}

/* A file system without O_DIRECT has nothing to test. */
static bool is_possible(struct fixture *f)
{
    fixture_open(f, true);
    uint64_t id = submit_until_taken(f, 1);
    if (id)
        assert_int_equal(reap(f), id);
    else
        print_message("left out: %s has no O_DIRECT\n", f->dir);
    return id > 0;
}

static void what_the_kernel_wrote_is_recovered(void **state)
{
    struct fixture *f = *state;
    f->segment_bytes = 64 * 1024;
    if (!is_possible(f))
        return;
    for (uint32_t i = 0; i < 500; i++)
        write_one(f, i % 3000);
    assert_true(kernel.taken > 400);
    fixture_reopen(f);
}

static void the_writer_thread_goes_on_behind_it_and_before_it(void **state)
{
    struct fixture *f = *state;
    f->segment_bytes = 1024 * 1024;
    if (!is_possible(f))
        return;
    for (uint32_t i = 0; i < 30; i++) {
        write_until_direct(f, 100);
        unsigned taken = kernel.taken;
        uint64_t large = submit(f, 100 * 1000);
        raft_log_push(f->log);
        fixture_wait_durable(f, large);
        assert_int_equal(kernel.taken, taken);
    }
    fixture_reopen(f);
}

static void what_is_submitted_meanwhile_goes_into_the_next_batch(void **state)
{
    struct fixture *f = *state;
    if (!is_possible(f))
        return;
    uint64_t first = submit_until_taken(f, 10);
    unsigned taken = kernel.taken;
    submit(f, 20);
    raft_log_push(f->log);
    uint64_t last = submit(f, 30);
    raft_log_push(f->log);
    assert_int_equal(kernel.taken, taken);
    assert_int_equal(reap(f), first);
    if (is_taken(f, last, taken))
        assert_int_equal(reap(f), last);
    fixture_reopen(f);
}

static void what_the_kernel_does_not_take_is_left_to_the_writer(void **state)
{
    struct fixture *f = *state;
    if (!is_possible(f))
        return;
    kernel.refuses = true;
    uint64_t id = submit(f, 100);
    raft_log_push(f->log);
    fixture_wait_durable(f, id);
    kernel.refuses = false;
    write_until_direct(f, 100);
    fixture_reopen(f);
}

static void what_comes_back_with_an_error_is_done_over_by_the_writer(void **state)
{
    struct fixture *f = *state;
    if (!is_possible(f))
        return;
    kernel.fails = true;
    uint64_t id = submit_until_taken(f, 100);
    assert_int_equal(reap(f), 0);
    kernel.fails = false;
    unsigned taken = kernel.taken;
    uint64_t behind = submit(f, 50);
    bool direct = is_taken(f, behind, taken);
    fixture_wait_durable(f, id);
    if (direct)
        assert_int_equal(reap(f), behind);
    write_until_direct(f, 100);
    fixture_reopen(f);
}

static void nothing_is_tried(struct fixture *f)
{
    fixture_open(f, true);
    for (uint32_t i = 0; i < 5; i++) {
        uint64_t id = submit(f, 100);
        raft_log_push(f->log);
        assert_int_equal(kernel.taken, 0);
        fixture_wait_durable(f, id);
    }
    fixture_reopen(f);
}

static void on_a_disk_of_large_sectors_all_is_the_writers(void **state)
{
    kernel.alignment = 4096;
    nothing_is_tried(*state);
}

/* Its O_DIRECT may be none: io_submit() would wait for a sync. */
static void so_it_is_where_the_file_system_does_not_say(void **state)
{
    kernel.knows_no_alignment = true;
    nothing_is_tried(*state);
}

static void closing_waits_for_it(void **state)
{
    struct fixture *f = *state;
    if (!is_possible(f))
        return;
    for (int i = 0; i < 50; i++) {
        submit(f, 100);
        raft_log_push(f->log);
        submit(f, 100);
        fixture_reopen(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_the_kernel_wrote_is_recovered, setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(the_writer_thread_goes_on_behind_it_and_before_it, setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(what_is_submitted_meanwhile_goes_into_the_next_batch, setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(what_the_kernel_does_not_take_is_left_to_the_writer, setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(what_comes_back_with_an_error_is_done_over_by_the_writer,
                                        setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(on_a_disk_of_large_sectors_all_is_the_writers, setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(so_it_is_where_the_file_system_does_not_say, setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(closing_waits_for_it, setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
