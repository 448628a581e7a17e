/* SPDX-License-Identifier: MIT */
/*
 * load.c - clients that do one kind of operation as fast as they are answered.
 *
 * A closed loop: each client is a thread with a connection of its own and one operation under way,
 * as a shell or a program that uses files has. Clients are dealt to the targets in turn. All
 * connect, put what they will need, warm up, and wait for each other; then the clock starts. What
 * is timed is the operation alone, not the making of its key.
 *
 * Names of keys: "NAME-CLIENT" for a client's own key, with a number behind it for a new one each
 * time (the start's time is part of NAME then, so that a second run meets no old key), "kNNNNNNN"
 * for one of a set made by `fill`, in one directory or dealt to several.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "progress.h"
#include "target.h"

enum { STACK_BYTES = 256 * 1024, ROOM_BYTES = 2 << 20, ERRORS_IN_A_ROW = 10 };

struct load;

struct worker {
    struct load *load;
    struct client client;
    struct samples samples;
    pthread_t thread;
    char *value;
    uint64_t share; /* of the operations */
    uint64_t next;  /* number of the next operation, from 0; warming up counts too */
    uint64_t random;
    uint64_t errors;
    int first_error, connected;
    uint64_t ended_ns;
    _Atomic uint64_t done; /* for the bar */
};

struct load {
    const struct options *options;
    const struct operation *operation;
    struct target targets[BENCH_MAX_TARGETS];
    struct worker *workers;
    char tag[32]; /* tells this run's new keys from others' */
    pthread_barrier_t ready;
    atomic_bool failed;
    atomic_bool over;
    atomic_uint running;
};

struct operation {
    const char *command;
    int (*run)(struct worker *w);
    bool needs_own_key;  /* must be there before */
    bool needs_new_keys; /* one for each operation must be there before */
};

/* ---- Keys ----------------------------------------------------------------------------------- */

/* xorshift64*: the same keys in each run with as many clients. */
static uint64_t draw(struct worker *w)
{
    w->random ^= w->random >> 12;
    w->random ^= w->random << 25;
    w->random ^= w->random >> 27;
    return w->random * 2685821657736338717u;
}

static void key_of_set(const struct options *o, char *key, uint64_t number)
{
    unsigned long long n = number;
    if (o->dirs > 0)
        snprintf(key, BENCH_KEY_BYTES, "d%u/k%07llu", (unsigned)(n % o->dirs), n);
    else
        snprintf(key, BENCH_KEY_BYTES, "k%07llu", n);
}

static void own_key(const struct worker *w, char *key)
{
    snprintf(key, BENCH_KEY_BYTES, "own-%u", w->client.number);
}

static void new_key(const struct worker *w, char *key, uint64_t number)
{
    snprintf(key, BENCH_KEY_BYTES, "new-%s-%u-%llu", w->load->tag, w->client.number,
             (unsigned long long)number);
}

static void some_key(struct worker *w, char *key)
{
    const struct options *o = w->load->options;
    if (o->new_keys)
        new_key(w, key, w->next);
    else if (o->keys > 0)
        key_of_set(o, key, draw(w) % o->keys);
    else
        own_key(w, key);
}

/* A value is its operation's number, then dots. */
static void number_value(struct worker *w)
{
    char digits[24];
    int n = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)w->next);
    size_t bytes = w->load->options->value_bytes;
    memcpy(w->value, digits, (size_t)n < bytes ? (size_t)n : bytes);
}

/* ---- Operations: each gives 0 or a negative errno, and adds its sample ----------------------- */

static int timed(struct worker *w, int rc, uint64_t start_ns)
{
    uint64_t now_ns = bench_now_ns();
    if (rc >= 0 && w->next >= w->load->options->warmup)
        samples_add(&w->samples, start_ns, now_ns - start_ns);
    return rc < 0 ? rc : 0;
}

static int put_key(struct worker *w, const char *key)
{
    struct client *c = &w->client;
    number_value(w);
    uint64_t start_ns = bench_now_ns();
    return timed(w, c->target->kind->put(c, key, w->value, w->load->options->value_bytes),
                 start_ns);
}

static int run_put(struct worker *w)
{
    char key[BENCH_KEY_BYTES];
    some_key(w, key);
    return put_key(w, key);
}

static int run_fill(struct worker *w)
{
    char key[BENCH_KEY_BYTES];
    const struct options *o = w->load->options;
    key_of_set(o, key, o->from + w->next * o->clients + w->client.number);
    return put_key(w, key);
}

