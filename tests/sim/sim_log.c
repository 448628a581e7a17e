/* SPDX-License-Identifier: MIT */
#include "sim_log.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"

/* ---- Configurations ---- */

const struct sim_config *sim_configs_add(struct sim_configs *configs, const uint8_t *data,
                                         uint32_t bytes)
{
    struct sim_config *c = memory_alloc(sizeof(*c) + bytes);
    if (!raft_config_decode(&c->decoded, data, bytes)) {
        memory_free(c);
        return NULL;
    }
    c->bytes = bytes;
    memcpy(c->data, data, bytes);
    c->next = configs->newest;
    configs->newest = c;
    return c;
}

void sim_configs_clear(struct sim_configs *configs)
{
    for (struct sim_config *c = configs->newest, *next; c; c = next) {
        next = c->next;
        memory_free(c);
    }
    configs->newest = NULL;
}

/* ---- The log ---- */

void sim_log_append(struct sim_log *log, const struct sim_entry *entry)
{
    if (log->last == log->capacity) {
        log->capacity = log->capacity ? 2 * log->capacity : 256;
        log->entries = memory_realloc(log->entries, log->capacity * sizeof(log->entries[0]));
    }
    log->entries[log->last++] = *entry;
}

void sim_log_truncate(struct sim_log *log, uint64_t from)
{
    assert(from > log->base);
    if (from <= log->last)
        log->last = from - 1;
}

void sim_log_compact(struct sim_log *log, uint64_t index)
{
    assert(index <= log->last);
    if (index > log->base)
        log->base = index;
}

void sim_log_restart(struct sim_log *log, const struct sim_entry *prefix, uint64_t index)
{
    log->base = 0;
    log->last = 0;
    for (uint64_t i = 0; i < index; i++)
        sim_log_append(log, &prefix[i]);
    log->base = index;
}

void sim_log_close(struct sim_log *log)
{
    memory_free(log->entries);
    *log = (struct sim_log){0};
}

const struct sim_entry *sim_log_at(const struct sim_log *log, uint64_t index)
{
    assert(index > 0 && index <= log->last);
    return &log->entries[index - 1];
}

uint64_t sim_log_term(const struct sim_log *log, uint64_t index)
{
    return index == 0 || index > log->last ? 0 : log->entries[index - 1].term;
}

uint64_t sim_log_config_index(const struct sim_log *log, uint64_t index)
{
    if (index > log->last)
        index = log->last;
    while (index > 0 && log->entries[index - 1].kind != RAFT_ENTRY_CONFIG)
        index--;
    return index;
}

/* ---- The disk ---- */

void sim_disk_init(struct sim_disk *disk)
{
    *disk = (struct sim_disk){0};
    disk->queue_end = &disk->queue;
}

static void free_write(struct sim_write *w)
{
    memory_free(w->prefix);
    memory_free(w);
}

static void drop_queue(struct sim_disk *disk)
{
    for (struct sim_write *w = disk->queue, *next; w; w = next) {
        next = w->next;
        free_write(w);
    }
    disk->queue = NULL;
    disk->queue_end = &disk->queue;
    disk->queued = 0;
    disk->in_flight = 0;
}

void sim_disk_close(struct sim_disk *disk)
{
    drop_queue(disk);
    sim_log_close(&disk->log);
}

void sim_disk_submit(struct sim_disk *disk, struct sim_write *write)
{
    write->next = NULL;
    *disk->queue_end = write;
    disk->queue_end = &write->next;
    disk->queued++;
}

bool sim_disk_begin(struct sim_disk *disk, uint32_t most)
{
    if (disk->in_flight || !disk->queued)
        return false;
    disk->in_flight = most < disk->queued ? most : disk->queued;
    return true;
}

static void make_durable(struct sim_disk *disk, const struct sim_write *w)
{
    if (w->restart_index)
        sim_log_restart(&disk->log, w->prefix, w->restart_index);
    if (w->truncate_from)
        sim_log_truncate(&disk->log, w->truncate_from);
    assert(w->count == 0 || w->first == disk->log.last + 1);
    for (uint32_t i = 0; i < w->count; i++)
        sim_log_append(&disk->log, &w->entries[i]);
    if (w->has_hard)
        disk->hard = w->hard;
}

bool sim_disk_finish(struct sim_disk *disk, uint64_t *id)
{
    if (!disk->in_flight)
        return false;
    struct sim_write *w = disk->queue;
    make_durable(disk, w);
    *id = w->id;
    disk->queue = w->next;
    disk->queued--;
    disk->in_flight--;
    free_write(w);
    if (!disk->queue)
        disk->queue_end = &disk->queue;
    return true;
}

void sim_disk_crash(struct sim_disk *disk, bool batch_survives)
{
    uint64_t id;
    while (batch_survives && sim_disk_finish(disk, &id))
        continue;
    drop_queue(disk);
}
