/* SPDX-License-Identifier: MIT */
/* startup.c - a new log, or an old one recovered, and the core that starts on it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/report.h"
#include "raft/internal.h"

enum { TERM_RUNS = 16384, ENTRY_SIZES = 65536 };

/* ---- The log ---- */

struct founding {
    pthread_mutex_t lock;
    pthread_cond_t durable;
    bool done;
};

static void on_founded(void *ctx, uint64_t write_id)
{
    (void)write_id;
    struct founding *f = ctx;
    pthread_mutex_lock(&f->lock);
    f->done = true;
    pthread_cond_signal(&f->durable);
    pthread_mutex_unlock(&f->lock);
}

/* The term of an entry that the log holds, or of its base. */
static uint64_t term_at(const struct raft_log_recovered *log, uint64_t index)
{
    uint64_t term = log->base_term;
    for (uint32_t i = 0; i < log->run_count && log->runs[i].first <= index; i++)
        term = log->runs[i].term;
    return term;
}

static int catch_up(const struct raft_log_recovered *log, struct raft_driver_start *start,
                    char why[RAFT_DRIVER_WHY_BYTES])
{
    uint64_t stood_at = start->applied_index;
    int status = start->catch_up(start->ctx, log->base_index, start);
    if (status == 0 && start->applied_index >= log->base_index)
        return 0;
    snprintf(
        why, RAFT_DRIVER_WHY_BYTES,
        "%s begins behind entry %ju but store.db ends at %ju, and no snapshot bridges that: %s",
        start->log_dir, (uintmax_t)log->base_index, (uintmax_t)stood_at,
        strerror(status < 0 ? -status : ENOENT));
    return -EUCLEAN;
}

static int start_over(struct raft_log *log, struct raft_log_recovered *recovered,
                      const struct raft_driver_start *start, char why[RAFT_DRIVER_WHY_BYTES])
{
    report_warn("log: the state machine is at entry %ju, which the log, that ends at %ju, does not "
                "hold: the log starts over behind it",
                (uintmax_t)start->applied_index, (uintmax_t)recovered->last_index);
    int status = start->sync(start->ctx);
    if (status < 0) {
        snprintf(why, RAFT_DRIVER_WHY_BYTES,
                 "%s cannot be started over, since store.db cannot be synced: %s", start->log_dir,
                 strerror(-status));
        return status;
    }
    raft_log_restart(log, start->applied_index, start->applied_term);
    *recovered = (struct raft_log_recovered){.hard = recovered->hard,
                                             .base_index = start->applied_index,
                                             .base_term = start->applied_term,
                                             .last_index = start->applied_index};
    return 0;
}

/*
 * Log and state machine must meet. A power cut may take the log's tail and leave what was applied
 * of it, or end an installation between the store's change and the log's: the log then starts over
 * behind the state machine. The other way round, a snapshot brings the state machine forward.
 */
static int align_log(struct raft_log *log, struct raft_log_recovered *recovered,
                     struct raft_driver_start *start, char why[RAFT_DRIVER_WHY_BYTES])
{
    int status = 0;
    if (start->applied_index < recovered->base_index)
        status = catch_up(recovered, start, why);
    if (status < 0)
        return status;
    bool held = start->applied_index <= recovered->last_index &&
                term_at(recovered, start->applied_index) == start->applied_term;
    return held ? 0 : start_over(log, recovered, start, why);
}

