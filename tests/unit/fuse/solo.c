/* SPDX-License-Identifier: MIT */
#include "solo.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

/* One thing for the apply thread to do. */
struct job {
    struct job *next;
    struct backend_change *change; /* NULL: another node's */
    struct buf *command;
    struct store_result *result;
    bool *finished;
};

struct solo_inside {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool stopping;
    bool held;
    bool blocks;
    unsigned blocked;
    int change_status;
    int barrier_status;
    unsigned barriers_asked;
    char leader[128];
    bool unmounted;
    unsigned snapshots;
    char second[128]; /* what the member node2 is; empty: removed */
    unsigned sleepers;

    struct job *jobs; /* in order */
    struct backend_link *barriers;
    pthread_t apply_thread;
    pthread_t query_thread;

    struct backend backend;
    uint64_t index;
    uint64_t session[2]; /* this node's and another's */
    uint64_t seq[2];

    struct solo_applied applied[SOLO_MAX_COMMANDS];
    unsigned count;
    unsigned forgotten;
};

/* ---- The apply thread ---- */

static struct store_result apply(struct solo *s, struct buf *command, int who)
{
    struct solo_inside *in = s->inside;
    struct store_result result = {0};
    uint64_t seq = ++in->seq[who];
    command_seal(command, in->session[who], seq, seq);
    assert_true(command_stamp(command, clock_real_ns()));
    struct store_entry entry = {.index = ++in->index,
                                .term = 1,
                                .kind = STORE_ENTRY_COMMAND,
                                .data = command->data,
                                .bytes = command->bytes};
    int status = store_apply(s->store, &entry, 1, &result);
    if (status < 0)
        fail_msg("store_apply: %s", strerror(-status));
    return result;
}

static void record(struct solo_inside *in, const struct buf *encoded, int status)
{
    static uint32_t groups[COMMAND_MAX_GROUPS];
    struct command command;
    assert_true(command_decode(&command, groups, encoded->data, encoded->bytes));
    assert_true(in->count < SOLO_MAX_COMMANDS);
    in->applied[in->count++] = (struct solo_applied){.op = command.op,
                                                     .flags = command.flags,
                                                     .data_bytes = command.data_bytes,
                                                     .if_version = command.if_version,
                                                     .set = command.set,
                                                     .status = status};
    pthread_cond_broadcast(&in->cond);
}

/* Under the lock, which it drops meanwhile. */
static void answer_change(struct solo *s, struct job *job)
{
    struct solo_inside *in = s->inside;
    struct backend_change *change = job->change;
    struct buf *command = change->command;
    int status = in->change_status;
    struct store_result result = {0};
    pthread_mutex_unlock(&in->lock);
    if (status == 0)
        result = apply(s, command, 0);
    pthread_mutex_lock(&in->lock);
    record(in, command, status ? status : result.status);
    pthread_mutex_unlock(&in->lock);
    buf_unref(command);
    change->done(change, status, status ? NULL : &result);
    free(job);
    pthread_mutex_lock(&in->lock);
}

static void answer_elsewhere(struct solo *s, struct job *job)
{
    struct solo_inside *in = s->inside;
    pthread_mutex_unlock(&in->lock);
    *job->result = apply(s, job->command, 1);
    pthread_mutex_lock(&in->lock);
    *job->finished = true;
    pthread_cond_broadcast(&in->cond);
    buf_unref(job->command);
    free(job);
}

/* The first job that may be done now; what another node does is never held. */
static struct job *take_job(struct solo_inside *in)
{
    struct job **at = &in->jobs;
    while (*at && in->held && (*at)->change)
        at = &(*at)->next;
    struct job *job = *at;
    if (job)
        *at = job->next;
    return job;
}

static void *apply_thread(void *arg)
{
    struct solo *s = arg;
    struct solo_inside *in = s->inside;
    pthread_mutex_lock(&in->lock);
    while (!in->stopping) {
        struct job *job = take_job(in);
        if (!job)
            pthread_cond_wait(&in->cond, &in->lock);
        else if (job->change)
            answer_change(s, job);
        else
            answer_elsewhere(s, job);
    }
    pthread_mutex_unlock(&in->lock);
    return NULL;
}

