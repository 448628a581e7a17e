/* SPDX-License-Identifier: MIT */
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"

/* What the log's threads report. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t ids[FIXTURE_MAX_DURABLE];
    uint32_t id_count;
    bool full;
} durable = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

struct reply {
    bool done;
    int status;
    uint32_t count;
    struct raft_entry entries[RAFT_MAX_APPEND_ENTRIES];
};

int fixture_setup(void **state)
{
    struct fixture *f = memory_zalloc(sizeof(*f));
    const char *tmp = getenv("TMPDIR");
    if (!tmp && access("/dev/shm", W_OK) == 0)
        tmp = "/dev/shm"; /* thousands of small files; no test asks what the disk really keeps */
    snprintf(f->top, sizeof(f->top), "%s/raftfs-log-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(f->top))
        return -1;
    snprintf(f->dir, sizeof(f->dir), "%s/log", f->top);
    f->segment_bytes = 64 * 1024;
    f->next_id = 1;
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    char command[FIXTURE_PATH_BYTES + 16];
    if (f->log)
        raft_log_close(f->log);
    snprintf(command, sizeof(command), "rm -rf '%s'", f->top);
    memory_free(f);
    return system(command);
}

/* ---- The model ---- */

struct buf *fixture_payload(uint64_t index, const struct model_entry *e)
{
    if (e->kind == RAFT_ENTRY_NOOP)
        return NULL;
    struct buf *b = buf_new(e->bytes);
    uint64_t x = index * 0x9e3779b97f4a7c15u + e->term * 1000003;
    for (uint32_t i = 0; i < e->bytes; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        b->data[i] = (uint8_t)x;
    }
    return b;
}

void fixture_model(struct model *m, const struct fixture_write *w)
{
    if (w->restart_index) {
        assert_true(w->restart_index < FIXTURE_MAX_ENTRIES);
        m->base_index = m->last_index = w->restart_index;
        m->entries[w->restart_index].term = w->restart_term;
    }
    if (w->truncate_from)
        m->last_index = w->truncate_from - 1;
    for (uint32_t i = 0; i < w->count; i++) {
        assert_true(++m->last_index < FIXTURE_MAX_ENTRIES);
        m->entries[m->last_index] =
            (struct model_entry){.term = w->term,
                                 .kind = w->kind ? w->kind : RAFT_ENTRY_COMMAND,
                                 .bytes = w->bytes ? w->bytes[i] : 0};
    }
    if (w->hard.term)
        m->hard = w->hard;
}

static uint64_t recovered_term(const struct raft_log_recovered *r, uint64_t index)
{
    uint64_t term = r->base_term;
    for (uint32_t i = 0; i < r->run_count && r->runs[i].first <= index; i++)
        term = r->runs[i].term;
    return term;
}

static void check_configs(struct fixture *f)
{
    uint64_t index = f->model.last_index;
    for (uint32_t k = 0; k < 2; k++, index--) {
        const struct raft_entry *found = &f->recovered.configs[k];
        while (index > f->model.base_index && f->model.entries[index].kind != RAFT_ENTRY_CONFIG)
            index--;
        if (index <= f->model.base_index) {
            assert_null(found->payload);
            index = f->model.base_index + 1;
            continue;
        }
        struct buf *want = fixture_payload(index, &f->model.entries[index]);
        assert_int_equal(found->index, index);
        assert_int_equal(found->term, f->model.entries[index].term);
        assert_int_equal(found->kind, RAFT_ENTRY_CONFIG);
        assert_non_null(found->payload);
        assert_int_equal(found->payload->bytes, want->bytes);
        assert_memory_equal(found->payload->data, want->data, want->bytes);
        buf_unref(want);
    }
}

static void check_recovered(struct fixture *f)
{
    const struct raft_log_recovered *r = &f->recovered;
    const struct model *m = &f->model;
    assert_int_equal(r->base_index, m->base_index);
    assert_int_equal(r->base_term, m->entries[m->base_index].term);
    assert_int_equal(r->last_index, m->last_index);
    assert_int_equal(r->hard.term, m->hard.term);
    assert_int_equal(r->hard.vote, m->hard.vote);
    for (uint64_t i = m->base_index + 1; i <= m->last_index; i++)
        assert_int_equal(recovered_term(r, i), m->entries[i].term);
    check_configs(f);
}

