/* SPDX-License-Identifier: MIT */
/*
 * replay.c - recovering a log: its segments are read in order, and what they say is done again.
 *
 * A log may begin at any segment, whose header says where it stands: older ones were dropped. They
 * go oldest first, and a crash may leave any number of them. So the first one left may hold entries
 * that a truncation in a later one drops, together with entries of segments that are gone: then the
 * log is taken up at the first entry behind that truncation, which is its base from then on.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "raft/log/internal.h"
#include "raft/log/recover.h"

struct replay {
    struct raft_log *log;
    uint8_t *image; /* of a segment */
    uint64_t number;
    bool first;     /* it is the oldest one */
    bool last;      /* it is the newest one */
    bool restarted; /* a record of the log says where it begins */
    /* The next entry is the base: of what lies before it not even the term is held. */
    bool baseless;
    bool torn;       /* the newest one's last batch is unfinished */
    const char *bad; /* a record that no writer would write */
    char *why;       /* RAFT_LOG_WHY_BYTES */
};

/* ---- Configurations ---- */

void log_forget_configs(struct raft_log *log, uint64_t from)
{
    while (log->config_count && log->configs[log->config_count - 1].index >= from)
        buf_unref(log->configs[--log->config_count].payload);
}

static void note_config(struct raft_log *log, const struct format_record *r, const uint8_t *payload)
{
    if (log->config_count == log->config_capacity) {
        log->config_capacity = log->config_capacity ? 2 * log->config_capacity : 8;
        log->configs = memory_realloc(log->configs, log->config_capacity * sizeof(*log->configs));
    }
    log->configs[log->config_count++] = (struct raft_entry){.index = r->index,
                                                            .term = r->term,
                                                            .kind = RAFT_ENTRY_CONFIG,
                                                            .payload = buf_copy(payload, r->bytes)};
}

/* ---- Records ---- */

static void on_entry(struct replay *p, const struct format_record *r, const struct log_place *place,
                     const uint8_t *payload)
{
    struct raft_log *log = p->log;
    if (r->index != log->index.last_index + 1) {
        p->bad = "an entry is out of order";
        return;
    }
    if (p->baseless) {
        p->baseless = false;
        log_restart_index(log, r->index, r->term);
        return;
    }
    log_index_append(&log->index, r->term, place);
    if (r->kind == RAFT_ENTRY_CONFIG)
        note_config(log, r, payload);
}

static void on_truncation(struct replay *p, uint64_t from)
{
    struct raft_log *log = p->log;
    if (from > log->index.base_index) {
        log_truncate_index(log, from);
        log_forget_configs(log, from);
    } else if (from > 0 && !p->restarted) {
        p->baseless = true;
        log_restart_index(log, from - 1, 0);
    } else {
        p->bad = "a truncation reaches below the log's first entry";
    }
}

static void on_record(void *ctx, uint32_t batch_offset, const struct format_record *r,
                      const uint8_t *payload)
{
    struct replay *p = ctx;
    struct log_place place = {.segment = (uint32_t)p->number,
                              .batch_offset = batch_offset,
                              .offset = r->offset,
                              .chain = r->chain};
    if (p->bad)
        return;
    switch (r->kind) {
    case RAFT_ENTRY_NOOP:
    case RAFT_ENTRY_COMMAND:
    case RAFT_ENTRY_CONFIG:
        on_entry(p, r, &place, payload);
        break;
    case FORMAT_RESTART:
        p->baseless = false;
        p->restarted = true;
        log_restart_index(p->log, r->index, r->term);
        break;
    case FORMAT_TRUNCATE:
        on_truncation(p, r->index);
        break;
    case FORMAT_HARD:
        p->log->hard = (struct raft_hard_state){.term = r->term, .vote = r->index};
        break;
    default:
        p->bad = "a record is of an unknown kind";
    }
}

/* ---- Segments ---- */

static int corrupt(const struct replay *p, uint64_t number, uint32_t offset, const char *what)
{
    snprintf(p->why, RAFT_LOG_WHY_BYTES, "%s/%08" PRIu64 ".seg is corrupt at byte %u: %s",
             p->log->dir, number, offset, what);
    return -EUCLEAN;
}

