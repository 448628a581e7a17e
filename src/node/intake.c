/* SPDX-License-Identifier: MIT */
#include "node/intake.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>

#include "base/memory.h"
#include "base/thread.h"
#include "store/snapshot_sink.h"
#include "store/snapshot_source.h"

struct intake {
    char *dir;
    void (*wake)(void *ctx);
    void *ctx;
    pthread_t thread;
    struct snapshot_sink *sink; /* the thread's own; NULL: none is open */

    pthread_mutex_t lock;
    pthread_cond_t started;
    bool closing;
    bool running; /* `job` is to be done, or being done */
    bool done;    /* `result` was not taken yet */
    struct intake_job job;
    struct intake_result result;
};

static void close_sink(struct intake *in)
{
    if (in->sink)
        snapshot_sink_close(in->sink);
    in->sink = NULL;
}

static int open_sink(struct intake *in, const struct snapshot *what, uint64_t *offset)
{
    close_sink(in);
    int status = snapshot_sink_open(&in->sink, in->dir, what);
    if (status < 0)
        in->sink = NULL;
    else
        *offset = snapshot_sink_offset(in->sink);
    return status;
}

static bool find_whole(struct intake *in, const struct intake_job *job, struct snapshot *out)
{
    struct snapshot_source *source;
    if (snapshot_source_open(&source, in->dir, 0, job->need_index) < 0)
        return false;
    *out = *snapshot_source_info(source);
    snapshot_source_close(source);
    return job->damaged_id == 0 || out->id != job->damaged_id;
}

static int look(struct intake *in, const struct intake_job *job, struct intake_result *result)
{
    close_sink(in);
    result->whole = find_whole(in, job, &result->snapshot);
    if (result->whole)
        return 0;
    int status = snapshot_sink_left(in->dir, &result->snapshot);
    if (status == 0 && result->snapshot.index < job->need_index)
        status = -ENOENT;
    return status < 0 ? status : open_sink(in, &result->snapshot, &result->offset);
}

static int write_piece(struct intake *in, const struct intake_job *job, uint64_t *offset)
{
    if (!in->sink)
        return -EBADF;
    int status = snapshot_sink_write(in->sink, job->offset, job->data->data, job->data->bytes);
    *offset = snapshot_sink_offset(in->sink);
    return status;
}

static int finish(struct intake *in, struct snapshot *out)
{
    if (!in->sink)
        return -EBADF;
    int status = snapshot_sink_finish(in->sink, out);
    if (status == -EUCLEAN)
        snapshot_sink_discard(in->sink);
    else
        snapshot_sink_close(in->sink);
    in->sink = NULL;
    return status;
}

static void do_job(struct intake *in, const struct intake_job *job, struct intake_result *result)
{
    *result = (struct intake_result){.kind = job->kind};
    switch (job->kind) {
    case INTAKE_LOOK:
        result->status = look(in, job, result);
        break;
    case INTAKE_OPEN:
        result->status = open_sink(in, &job->what, &result->offset);
        break;
    case INTAKE_WRITE:
        result->status = write_piece(in, job, &result->offset);
        break;
    case INTAKE_FINISH:
        result->status = finish(in, &result->snapshot);
        break;
    case INTAKE_CLOSE:
        close_sink(in);
        break;
    case INTAKE_DISCARD:
        if (in->sink)
            snapshot_sink_discard(in->sink);
        in->sink = NULL;
        break;
    }
}

static void *intake_thread(void *arg)
{
    struct intake *in = arg;
    struct intake_result result;
    pthread_mutex_lock(&in->lock);
    while (!in->closing) {
        if (!in->running || in->done) {
            pthread_cond_wait(&in->started, &in->lock);
            continue;
        }
        pthread_mutex_unlock(&in->lock);
        do_job(in, &in->job, &result);
        buf_unref(in->job.data);
        pthread_mutex_lock(&in->lock);
        in->job.data = NULL;
        in->result = result;
        in->done = true;
        in->wake(in->ctx);
    }
    pthread_mutex_unlock(&in->lock);
    close_sink(in);
    return NULL;
}

struct intake *intake_init(const char *dir, void (*wake)(void *ctx), void *ctx)
{
    struct intake *in = memory_zalloc(sizeof(*in));
    in->dir = memory_strdup(dir);
    in->wake = wake;
    in->ctx = ctx;
    pthread_mutex_init(&in->lock, NULL);
    pthread_cond_init(&in->started, NULL);
    thread_start(&in->thread, "intake", intake_thread, in);
    return in;
}

void intake_close(struct intake *in)
{
    pthread_mutex_lock(&in->lock);
    in->closing = true;
    pthread_cond_signal(&in->started);
    pthread_mutex_unlock(&in->lock);
    pthread_join(in->thread, NULL);
    buf_unref(in->job.data);
    pthread_cond_destroy(&in->started);
    pthread_mutex_destroy(&in->lock);
    memory_free(in->dir);
    memory_free(in);
}

void intake_start(struct intake *in, const struct intake_job *job)
{
    pthread_mutex_lock(&in->lock);
    assert(!in->running);
    in->running = true;
    in->job = *job;
    pthread_cond_signal(&in->started);
    pthread_mutex_unlock(&in->lock);
}

bool intake_done(struct intake *in, struct intake_result *result)
{
    pthread_mutex_lock(&in->lock);
    bool done = in->done;
    if (done) {
        *result = in->result;
        in->done = in->running = false;
    }
    pthread_mutex_unlock(&in->lock);
    return done;
}