/* ---- Opening and closing ---- */

static void on_durable(void *ctx, uint64_t id)
{
    struct fixture *f = ctx;
    if (f->on_durable)
        f->on_durable(f, id);
    pthread_mutex_lock(&durable.lock);
    if (durable.id_count < FIXTURE_MAX_DURABLE)
        durable.ids[durable.id_count++] = id;
    pthread_cond_broadcast(&durable.changed);
    pthread_mutex_unlock(&durable.lock);
}

static void on_space(void *ctx, bool full)
{
    (void)ctx;
    pthread_mutex_lock(&durable.lock);
    assert_true(full != durable.full);
    durable.full = full;
    pthread_cond_broadcast(&durable.changed);
    pthread_mutex_unlock(&durable.lock);
}

int fixture_try_open(struct fixture *f, bool create)
{
    struct raft_log_options options = {.dir = f->dir,
                                       .incarnation = FIXTURE_INCARNATION,
                                       .create = create,
                                       .segment_bytes = f->segment_bytes,
                                       .direct = f->direct,
                                       .ctx = f,
                                       .on_durable = on_durable,
                                       .on_space = on_space};
    durable.id_count = 0;
    durable.full = false;
    f->why[0] = '\0';
    f->log = NULL;
    return raft_log_open(&options, &f->log, &f->recovered, f->why);
}

static void open_good(struct fixture *f, bool create)
{
    int status = fixture_try_open(f, create);
    if (status < 0)
        fail_msg("%s: %s", strerror(-status), f->why);
}

void fixture_open(struct fixture *f, bool create)
{
    open_good(f, create);
    check_recovered(f);
    fixture_read_all(f);
}

void fixture_open_compacted(struct fixture *f, uint64_t index)
{
    open_good(f, false);
    assert_true(f->recovered.base_index <= index);
    f->model.base_index = f->recovered.base_index;
    check_recovered(f);
    fixture_read_all(f);
}

void fixture_close(struct fixture *f)
{
    raft_log_close(f->log);
    f->log = NULL;
}

void fixture_reopen(struct fixture *f)
{
    fixture_close(f);
    fixture_open(f, false);
}

/* ---- Writing ---- */

uint64_t fixture_submit(struct fixture *f, const struct fixture_write *w)
{
    uint64_t id = f->next_id++;
    struct raft_entry *entries = memory_alloc((w->count + 1) * sizeof(*entries));
    fixture_model(&f->model, w);
    for (uint32_t i = 0; i < w->count; i++) {
        uint64_t index = f->model.last_index - w->count + 1 + i;
        const struct model_entry *e = &f->model.entries[index];
        entries[i] = (struct raft_entry){
            .index = index, .term = e->term, .kind = e->kind, .payload = fixture_payload(index, e)};
    }
    raft_log_submit(f->log, &(struct raft_log_write){.id = id,
                                                     .restart_index = w->restart_index,
                                                     .restart_term = w->restart_term,
                                                     .truncate_from = w->truncate_from,
                                                     .count = w->count,
                                                     .entries = entries,
                                                     .has_hard = w->hard.term != 0,
                                                     .hard = w->hard,
                                                     .reserve = w->reserve});
    for (uint32_t i = 0; i < w->count; i++)
        buf_unref(entries[i].payload);
    memory_free(entries);
    return id;
}

void fixture_append(struct fixture *f, uint64_t term, enum raft_entry_kind kind, uint32_t bytes)
{
    fixture_wait_durable(
        f, fixture_submit(f, &(struct fixture_write){
                                 .term = term, .count = 1, .bytes = &bytes, .kind = kind}));
}

void fixture_wait_durable(struct fixture *f, uint64_t id)
{
    (void)f;
    pthread_mutex_lock(&durable.lock);
    while (durable.id_count == 0 || durable.ids[durable.id_count - 1] < id)
        pthread_cond_wait(&durable.changed, &durable.lock);
    pthread_mutex_unlock(&durable.lock);
}

void fixture_wait_space(struct fixture *f, bool full)
{
    (void)f;
    pthread_mutex_lock(&durable.lock);
    while (durable.full != full)
        pthread_cond_wait(&durable.changed, &durable.lock);
    pthread_mutex_unlock(&durable.lock);
}

