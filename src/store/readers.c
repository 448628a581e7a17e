/* SPDX-License-Identifier: MIT */
#include "store/readers.h"

#include <pthread.h>

#include "base/memory.h"

struct readers {
    pthread_mutex_t lock;
    pthread_cond_t given;
    char *path;
    struct sql *idle[READERS_MOST]; /* a stack: the warmest on top */
    unsigned idle_count;
    unsigned open_count;
    bool held;
};

void readers_open(struct readers **out, const char *path)
{
    struct readers *r = memory_zalloc(sizeof(*r));
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->given, NULL);
    r->path = memory_strdup(path);
    *out = r;
}

void readers_close(struct readers *r)
{
    if (!r)
        return;
    for (unsigned i = 0; i < r->idle_count; i++) {
        sql_close(r->idle[i]);
        memory_free(r->idle[i]);
    }
    pthread_cond_destroy(&r->given);
    pthread_mutex_destroy(&r->lock);
    memory_free(r->path);
    memory_free(r);
}

static struct sql *open_reader(struct readers *r, int *error)
{
    struct sql *sql = memory_alloc(sizeof(*sql));
    *error = sql_open(sql, r->path, SQLITE_OPEN_READONLY);
    if (*error == 0)
        return sql;
    memory_free(sql);
    return NULL;
}

struct sql *readers_take(struct readers *r, int *error)
{
    *error = 0;
    pthread_mutex_lock(&r->lock);
    while (r->held || (r->idle_count == 0 && r->open_count == READERS_MOST))
        pthread_cond_wait(&r->given, &r->lock);
    struct sql *sql = NULL;
    if (r->idle_count)
        sql = r->idle[--r->idle_count];
    else
        r->open_count++;
    pthread_mutex_unlock(&r->lock);
    if (sql)
        return sql;
    sql = open_reader(r, error);
    if (!sql) {
        pthread_mutex_lock(&r->lock);
        r->open_count--;
        pthread_cond_broadcast(&r->given);
        pthread_mutex_unlock(&r->lock);
    }
    return sql;
}

void readers_give(struct readers *r, struct sql *sql)
{
    pthread_mutex_lock(&r->lock);
    r->idle[r->idle_count++] = sql;
    pthread_cond_broadcast(&r->given);
    pthread_mutex_unlock(&r->lock);
}

void readers_hold(struct readers *r)
{
    pthread_mutex_lock(&r->lock);
    r->held = true;
    while (r->idle_count < r->open_count)
        pthread_cond_wait(&r->given, &r->lock);
    pthread_mutex_unlock(&r->lock);
}

void readers_let_go(struct readers *r)
{
    pthread_mutex_lock(&r->lock);
    r->held = false;
    pthread_cond_broadcast(&r->given);
    pthread_mutex_unlock(&r->lock);
}