static void add_job(struct solo_inside *in, struct job job)
{
    struct job *copy = malloc(sizeof(*copy));
    assert_non_null(copy);
    *copy = job;
    pthread_mutex_lock(&in->lock);
    struct job **at = &in->jobs;
    while (*at)
        at = &(*at)->next;
    *at = copy;
    pthread_cond_broadcast(&in->cond);
    pthread_mutex_unlock(&in->lock);
}

/* ---- The backend ---- */

static void *query_thread(void *arg)
{
    struct solo_inside *in = ((struct solo *)arg)->inside;
    pthread_mutex_lock(&in->lock);
    while (!in->stopping) {
        struct backend_barrier *barrier = (struct backend_barrier *)in->barriers;
        if (!barrier) {
            pthread_cond_wait(&in->cond, &in->lock);
            continue;
        }
        in->barriers = barrier->link.next;
        int status = in->barrier_status;
        pthread_mutex_unlock(&in->lock);
        barrier->done(barrier, status);
        pthread_mutex_lock(&in->lock);
    }
    pthread_mutex_unlock(&in->lock);
    return NULL;
}

static void on_barrier(void *ctx, struct backend_barrier *barrier)
{
    struct solo_inside *in = ctx;
    pthread_mutex_lock(&in->lock);
    in->blocked++;
    pthread_cond_broadcast(&in->cond);
    while (in->blocks)
        pthread_cond_wait(&in->cond, &in->lock);
    in->blocked--;
    barrier->link.next = in->barriers;
    in->barriers = &barrier->link;
    in->barriers_asked++;
    pthread_cond_broadcast(&in->cond);
    pthread_mutex_unlock(&in->lock);
}

static void on_change(void *ctx, struct backend_change *change)
{
    add_job(ctx, (struct job){.change = change});
}

static void on_cancel_barrier(void *ctx, struct backend_barrier *barrier)
{
    (void)ctx;
    (void)barrier; /* is answered soon anyway */
}

static void on_cancel_change(void *ctx, struct backend_change *change)
{
    struct solo_inside *in = ctx;
    pthread_mutex_lock(&in->lock);
    struct job **at = &in->jobs;
    while (*at && (*at)->change != change)
        at = &(*at)->next;
    struct job *job = *at;
    if (job) {
        *at = job->next;
        record(in, change->command, -EINTR);
    }
    pthread_mutex_unlock(&in->lock);
    if (!job)
        return;
    buf_unref(change->command);
    free(job);
    change->done(change, -EINTR, NULL);
}

static uint64_t on_session(void *ctx)
{
    return ((struct solo_inside *)ctx)->session[0];
}

static size_t on_status_text(void *ctx, char *out, size_t out_bytes)
{
    struct solo_inside *in = ctx;
    pthread_mutex_lock(&in->lock);
    int n = snprintf(out, out_bytes, "id: solo\nstate: leader\ncommands: %u\n", in->count);
    pthread_mutex_unlock(&in->lock);
    return (size_t)n;
}

static size_t on_leader_text(void *ctx, char *out, size_t out_bytes)
{
    struct solo_inside *in = ctx;
    pthread_mutex_lock(&in->lock);
    int n = snprintf(out, out_bytes, "%s", in->leader);
    pthread_mutex_unlock(&in->lock);
    return (size_t)n;
}

static size_t on_snapshot_text(void *ctx, char *out, size_t out_bytes)
{
    struct solo_inside *in = ctx;
    pthread_mutex_lock(&in->lock);
    int n = snprintf(out, out_bytes, "index: %u\n", in->snapshots);
    pthread_mutex_unlock(&in->lock);
    return (size_t)n;
}

/* Under the lock. node2 is the one that can be changed, "nobody" is no member. */
static int carry_out(struct solo_inside *in, const struct backend_order *order)
{
    switch (order->kind) {
    case BACKEND_ORDER_SNAPSHOT:
        in->snapshots++;
        return 0;
    case BACKEND_ORDER_TRANSFER:
        if (strcmp(order->name, "nobody") == 0)
            return -EINVAL;
        snprintf(in->leader, sizeof(in->leader), "%.32s somewhere:1\n", order->name);
        return 0;
    case BACKEND_ORDER_MEMBER:
        assert_string_equal(order->name, "node2");
        snprintf(in->second, sizeof(in->second), "%s", order->text);
        return 0;
    case BACKEND_ORDER_ADD:
        if (strcmp(order->name, "node2") != 0)
            return -EHOSTUNREACH;
        snprintf(in->second, sizeof(in->second), "%s", order->text);
        return 0;
    case BACKEND_ORDER_REMOVE:
        if (in->second[0] == '\0')
            return -ENOENT;
        in->second[0] = '\0';
        return 0;
    }
    return -EINVAL;
}