uint32_t fixture_durable(struct fixture *f, uint64_t ids[FIXTURE_MAX_DURABLE])
{
    (void)f;
    pthread_mutex_lock(&durable.lock);
    uint32_t count = durable.id_count;
    memcpy(ids, durable.ids, count * sizeof(*ids));
    pthread_mutex_unlock(&durable.lock);
    return count;
}

/* ---- Reading ---- */

static void on_read(void *ctx, int status, struct raft_entry *entries, uint32_t count)
{
    struct reply *r = ctx;
    pthread_mutex_lock(&durable.lock);
    r->status = status;
    r->count = count;
    memcpy(r->entries, entries, count * sizeof(*entries));
    r->done = true;
    pthread_cond_broadcast(&durable.changed);
    pthread_mutex_unlock(&durable.lock);
}

static void check_entry(const struct model *m, uint64_t index, const struct raft_entry *got)
{
    const struct model_entry *want = &m->entries[index];
    struct buf *payload = fixture_payload(index, want);
    assert_int_equal(got->index, index);
    assert_int_equal(got->term, want->term);
    assert_int_equal(got->kind, want->kind);
    assert_int_equal(got->payload != NULL, payload != NULL);
    if (payload) {
        assert_int_equal(got->payload->bytes, payload->bytes);
        assert_memory_equal(got->payload->data, payload->data, payload->bytes);
    }
    buf_unref(payload);
}

int fixture_read(struct fixture *f, uint64_t first, uint64_t last, uint32_t *count)
{
    struct reply r = {.done = false};
    raft_log_read(f->log, &(struct raft_log_read){
                              .first = first, .last = last, .ctx = &r, .on_read = on_read});
    pthread_mutex_lock(&durable.lock);
    while (!r.done)
        pthread_cond_wait(&durable.changed, &durable.lock);
    pthread_mutex_unlock(&durable.lock);
    assert_true((r.status == 0) == (r.count > 0));
    assert_true(r.count == 0 || r.count <= last - first + 1);
    for (uint32_t i = 0; i < r.count; i++) {
        check_entry(&f->model, first + i, &r.entries[i]);
        buf_unref(r.entries[i].payload);
    }
    *count = r.count;
    return r.status;
}

void fixture_read_all(struct fixture *f)
{
    uint32_t count;
    for (uint64_t at = f->model.base_index + 1; at <= f->model.last_index; at += count)
        assert_int_equal(fixture_read(f, at, f->model.last_index, &count), 0);
}

/* ---- Files ---- */

uint32_t fixture_segments(struct fixture *f, uint64_t *first, uint64_t *last)
{
    uint32_t count = 0;
    DIR *d = opendir(f->dir);
    assert_non_null(d);
    *first = UINT64_MAX;
    *last = 0;
    for (struct dirent *e; (e = readdir(d));) {
        char *end;
        uint64_t number = strtoull(e->d_name, &end, 10);
        if (end == e->d_name || strcmp(end, ".seg") != 0)
            continue;
        count++;
        *first = number < *first ? number : *first;
        *last = number > *last ? number : *last;
    }
    closedir(d);
    return count;
}

void fixture_wait_first(struct fixture *f, uint64_t number)
{
    uint64_t first, last;
    while (fixture_segments(f, &first, &last) == 0 || first != number)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

void fixture_segment(struct fixture *f, uint64_t number, char path[FIXTURE_PATH_BYTES * 2])
{
    uint64_t first, last;
    fixture_segments(f, &first, &last);
    snprintf(path, FIXTURE_PATH_BYTES * 2, "%s/%08" PRIu64 ".seg", f->dir, number ? number : last);
}

void fixture_clear(struct fixture *f)
{
    DIR *d = opendir(f->dir);
    if (!d) {
        assert_int_equal(mkdir(f->dir, 0700), 0);
        return;
    }
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            assert_int_equal(unlinkat(dirfd(d), e->d_name, 0), 0);
    closedir(d);
}

uint8_t *fixture_load(const char *path, uint32_t *bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    off_t size = lseek(fd, 0, SEEK_END);
    uint8_t *data = memory_alloc((size_t)size);
    assert_int_equal(pread(fd, data, (size_t)size, 0), size);
    close(fd);
    *bytes = (uint32_t)size;
    return data;
}

void fixture_store(const char *path, const void *data, uint32_t bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, bytes), bytes);
    close(fd);
}