/* Opens a log, which `create` makes; its writes are waited for with write_and_wait(). */
static int open_log(const char *log_dir, raft_id id, bool create, struct founding *f,
                    struct raft_log **log, struct raft_log_recovered *recovered,
                    char why[RAFT_DRIVER_WHY_BYTES])
{
    *f = (struct founding){PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
    struct raft_log_options options = {
        .dir = log_dir, .incarnation = id, .create = create, .ctx = f, .on_durable = on_founded};
    return raft_log_open(&options, log, recovered, why);
}

static void write_and_wait(struct raft_log *log, struct founding *f,
                           const struct raft_log_write *write)
{
    raft_log_submit(log, write);
    pthread_mutex_lock(&f->lock);
    while (!f->done)
        pthread_cond_wait(&f->durable, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

/* Appends, in a new term, the configuration whose one voter is this node. */
static void append_alone(struct raft_log *log, struct founding *f,
                         const struct raft_net_identity *self, uint64_t last_index, uint64_t term)
{
    struct raft_config config = {.count = 1};
    uint8_t encoded[RAFT_MAX_CONFIG_BYTES];
    config.members[0] = (struct raft_member){.id = self->id, .voter = true};
    memcpy(config.members[0].name, self->name, sizeof(self->name));
    memcpy(config.members[0].address, self->address, sizeof(self->address));
    size_t bytes = raft_config_encode(&config, encoded, sizeof(encoded));
    struct raft_entry entry = {.index = last_index + 1,
                               .term = term + 1,
                               .kind = RAFT_ENTRY_CONFIG,
                               .payload = buf_copy(encoded, (uint32_t)bytes)};
    write_and_wait(
        log, f,
        &(struct raft_log_write){
            .id = 1, .count = 1, .entries = &entry, .has_hard = true, .hard = {.term = term + 1}});
    buf_unref(entry.payload);
}

int raft_driver_make_log(const char *log_dir, raft_id id, char why[RAFT_DRIVER_WHY_BYTES])
{
    struct founding f;
    struct raft_log *log;
    struct raft_log_recovered recovered;
    int status = open_log(log_dir, id, true, &f, &log, &recovered, why);
    if (status == 0)
        raft_log_close(log);
    return status;
}

int raft_driver_found(const char *log_dir, const struct raft_net_identity *founder,
                      char why[RAFT_DRIVER_WHY_BYTES])
{
    struct founding f;
    struct raft_log *log;
    struct raft_log_recovered recovered;
    int status = open_log(log_dir, founder->id, true, &f, &log, &recovered, why);
    if (status < 0)
        return status;
    append_alone(log, &f, founder, 0, 0);
    raft_log_close(log);
    return 0;
}

int raft_driver_recover(struct raft_driver_start *start, const struct raft_net_identity *survivor,
                        char why[RAFT_DRIVER_WHY_BYTES])
{
    struct founding f;
    struct raft_log *log;
    struct raft_log_recovered recovered;
    int status = open_log(start->log_dir, survivor->id, false, &f, &log, &recovered, why);
    if (status < 0)
        return status;
    status = align_log(log, &recovered, start, why);
    /* A log that was just made knows no term, the entry that it begins behind has one. */
    uint64_t term =
        recovered.hard.term > recovered.base_term ? recovered.hard.term : recovered.base_term;
    if (status == 0)
        append_alone(log, &f, survivor, recovered.last_index, term);
    raft_log_close(log);
    return status;
}

/* ---- The core ---- */

static void init_core(struct raft_driver *d, bool lease)
{
    struct raft_options options = {.id = d->identity.id,
                                   .heartbeat_us = RAFT_DRIVER_HEARTBEAT_US,
                                   .election_us = RAFT_DRIVER_ELECTION_US,
                                   .lease_us = RAFT_DRIVER_LEASE_US,
                                   .grant_us = RAFT_DRIVER_GRANT_US,
                                   .lease = lease,
                                   .term_run_capacity = TERM_RUNS,
                                   .entry_size_capacity = ENTRY_SIZES};
    if (getrandom(&options.seed, sizeof(options.seed), 0) != sizeof(options.seed))
        options.seed = clock_real_ns() ^ d->identity.id;
    d->core = raft_init(memory_alloc(raft_bytes(&options)), &options);
    d->out = memory_alloc(sizeof(*d->out));
    raft_outbox_init(&d->outbox);
}

/* A configuration that was on file; false if its bytes are none. */
static bool load_config(const struct buf *encoded, struct raft_config *config)
{
    return encoded && raft_config_decode(config, encoded->data, encoded->bytes);
}

/* The two newest configurations known, from the log and from the state machine. */
static void fill_configs(struct raft_event *event, const struct raft_log_recovered *log,
                         const struct raft_driver_start *start, struct raft_config configs[2])
{
    unsigned found = 0;
    uint64_t indexes[2] = {0};
    for (unsigned k = 0; k < 2; k++)
        if (load_config(log->configs[k].payload, &configs[found]))
            indexes[found++] = log->configs[k].index;
    uint64_t oldest = found ? indexes[found - 1] : UINT64_MAX;
    if (found < 2 && start->config_index < oldest && load_config(start->config, &configs[found]))
        indexes[found++] = start->config_index;
    event->start.config_index = indexes[0];
    event->start.config = found > 0 ? &configs[0] : NULL;
    event->start.previous_config_index = indexes[1];
    event->start.previous_config = found > 1 ? &configs[1] : NULL;
}

int raft_driver_start(struct raft_driver *d, struct raft_driver_start *start,
                      char why[RAFT_DRIVER_WHY_BYTES])
{
    struct raft_log_recovered recovered;
    struct raft_log_options options = {.dir = start->log_dir,
                                       .incarnation = d->identity.id,
                                       .direct = true,
                                       .ctx = d,
                                       .on_durable = raft_driver_on_durable,
                                       .on_space = raft_driver_on_space};
    int status = raft_log_open(&options, &d->log, &recovered, why);
    if (status == 0)
        raft_driver_watch_log(d);
    if (status == 0)
        status = align_log(d->log, &recovered, start, why);
    if (status < 0)
        return status;

    struct raft_config *configs = memory_zalloc(2 * sizeof(*configs));
    struct raft_event event = {.kind = RAFT_START,
                               .start = {.hard = recovered.hard,
                                         .base_index = recovered.base_index,
                                         .base_term = recovered.base_term,
                                         .last_index = recovered.last_index,
                                         .applied_index = start->applied_index,
                                         .run_count = recovered.run_count,
                                         .runs = recovered.runs}};
    fill_configs(&event, &recovered, start, configs);
    d->handed_index = d->applied_index = start->applied_index;
    raft_cache_init(&d->cache, recovered.last_index);
    init_core(d, start->lease);
    raft_driver_step(d, &event);
    raft_driver_adopt_members(d);
    memory_free(configs);
    return 0;
}