static int run_get(struct worker *w)
{
    char key[BENCH_KEY_BYTES];
    struct client *c = &w->client;
    some_key(w, key);
    uint64_t start_ns = bench_now_ns();
    return timed(w, (int)c->target->kind->get(c, key, w->value, ROOM_BYTES), start_ns);
}

static int run_stat(struct worker *w)
{
    char key[BENCH_KEY_BYTES];
    some_key(w, key);
    uint64_t start_ns = bench_now_ns();
    return timed(w, w->client.target->kind->stat(&w->client, key), start_ns);
}

static int run_list(struct worker *w)
{
    uint64_t start_ns = bench_now_ns();
    return timed(w, w->client.target->kind->list(&w->client), start_ns);
}

static int run_create(struct worker *w)
{
    char key[BENCH_KEY_BYTES];
    new_key(w, key, w->next);
    uint64_t start_ns = bench_now_ns();
    return timed(w, w->client.target->kind->create(&w->client, key), start_ns);
}

static int run_remove(struct worker *w)
{
    char key[BENCH_KEY_BYTES];
    new_key(w, key, w->next);
    uint64_t start_ns = bench_now_ns();
    return timed(w, w->client.target->kind->remove(&w->client, key), start_ns);
}

static int run_rename(struct worker *w)
{
    char from[BENCH_KEY_BYTES], to[BENCH_KEY_BYTES + 8];
    new_key(w, from, w->next);
    snprintf(to, sizeof(to), "%s-to", from);
    uint64_t start_ns = bench_now_ns();
    return timed(w, w->client.target->kind->rename(&w->client, from, to), start_ns);
}

static const struct operation operations[] = {
    {"put", run_put, true, false},       {"get", run_get, true, false},
    {"stat", run_stat, true, false},     {"fill", run_fill, false, false},
    {"list", run_list, false, false},    {"create", run_create, false, false},
    {"remove", run_remove, false, true}, {"rename", run_rename, false, true},
};

static bool has_operation(const struct target_kind *k, const struct operation *op)
{
    return op->run == run_put || op->run == run_fill ? k->put != NULL
           : op->run == run_get                      ? k->get != NULL
           : op->run == run_stat                     ? k->stat != NULL
           : op->run == run_list                     ? k->list != NULL
           : op->run == run_create                   ? k->create != NULL
           : op->run == run_remove                   ? k->remove != NULL
                                                     : k->rename != NULL;
}

/* ---- A client ------------------------------------------------------------------------------- */

/* What the operations need to be there. */
static int prepare(struct worker *w)
{
    const struct options *o = w->load->options;
    const struct target_kind *kind = w->client.target->kind;
    char key[BENCH_KEY_BYTES];
    int rc = 0;
    if (w->load->operation->needs_own_key && o->keys == 0 && !o->new_keys && !o->local) {
        own_key(w, key);
        rc = kind->put(&w->client, key, w->value, o->value_bytes);
    }
    for (uint64_t i = 0; w->load->operation->needs_new_keys && i < w->share && rc == 0; i++) {
        new_key(w, key, i);
        rc = kind->put(&w->client, key, w->value, o->value_bytes);
    }
    if (rc < 0)
        complain("preparing for %s failed: %s", o->command, strerror(-rc));
    return rc;
}

static void run_until(struct worker *w, uint64_t number)
{
    unsigned in_a_row = 0;
    while (w->next < number && in_a_row < ERRORS_IN_A_ROW && !atomic_load(&w->load->over)) {
        int rc = w->load->operation->run(w);
        w->next++;
        atomic_fetch_add_explicit(&w->done, 1, memory_order_relaxed);
        in_a_row = rc < 0 ? in_a_row + 1 : 0;
        if (rc < 0 && w->errors++ == 0)
            w->first_error = rc;
    }
}

static void *client_main(void *arg)
{
    struct worker *w = arg;
    struct load *load = w->load;
    struct target *t = &load->targets[w->client.number % load->options->n_targets];
    w->connected = client_connect(&w->client, t, w->client.number);
    if (w->connected < 0 || prepare(w) < 0)
        atomic_store(&load->failed, true);
    else
        run_until(w, load->options->warmup);
    pthread_barrier_wait(&load->ready); /* the usage is taken between these two */
    pthread_barrier_wait(&load->ready);
    if (!atomic_load(&load->failed))
        run_until(w, w->share);
    w->ended_ns = bench_now_ns();
    if (w->connected == 0)
        client_disconnect(&w->client);
    atomic_fetch_sub(&load->running, 1);
    return NULL;
}