/* An order for "sleeper" is never carried out. */
static void on_order(void *ctx, struct backend_order *order)
{
    struct solo_inside *in = ctx;
    bool waits = strcmp(order->name, "sleeper") == 0;
    pthread_mutex_lock(&in->lock);
    in->sleepers += waits;
    int status = waits ? 0 : carry_out(in, order);
    pthread_cond_broadcast(&in->cond);
    pthread_mutex_unlock(&in->lock);
    if (!waits)
        order->done(order, status);
}

/* Only of an order that waits: the others have been done before anybody could be killed. */
static void on_cancel_order(void *ctx, struct backend_order *order)
{
    struct solo_inside *in = ctx;
    pthread_mutex_lock(&in->lock);
    in->sleepers--;
    pthread_mutex_unlock(&in->lock);
    order->done(order, -EINTR);
}

static bool on_member(void *ctx, unsigned k, char *name, size_t name_bytes, char *text,
                      size_t text_bytes)
{
    struct solo_inside *in = ctx;
    pthread_mutex_lock(&in->lock);
    bool there = k == 0 || (k == 1 && in->second[0]);
    snprintf(name, name_bytes, "node%u", k + 1);
    snprintf(text, text_bytes, "%s", k ? in->second : "127.0.0.1:8001 voter");
    pthread_mutex_unlock(&in->lock);
    return there;
}

/* ---- Set up and tear down ---- */

static bool is_open(void *ctx, uint64_t ino)
{
    struct solo *s = ctx;
    struct mount *fs = s->fs;
    return fs && mount_is_open(fs, ino);
}

static void on_touched(void *ctx, const struct store_touched *items, uint32_t count)
{
    struct solo *s = ctx;
    struct mount *fs = s->fs;
    if (fs)
        mount_touched(fs, items, count);
}

static void open_session(struct solo *s, int who)
{
    struct command command = {.op = COMMAND_SESSION,
                              .incarnation = (uint64_t)who + 1,
                              .boot = (uint64_t)who + 10,
                              .caller = {.uid = geteuid(), .gid = getegid()}};
    struct buf *encoded = command_encode(&command);
    assert_non_null(encoded);
    struct store_result result = apply(s, encoded, who);
    buf_unref(encoded);
    assert_int_equal(result.status, 0);
    s->inside->session[who] = result.session;
    s->inside->seq[who] = 0;
}

