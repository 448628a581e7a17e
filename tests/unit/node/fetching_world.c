/* SPDX-License-Identifier: MIT */
#include "fetching_world.h"

#include "store/install.h"

struct fetching_world world;
struct fetching *fetching;
const struct snapshot whole = {
    .id = 77, .index = 500, .term = 4, .bytes = 2 * PIECE + 4096, .name = "4-500.db"};

/* ---- What it calls ---- */

bool raft_driver_snapshot_ask(struct raft_driver *d, raft_id to,
                              const struct raft_net_snapshot_ask *ask)
{
    (void)d;
    if (!world.up[to])
        return false;
    world.asks++;
    world.asked = to;
    world.ask = *ask;
    return true;
}

void raft_driver_status(struct raft_driver *d, struct raft_driver_status *out)
{
    (void)d;
    *out = (struct raft_driver_status){.leader = LEADER, .member_count = 3};
    for (raft_id id = SELF; id <= OTHER; id++)
        out->members[id - 1] = (struct raft_driver_member_status){
            .member = {.id = id, .name = "member"}, .up = id == SELF || world.up[id]};
}

void raft_driver_pause_apply(struct raft_driver *d, bool paused)
{
    (void)d;
    world.paused = paused;
}

void raft_driver_installed(struct raft_driver *d, uint64_t index, uint64_t term,
                           uint64_t config_index, const struct buf *config)
{
    (void)d;
    assert_int_equal(index, whole.index);
    assert_int_equal(term, whole.term);
    assert_int_equal(config_index, 9);
    assert_non_null(config);
    world.paused = false;
    world.driver_installs++;
}

void applier_call(struct applier *a, void (*call)(void *ctx), void *ctx)
{
    (void)a;
    assert_null(world.call);
    assert_true(world.paused);
    world.call = call;
    world.call_ctx = ctx;
}

uint64_t store_applied_index(const struct store *s)
{
    (void)s;
    return world.applied_index;
}

struct buf *store_config(struct store *s, uint64_t *index)
{
    (void)s;
    *index = 9;
    return buf_copy("config", 6);
}

int store_install(struct store *s, const char *path, uint64_t *index, uint64_t *term)
{
    (void)s;
    snprintf(world.installed_path, sizeof(world.installed_path), "%s", path);
    if (world.install_status < 0) {
        if (world.install_unsynced)
            world.applied_index = whole.index;
        return world.install_status;
    }
    world.installs++;
    *index = world.applied_index = whole.index;
    *term = whole.term;
    return 0;
}

struct intake *intake_init(const char *dir, void (*wake)(void *ctx), void *ctx)
{
    (void)dir;
    (void)wake;
    (void)ctx;
    return NULL;
}

void intake_close(struct intake *in)
{
    (void)in;
}

void intake_start(struct intake *in, const struct intake_job *job)
{
    (void)in;
    assert_false(world.job_waits || world.result_waits);
    world.job = *job;
    world.job_waits = true;
}

bool intake_done(struct intake *in, struct intake_result *result)
{
    (void)in;
    bool done = world.result_waits;
    world.result_waits = false;
    *result = world.result;
    return done;
}

static void on_wake(void *ctx)
{
    (void)ctx;
}

static void on_received(void *ctx, const struct snapshot *received)
{
    (void)ctx;
    assert_int_equal(received->id, whole.id);
}

static void on_replaced(void *ctx, uint64_t index, struct buf *config)
{
    (void)ctx;
    assert_int_equal(index, whole.index);
    assert_non_null(config);
}

static void on_installed(void *ctx)
{
    (void)ctx;
}

/* ---- What the test does ---- */

uint64_t pump(void)
{
    return fetching_pump(fetching, NULL, world.now_us);
}

void need(uint64_t index)
{
    fetching_need(fetching, index, world.now_us);
}

/* The disk does what it was told. */
void do_job(enum intake_kind kind, struct intake_result result)
{
    assert_true(world.job_waits);
    assert_int_equal(world.job.kind, kind);
    world.job_waits = false;
    buf_unref(world.job.data);
    result.kind = kind;
    world.result = result;
    world.result_waits = true;
    pump();
}

void answer_with(raft_id from, const struct raft_net_snapshot_piece *piece)
{
    struct buf *data = piece->bytes ? buf_new(piece->bytes) : NULL;
    if (data)
        memset(data->data, 0, data->bytes);
    fetching_piece(fetching, from, piece, data);
    pump();
}

struct raft_net_snapshot_piece piece_of(const struct raft_net_snapshot_ask *ask)
{
    uint64_t left = whole.bytes - ask->offset;
    return (struct raft_net_snapshot_piece){.seq = ask->seq,
                                            .id = whole.id,
                                            .index = whole.index,
                                            .term = whole.term,
                                            .total_bytes = whole.bytes,
                                            .offset = ask->offset,
                                            .bytes =
                                                left < ask->bytes ? (uint32_t)left : ask->bytes};
}

void answer(void)
{
    struct raft_net_snapshot_piece piece = piece_of(&world.ask);
    answer_with(world.asked, &piece);
}

void refuse(int status)
{
    answer_with(world.asked,
                &(struct raft_net_snapshot_piece){.seq = world.ask.seq, .status = status});
}

void run_install(void)
{
    void (*call)(void *ctx) = world.call;
    assert_non_null(call);
    world.call = NULL;
    call(world.call_ctx);
    pump();
}

/* From LOOKING to the first ask. */
void look_in_vain(void)
{
    need(400);
    pump();
    do_job(INTAKE_LOOK, (struct intake_result){.status = -ENOENT});
}

void start_receiving(void)
{
    look_in_vain();
    assert_int_equal(world.ask.id, 0);
    assert_int_equal(world.ask.min_index, 400);
    answer();
    assert_int_equal(world.job.what.id, whole.id);
    assert_int_equal(world.job.what.bytes, whole.bytes);
    do_job(INTAKE_OPEN, (struct intake_result){.offset = 0});
    assert_int_equal(world.ask.id, whole.id);
}

/* All that is still to come comes. */
void receive_the_rest(void)
{
    while (world.ask.offset < whole.bytes && !world.job_waits) {
        assert_int_equal(world.ask.id, whole.id);
        answer();
        do_job(INTAKE_WRITE,
               (struct intake_result){.offset = world.job.offset + piece_of(&world.ask).bytes});
    }
    do_job(INTAKE_FINISH, (struct intake_result){.snapshot = whole});
}

void check_installed(void)
{
    assert_true(world.paused);
    run_install();
    assert_int_equal(world.driver_installs, 1);
    assert_string_equal(world.installed_path, "/dir/4-500.db");
    assert_false(world.paused);
    do_job(INTAKE_CLOSE, (struct intake_result){0});
    assert_int_equal(pump(), UINT64_MAX);
}

int set_up(void **state)
{
    (void)state;
    memset(&world, 0, sizeof(world));
    world.now_us = 100 * SECOND_US;
    world.up[LEADER] = world.up[OTHER] = true;
    fetching = fetching_init(&(struct fetching_options){.dir = "/dir",
                                                        .self = SELF,
                                                        .wake = on_wake,
                                                        .on_received = on_received,
                                                        .on_replaced = on_replaced,
                                                        .on_installed = on_installed});
    return 0;
}

int tear_down(void **state)
{
    (void)state;
    if (world.job_waits)
        buf_unref(world.job.data);
    fetching_close(fetching);
    return 0;
}