/* ---- All of them ---------------------------------------------------------------------------- */

static uint64_t share_of(const struct options *o, unsigned number)
{
    if (o->ops == 0)
        return UINT64_MAX;
    return o->warmup + o->ops / o->clients + (number < o->ops % o->clients);
}

static void start_workers(struct load *load)
{
    const struct options *o = load->options;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    for (unsigned i = 0; i < o->clients; i++) {
        struct worker *w = &load->workers[i];
        w->load = load;
        w->client.number = i;
        w->share = share_of(o, i);
        w->random = 88172645463325252u + i * 1000003u;
        size_t room = o->value_bytes > ROOM_BYTES ? o->value_bytes : ROOM_BYTES;
        w->value = calloc(1, room);
        if (w->value == NULL)
            abort();
        memset(w->value, '.', o->value_bytes);
        int rc = pthread_create(&w->thread, &attr, client_main, w);
        if (rc != 0) {
            complain("client %u cannot be started: %s", i, strerror(rc));
            exit(1); /* the others wait for it */
        }
    }
    pthread_attr_destroy(&attr);
}

/* Draws the bar, and ends a run that is bounded in time. */
static void watch(struct load *load, uint64_t start_ns)
{
    const struct options *o = load->options;
    struct progress bar = progress_start(o);
    while (atomic_load(&load->running) > 0) {
        uint64_t done = 0;
        for (unsigned i = 0; i < o->clients; i++)
            done += atomic_load_explicit(&load->workers[i].done, memory_order_relaxed);
        done -= o->warmup * o->clients;
        double seconds = (double)(bench_now_ns() - start_ns) / 1e9;
        if (o->seconds > 0 && seconds >= o->seconds)
            atomic_store(&load->over, true);
        char text[64];
        snprintf(text, sizeof(text), "%llu", (unsigned long long)done);
        progress_show(&bar, o->seconds > 0 ? seconds / o->seconds : (double)done / (double)o->ops,
                      text);
        usleep(10000);
    }
    progress_end(&bar);
}

static void collect(struct load *load, struct result *r, uint64_t start_ns)
{
    uint64_t end_ns = start_ns;
    for (unsigned i = 0; i < load->options->clients; i++) {
        struct worker *w = &load->workers[i];
        pthread_join(w->thread, NULL);
        samples_move(&r->samples, &w->samples);
        r->errors += w->errors;
        if (r->first_error == 0)
            r->first_error = w->first_error;
        if (w->ended_ns > end_ns)
            end_ns = w->ended_ns;
        free(w->value);
    }
    r->seconds = (double)(end_ns - start_ns) / 1e9;
    r->bytes = r->samples.count * load->options->value_bytes;
}

static int run_clients(struct load *load, struct result *r)
{
    const struct options *o = load->options;
    pthread_barrier_init(&load->ready, NULL, o->clients + 1);
    atomic_store(&load->running, o->clients);
    start_workers(load);
    pthread_barrier_wait(&load->ready);
    use_take(o, &r->before);
    uint64_t start_ns = bench_now_ns();
    pthread_barrier_wait(&load->ready);
    watch(load, start_ns);
    use_take(o, &r->after);
    collect(load, r, start_ns);
    pthread_barrier_destroy(&load->ready);
    return atomic_load(&load->failed) ? -EIO : 0;
}

static int open_targets(struct load *load)
{
    const struct options *o = load->options;
    for (unsigned i = 0; i < o->n_targets; i++) {
        int rc = target_open(&load->targets[i], o, o->targets[i]);
        if (rc == 0 && !has_operation(load->targets[i].kind, load->operation)) {
            complain("%s has no %s", o->targets[i], o->command);
            target_close(&load->targets[i]);
            rc = -ENOTSUP;
        }
        if (rc < 0) {
            while (i-- > 0)
                target_close(&load->targets[i]);
            return rc;
        }
    }
    return 0;
}

int load_run(const struct options *o, struct result *r)
{
    struct load load = {.options = o};
    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
        if (strcmp(o->command, operations[i].command) == 0)
            load.operation = &operations[i];
    snprintf(load.tag, sizeof(load.tag), "%llx", (unsigned long long)bench_now_ns());
    int rc = open_targets(&load);
    if (rc < 0)
        return rc;
    load.workers = calloc(o->clients, sizeof(*load.workers));
    if (load.workers == NULL)
        abort();
    rc = run_clients(&load, r);
    for (unsigned i = 0; i < o->n_targets; i++)
        target_close(&load.targets[i]);
    free(load.workers);
    return rc;
}