static void open_store(struct solo *s)
{
    char why[STORE_WHY_BYTES], path[80];
    snprintf(path, sizeof(path), "%s/data", s->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    struct store_options options = {.dir = path,
                                    .incarnation = 1,
                                    .create = true,
                                    .ctx = s,
                                    .is_open = is_open,
                                    .touched = on_touched};
    if (store_open(&options, &s->store, why) < 0)
        fail_msg("store_open: %s", why);
}

static void on_unmounted(void *ctx)
{
    struct solo_inside *in = ((struct solo *)ctx)->inside;
    pthread_mutex_lock(&in->lock);
    in->unmounted = true;
    pthread_cond_broadcast(&in->cond);
    pthread_mutex_unlock(&in->lock);
}

bool solo_was_unmounted(struct solo *s)
{
    struct solo_inside *in = s->inside;
    pthread_mutex_lock(&in->lock);
    while (!in->unmounted)
        pthread_cond_wait(&in->cond, &in->lock);
    pthread_mutex_unlock(&in->lock);
    return true;
}

void solo_mount(struct solo *s, const char *fuse_options)
{
    char why[MOUNT_WHY_BYTES];
    struct mount_options options = {.mountpoint = s->mount,
                                    .fuse_options = fuse_options,
                                    .no_spin = s->no_spin,
                                    .backend = &s->inside->backend,
                                    .on_unmounted = on_unmounted,
                                    .ctx = s};
    s->inside->unmounted = false;
    struct mount *fs;
    if (mount_prepare(s->mount, why) < 0 || mount_open(&options, &fs, why) < 0)
        fail_msg("%s", why);
    s->fs = fs; /* the changer's thread asks it whether files are open, and tells what it touched */
}

void solo_unmount(struct solo *s)
{
    struct mount *fs = s->fs;
    mount_close(fs);
    s->fs = NULL;
    mount_free(fs);
}

int solo_setup(void **state)
{
    *state = NULL;
    int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fuse < 0) {
        print_message("skipped: /dev/fuse cannot be opened (%s)\n", strerror(errno));
        return 0;
    }
    close(fuse);
    struct solo *s = calloc(1, sizeof(*s));
    s->inside = calloc(1, sizeof(*s->inside));
    struct solo_inside *in = s->inside;
    const char *tmp = getenv("TMPDIR");
    snprintf(s->dir, sizeof(s->dir), "%s/raftfs-mount-XXXXXX",
             tmp && strlen(tmp) < 32 ? tmp : "/tmp");
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->mount, sizeof(s->mount), "%s/mnt", s->dir);
    assert_int_equal(mkdir(s->mount, 0755), 0);
    open_store(s);
    open_session(s, 0);
    open_session(s, 1);
    pthread_mutex_init(&in->lock, NULL);
    pthread_cond_init(&in->cond, NULL);
    snprintf(in->leader, sizeof(in->leader), "solo 127.0.0.1:8001\n");
    snprintf(in->second, sizeof(in->second), "127.0.0.1:8002 nonvoter");
    in->backend = (struct backend){.ctx = in,
                                   .store = s->store,
                                   .barrier = on_barrier,
                                   .change = on_change,
                                   .order = on_order,
                                   .cancel_barrier = on_cancel_barrier,
                                   .cancel_change = on_cancel_change,
                                   .cancel_order = on_cancel_order,
                                   .session = on_session,
                                   .status_text = on_status_text,
                                   .leader_text = on_leader_text,
                                   .snapshot_text = on_snapshot_text,
                                   .member = on_member,
                                   .timeout_ms = 5000};
    assert_int_equal(pthread_create(&in->apply_thread, NULL, apply_thread, s), 0);
    assert_int_equal(pthread_create(&in->query_thread, NULL, query_thread, s), 0);
    solo_mount(s, "");
    *state = s;
    return 0;
}

static void stop_threads(struct solo_inside *in)
{
    pthread_mutex_lock(&in->lock);
    in->stopping = true;
    pthread_cond_broadcast(&in->cond);
    pthread_mutex_unlock(&in->lock);
    pthread_join(in->apply_thread, NULL);
    pthread_join(in->query_thread, NULL);
    pthread_cond_destroy(&in->cond);
    pthread_mutex_destroy(&in->lock);
}

int solo_teardown(void **state)
{
    struct solo *s = *state;
    if (!s)
        return 0;
    solo_hold(s, false);
    solo_block(s, false);
    if (s->fs)
        solo_unmount(s);
    stop_threads(s->inside);
    store_close(s->store);
    char command[128];
    snprintf(command, sizeof(command), "rm -rf --one-file-system '%s'", s->dir);
    int status = system(command);
    free(s->inside);
    free(s);
    return status;
}

/* ---- Switches ---- */

void solo_hold(struct solo *s, bool held)
{
    pthread_mutex_lock(&s->inside->lock);
    s->inside->held = held;
    pthread_cond_broadcast(&s->inside->cond);
    pthread_mutex_unlock(&s->inside->lock);
}

void solo_block(struct solo *s, bool blocks)
{
    pthread_mutex_lock(&s->inside->lock);
    s->inside->blocks = blocks;
    pthread_cond_broadcast(&s->inside->cond);
    pthread_mutex_unlock(&s->inside->lock);
}

void solo_await_blocked(struct solo *s, unsigned count)
{
    pthread_mutex_lock(&s->inside->lock);
    while (s->inside->blocked < count)
        pthread_cond_wait(&s->inside->cond, &s->inside->lock);
    pthread_mutex_unlock(&s->inside->lock);
}

void solo_fail_changes(struct solo *s, int status)
{
    pthread_mutex_lock(&s->inside->lock);
    s->inside->change_status = status;
    pthread_mutex_unlock(&s->inside->lock);
}

void solo_fail_barriers(struct solo *s, int status)
{
    pthread_mutex_lock(&s->inside->lock);
    s->inside->barrier_status = status;
    pthread_mutex_unlock(&s->inside->lock);
}

unsigned solo_barriers(struct solo *s)
{
    pthread_mutex_lock(&s->inside->lock);
    unsigned count = s->inside->barriers_asked;
    pthread_mutex_unlock(&s->inside->lock);
    return count;
}

