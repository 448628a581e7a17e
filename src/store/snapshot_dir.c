/* SPDX-License-Identifier: MIT */
#include "store/snapshot_dir.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/report.h"
#include "store/schema.h"

void snapshot_path(char path[SNAPSHOT_PATH_BYTES], const char *dir, const char *name)
{
    snprintf(path, SNAPSHOT_PATH_BYTES, "%s/%s", dir, name);
}

/* Within a read transaction. */
static int read_rows(struct sql *sql, struct snapshot *out)
{
    struct store_state state = {0};
    struct schema_meta meta;
    int status = schema_read_meta(sql, &meta);
    if (status < 0)
        return status;
    if (!schema_is_known(meta.format))
        return -EPROTO;
    tree_load_state(sql, &state);
    out->id = meta.snapshot_id;
    out->term = state.applied_term;
    out->index = state.applied_index;
    return 0;
}

int snapshot_look(const char *path, struct snapshot *out)
{
    struct sql sql;
    struct stat st;
    *out = (struct snapshot){0};
    int status = stat(path, &st) < 0 ? -errno : sql_open(&sql, path, SQLITE_OPEN_READONLY);
    if (status < 0)
        return status;
    sql_begin(&sql, false);
    status = read_rows(&sql, out);
    int end = sql_end(&sql);
    sql_close(&sql);
    const char *slash = strrchr(path, '/');
    out->bytes = (uint64_t)st.st_size;
    out->made_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    snprintf(out->name, sizeof(out->name), "%s", slash ? slash + 1 : path);
    return status ? status : end;
}

static bool is_snapshot(const char *name)
{
    size_t n = strlen(name);
    return n > 3 && n < SNAPSHOT_NAME_BYTES && strcmp(name + n - 3, ".db") == 0;
}

static int newest_first(const void *a, const void *b)
{
    const struct snapshot *x = a, *y = b;
    return (x->index < y->index) - (x->index > y->index);
}

int snapshot_list(const char *dir, struct snapshot out[SNAPSHOT_MOST_LISTED])
{
    DIR *d = opendir(dir);
    if (!d)
        return -errno;
    int count = 0;
    for (struct dirent *e; count < SNAPSHOT_MOST_LISTED && (e = readdir(d));) {
        if (!is_snapshot(e->d_name))
            continue;
        char path[SNAPSHOT_PATH_BYTES];
        snapshot_path(path, dir, e->d_name);
        int status = snapshot_look(path, &out[count]);
        if (status == 0)
            count++;
        else if (status != -ENOENT) /* pushed out by a newer one meanwhile */
            report_warn("%s cannot be read as a snapshot: %s; it is left alone, remove it", path,
                        strerror(-status));
    }
    closedir(d);
    qsort(out, (size_t)count, sizeof(*out), newest_first);
    return count;
}

int snapshot_open_dir(const char *dir, struct snapshot out[SNAPSHOT_KEPT],
                      char why[STORE_WHY_BYTES])
{
    char path[SNAPSHOT_PATH_BYTES];
    struct snapshot all[SNAPSHOT_MOST_LISTED];
    snapshot_path(path, dir, SNAPSHOT_NEW);
    int status = mkdir(dir, 0700) < 0 && errno != EEXIST ? -errno : 0;
    if (status == 0 && unlink(path) < 0 && errno != ENOENT)
        status = -errno;
    if (status == 0)
        status = snapshot_list(dir, all);
    if (status < 0) {
        snprintf(why, STORE_WHY_BYTES, "%s cannot be used: %s; check its owner and mode", dir,
                 strerror(-status));
        return status;
    }
    int count = status < SNAPSHOT_KEPT ? status : SNAPSHOT_KEPT;
    memcpy(out, all, (size_t)count * sizeof(*out));
    return count;
}

static void remove_old(const char *dir)
{
    char path[SNAPSHOT_PATH_BYTES];
    struct snapshot all[SNAPSHOT_MOST_LISTED];
    int count = snapshot_list(dir, all);
    for (int i = SNAPSHOT_KEPT; i < count; i++) {
        snapshot_path(path, dir, all[i].name);
        unlink(path);
    }
}

int snapshot_publish(const char *dir, const char *made, struct snapshot *s)
{
    char from[SNAPSHOT_PATH_BYTES], to[SNAPSHOT_PATH_BYTES], name[SNAPSHOT_NAME_BYTES];
    snprintf(name, sizeof(name), "%" PRIu64 "-%" PRIu64 ".db", s->term, s->index);
    snapshot_path(from, dir, made);
    snapshot_path(to, dir, name);
    if (rename(from, to) < 0)
        return -errno;
    int status = file_sync_dir(dir);
    if (status < 0)
        return status;
    remove_old(dir);
    return snapshot_look(to, s);
}