/* The header must be this log's, and continue the segment before it. */
static int check_header(const struct replay *p, struct format_header *h)
{
    const struct raft_log *log = p->log;
    int status = format_header_decode(h, p->image);
    if (status == -EPROTO)
        snprintf(p->why, RAFT_LOG_WHY_BYTES,
                 "%s/%08" PRIu64 ".seg is of a newer format: use a newer raftfs", log->dir,
                 p->number);
    else if (status < 0 || h->number != p->number)
        return corrupt(p, p->number, 0, "its header is damaged");
    else if (h->incarnation != log->options.incarnation) {
        snprintf(p->why, RAFT_LOG_WHY_BYTES,
                 "%s/%08" PRIu64 ".seg belongs to another data directory: put the right one back",
                 log->dir, p->number);
        status = -ESTALE;
    } else if (!p->first && (h->first_batch != log->next_batch || h->chain != log->chain))
        return corrupt(p, p->number, 0, "it does not continue the segment before it");
    return status;
}

/* Reads the whole segment; the newest one stays open for the writer. */
static int load(struct replay *p)
{
    struct raft_log *log = p->log;
    char path[SEGMENT_PATH_BYTES];
    segment_path(log->dir, p->number, path);
    int fd = open(path, (p->last ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    int status = fd < 0 ? -errno : segment_read(fd, p->image, log->options.segment_bytes, 0);
    if (status == 0 && p->last)
        log->fd = fd;
    else if (fd >= 0)
        close(fd);
    if (status == -EUCLEAN)
        return corrupt(p, p->number, 0, "it is too short");
    if (status < 0)
        snprintf(p->why, RAFT_LOG_WHY_BYTES, "%s cannot be read: %s", path, strerror(-status));
    return status;
}

/* The oldest segment's header says where the log begins, the others must agree with what it holds.
 */
static int place_segment(struct replay *p, const struct format_header *h)
{
    struct raft_log *log = p->log;
    bool agrees = h->last_index == log->index.last_index &&
                  (p->baseless || h->last_term == log_index_term(&log->index, h->last_index));
    if (!p->first && !agrees)
        return corrupt(p, p->number, 0, "it does not continue the segment before it");
    log_add_segment(log, p->number, h->last_index);
    if (p->first || p->baseless)
        log_restart_index(log, h->last_index, h->last_term);
    p->baseless = false;
    log->hard = h->hard;
    log->number = p->number;
    return 0;
}

static int replay_segment(struct replay *p)
{
    struct raft_log *log = p->log;
    struct format_header h;
    int status = load(p);
    if (status == 0)
        status = check_header(p, &h);
    if (status == 0)
        status = place_segment(p, &h);
    if (status < 0)
        return status;
    struct recover_result r = recover_scan(p->image, log->options.segment_bytes, &h, on_record, p);
    if (r.end == RECOVER_CORRUPT || p->bad || (r.end == RECOVER_TORN && !p->last))
        return corrupt(p, p->number, r.end_offset, p->bad ? p->bad : "a batch is damaged");
    if (p->last && p->baseless)
        return corrupt(p, p->number, r.end_offset, "what lies before its last truncation is gone");
    log->next_batch = r.next_batch;
    log->chain = r.chain;
    log->offset = r.end_offset;
    p->torn = r.end == RECOVER_TORN;
    return 0;
}

/*
 * After kill -9 the page cache may hold what the disk does not, and a vote or an acknowledgement
 * must not build on that: what was read is written and synced again, and so are the names. What is
 * torn becomes zeroes.
 */
static int settle(struct replay *p)
{
    struct raft_log *log = p->log;
    if (p->torn)
        memset(p->image + log->offset, 0, log->options.segment_bytes - log->offset);
    int status =
        segment_write(log->fd, p->image, p->torn ? log->options.segment_bytes : log->offset, 0);
    if (status == 0 && fdatasync(log->fd) < 0)
        status = -errno;
    if (status == 0)
        status = file_sync_dir(log->dir);
    if (status < 0)
        snprintf(p->why, RAFT_LOG_WHY_BYTES, "%s/%08" PRIu64 ".seg cannot be settled: %s", log->dir,
                 p->number, strerror(-status));
    return status;
}

int log_replay(struct raft_log *log, const uint64_t *numbers, uint32_t count, bool *torn,
               char why[RAFT_LOG_WHY_BYTES])
{
    struct replay p = {.log = log, .why = why};
    int status = 0;
    p.image = memory_alloc(log->options.segment_bytes);
    log->oldest_file = numbers[0];
    for (uint32_t i = 0; status == 0 && i < count; i++) {
        p.number = numbers[i];
        p.first = i == 0;
        p.last = i + 1 == count;
        if (i > 0 && p.number != numbers[i - 1] + 1)
            status = corrupt(&p, numbers[i - 1] + 1, 0, "it is missing");
        else
            status = replay_segment(&p);
    }
    if (status == 0)
        status = settle(&p);
    memory_free(p.image);
    *torn = p.torn;
    return status;
}