void solo_set_leader(struct solo *s, const char *text)
{
    pthread_mutex_lock(&s->inside->lock);
    snprintf(s->inside->leader, sizeof(s->inside->leader), "%s", text);
    pthread_mutex_unlock(&s->inside->lock);
    mount_state_changed(s->fs);
}

/* ---- What was applied ---- */

void solo_forget(struct solo *s)
{
    pthread_mutex_lock(&s->inside->lock);
    s->inside->forgotten = s->inside->count;
    pthread_mutex_unlock(&s->inside->lock);
}

unsigned solo_count(struct solo *s)
{
    pthread_mutex_lock(&s->inside->lock);
    unsigned count = s->inside->count - s->inside->forgotten;
    pthread_mutex_unlock(&s->inside->lock);
    return count;
}

struct solo_applied solo_nth(struct solo *s, unsigned n)
{
    assert_true(n < solo_count(s));
    return s->inside->applied[s->inside->forgotten + n];
}

void solo_await_count(struct solo *s, unsigned count)
{
    struct solo_inside *in = s->inside;
    pthread_mutex_lock(&in->lock);
    while (in->count - in->forgotten < count)
        pthread_cond_wait(&in->cond, &in->lock);
    pthread_mutex_unlock(&in->lock);
}

static unsigned waiting(const struct solo_inside *in)
{
    unsigned count = in->sleepers;
    for (const struct job *job = in->jobs; job; job = job->next)
        count += job->change != NULL;
    return count;
}

void solo_await_waiting(struct solo *s, unsigned count)
{
    struct solo_inside *in = s->inside;
    pthread_mutex_lock(&in->lock);
    while (waiting(in) < count)
        pthread_cond_wait(&in->cond, &in->lock);
    pthread_mutex_unlock(&in->lock);
}

struct store_result solo_elsewhere(struct solo *s, const struct command *command)
{
    struct store_result result;
    struct buf *encoded = command_encode(command);
    bool finished = false;
    assert_non_null(encoded);
    add_job(s->inside, (struct job){.command = encoded, .result = &result, .finished = &finished});
    pthread_mutex_lock(&s->inside->lock);
    while (!finished)
        pthread_cond_wait(&s->inside->cond, &s->inside->lock);
    pthread_mutex_unlock(&s->inside->lock);
    return result;
}

static struct store_attr attr_of(struct solo *s, const char *name)
{
    struct store_attr attr;
    assert_int_equal(store_lookup(s->store, STORE_ROOT_INO, name, strlen(name), &attr), 0);
    return attr;
}

void solo_write_elsewhere(struct solo *s, const char *name, const char *value)
{
    struct command command = {.op = COMMAND_WRITE,
                              .flags = COMMAND_TRUNCATE,
                              .ino = attr_of(s, name).ino,
                              .data = value,
                              .data_bytes = (uint32_t)strlen(value)};
    assert_int_equal(solo_elsewhere(s, &command).status, 0);
}

void solo_create_elsewhere(struct solo *s, const char *name, const char *value)
{
    static uint32_t counter;
    struct command command = {.op = COMMAND_CREATE,
                              .flags = COMMAND_WITH_DATA,
                              .parent = STORE_ROOT_INO,
                              .name = name,
                              .name_bytes = (uint8_t)strlen(name),
                              .ino = s->inside->session[1] << 32 | ++counter,
                              .mode = 0644,
                              .data = value,
                              .data_bytes = (uint32_t)strlen(value)};
    assert_int_equal(solo_elsewhere(s, &command).status, 0);
}

void solo_unlink_elsewhere(struct solo *s, const char *name)
{
    struct command command = {.op = COMMAND_UNLINK,
                              .parent = STORE_ROOT_INO,
                              .name = name,
                              .name_bytes = (uint8_t)strlen(name)};
    assert_int_equal(solo_elsewhere(s, &command).status, 0);
}

const char *solo_value(struct solo *s, const char *name)
{
    static char value[SOLO_OUT_BYTES];
    struct store_attr attr;
    size_t got;
    if (store_lookup(s->store, STORE_ROOT_INO, name, strlen(name), &attr) < 0)
        return "?";
    assert_int_equal(store_read(s->store, attr.ino, 0, sizeof(value) - 1, value, &got, &attr), 0);
    value[got] = '\0';
    return value;
}
