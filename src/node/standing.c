/* SPDX-License-Identifier: MIT */
#include "node/standing.h"

#include <errno.h>
#include <stdio.h>

#include "base/report.h"
#include "store/install.h"
#include "store/snapshot_source.h"

enum { PATH_BYTES = 4096 };

static void look(struct standing *s, struct raft_driver_start *start)
{
    buf_unref(start->config);
    start->applied_index = store_applied_index(s->store);
    start->applied_term = store_applied_term(s->store);
    start->config = store_config(s->store, &start->config_index);
}

static int catch_up(void *ctx, uint64_t base_index, struct raft_driver_start *start)
{
    struct standing *s = ctx;
    char dir[PATH_BYTES], path[2 * PATH_BYTES];
    struct snapshot_source *source;
    uint64_t index, term;
    snprintf(dir, sizeof(dir), "%s/snapshots", s->dir);
    int status = snapshot_source_open(&source, dir, 0, base_index);
    if (status < 0)
        return status;
    snprintf(path, sizeof(path), "%s/%s", dir, snapshot_source_info(source)->name);
    snapshot_source_close(source);
    report_warn("store.db stands before the log's first entry: %s takes its place", path);
    status = store_install(s->store, path, &index, &term);
    if (status == 0)
        look(s, start);
    return status;
}

static int sync_store(void *ctx)
{
    struct standing *s = ctx;
    return store_sync(s->store);
}

void standing_init(struct standing *s, struct store *store, const char *dir)
{
    *s = (struct standing){.store = store, .dir = dir};
    snprintf(s->log_dir, sizeof(s->log_dir), "%s/log", dir);
    s->start = (struct raft_driver_start){
        .log_dir = s->log_dir, .ctx = s, .catch_up = catch_up, .sync = sync_store};
    look(s, &s->start);
}

void standing_close(struct standing *s)
{
    buf_unref(s->start.config);
}
