/* SPDX-License-Identifier: MIT */
/* The commands about processes and what they keep: nodes, crashes, disks, snapshots. */
#include "script.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_PRESET = 64 };

/* ---- Processes ---- */

static void elect_silently(struct script *s, struct script_node *n)
{
    FILE *out = s->out;
    char *text;
    size_t bytes;
    s->out = open_memstream(&text, &bytes);
    script_campaign(n);
    script_deliver(s, (struct script_filter){0}, true);
    fclose(s->out);
    free(text);
    s->out = out;
}

/* What `nodes` says. */
struct cluster {
    uint64_t voters;
    uint64_t learners;
    uint64_t term_runs;
    uint64_t lease_us;
    raft_id leader; /* 0: none yet */
    bool down;
};

static bool parse_cluster(struct script_words w, struct cluster *c)
{
    *c = (struct cluster){.term_runs = SCRIPT_TERMS};
    if (w.count == 0 || !script_parse_number(w.word[0], &c->voters))
        return false;
    for (uint32_t k = 1; k < w.count; k++) {
        const char *value = k + 1 < w.count ? w.word[k + 1] : "";
        if (script_word_is(w, k, "down")) {
            c->down = true;
            continue;
        }
        bool good =
            (script_word_is(w, k, "learners") && script_parse_number(value, &c->learners)) ||
            (script_word_is(w, k, "term-runs") && script_parse_number(value, &c->term_runs)) ||
            (script_word_is(w, k, "lease") && script_parse_duration(value, &c->lease_us)) ||
            (script_word_is(w, k, "leader") && script_parse_id(value, &c->leader));
        if (!good)
            return false;
        k++;
    }
    return c->voters > 0 && c->voters + c->learners <= SCRIPT_NODES && c->leader <= c->voters &&
           !(c->leader && c->down) && c->term_runs >= 2 && c->term_runs <= SCRIPT_TERMS &&
           c->lease_us <= RAFT_MAX_LEASE_US;
}

/* A process that starts keeps still until nobody can rely on what it may have promised before. */
static void boot_and_wait(struct script *s, struct script_node *n, uint64_t applied)
{
    script_boot(s, n, applied);
    n->now_us += RAFT_MAX_LEASE_US + RAFT_MAX_LEASE_US / RAFT_CLOCK_DRIFT;
}

const char *script_do_nodes(struct script *s, struct script_words w)
{
    struct cluster c;
    if (!parse_cluster(w, &c))
        return "nodes VOTERS [learners N] [term-runs N] [lease DURATION] [leader ID | down]";
    struct raft_config config = {.count = (uint32_t)(c.voters + c.learners)};
    for (uint32_t i = 0; i < config.count; i++) {
        config.members[i] = script_member(i + 1);
        config.members[i].voter = i < c.voters;
    }
    for (raft_id id = 1; id <= SCRIPT_NODES; id++) {
        struct script_node *n = script_node(s, id);
        n->node.options.term_run_capacity = (uint32_t)c.term_runs;
        n->node.options.lease_us = (uint32_t)c.lease_us;
        n->node.options.lease = c.lease_us != 0;
        if (id > config.count)
            continue;
        script_format(s, id, &config, NULL, 0);
        if (!c.down)
            boot_and_wait(s, n, 1);
    }
    if (c.leader)
        elect_silently(s, script_node(s, c.leader));
    return NULL;
}

const char *script_do_preset(struct script *s, struct script_words w)
{
    static const char usage[] = "preset ID TERM..., of a node that `nodes N down` made";
    struct script_node *n = script_node_at(s, w, 0);
    uint64_t terms[MOST_PRESET];
    if (!n || n->node.up || n->node.disk.log.last == 0 || w.count > MOST_PRESET)
        return usage;
    for (uint32_t k = 1; k < w.count; k++)
        if (!script_parse_number(w.word[k], &terms[k - 1]) || terms[k - 1] == 0)
            return usage;
    if (w.count < 2 || terms[0] != 1)
        return "the first entry is the configuration, of term 1";
    struct raft_config config = sim_log_at(&n->node.disk.log, 1)->config->decoded;
    script_format(s, n->node.id, &config, terms + 1, w.count - 2);
    return NULL;
}

const char *script_do_start(struct script *s, struct script_words w)
{
    struct script_node *n;
    uint64_t applied = 1;
    bool named = w.count > 2 && script_word_is(w, w.count - 2, "applied") &&
                 script_parse_number(w.word[w.count - 1], &applied);
    w.count -= named ? 2 : 0;
    for (uint32_t k = 0; k < w.count; k++) {
        if (!(n = script_node_at(s, w, k)) || n->node.up || n->boots)
            break;
        uint64_t last = n->node.disk.log.last;
        boot_and_wait(s, n, applied < last ? applied : last);
        if (k + 1 == w.count)
            return NULL;
    }
    return "start ID... [applied INDEX], of nodes that never ran";
}

const char *script_do_crash(struct script *s, struct script_words w)
{
    struct script_node *n = script_running_at(s, w, 0);
    bool survives = script_word_is(w, 1, "unsynced-survives");
    if (!n || w.count > 2 || (w.count == 2 && !survives))
        return "crash ID [unsynced-survives]";
    script_crash(n, survives);
    return NULL;
}

const char *script_do_restart(struct script *s, struct script_words w)
{
    static const char usage[] = "restart ID [applied INDEX], of what is committed";
    struct script_node *n = script_node_at(s, w, 0);
    if (!n || n->node.up || !n->boots)
        return usage;
    const struct sim_log *log = &n->node.disk.log;
    uint64_t applied = n->commit < log->last ? n->commit : log->last;
    if (w.count > 1 && (!script_word_is(w, 1, "applied") || w.count != 3 ||
                        !script_parse_number(w.word[2], &applied)))
        return usage;
    if (applied < log->base || applied > s->committed.last)
        return usage;
    script_boot(s, n, applied);
    return NULL;
}

/* ---- Disks ---- */

const char *script_do_hold_disk(struct script *s, struct script_words w)
{
    struct script_node *n = script_node_at(s, w, 0);
    if (!n || w.count != 1)
        return "hold-disk ID";
    n->disk_held = true;
    return NULL;
}

const char *script_do_persist(struct script *s, struct script_words w)
{
    struct script_node *n = script_running_at(s, w, 0);
    uint64_t most = UINT32_MAX;
    if (!n || w.count > 2 || (w.count == 2 && !script_parse_number(w.word[1], &most)))
        return "persist ID [WRITES]";
    script_persist(n, (uint32_t)most);
    return NULL;
}

const char *script_do_release_disk(struct script *s, struct script_words w)
{
    struct script_node *n = script_running_at(s, w, 0);
    if (!n || w.count != 1)
        return "release-disk ID";
    n->disk_held = false;
    script_persist(n, UINT32_MAX);
    return NULL;
}

const char *script_do_disk(struct script *s, struct script_words w)
{
    struct script_node *n = script_running_at(s, w, 0);
    bool full = script_word_is(w, 1, "full");
    if (!n || w.count != 2 || (!full && !script_word_is(w, 1, "has-room")))
        return "disk ID full|has-room";
    script_step(n, &(struct raft_event){.kind = RAFT_DISK, .disk = {.full = full}}, NULL);
    return NULL;
}

/* ---- Snapshots ---- */

const char *script_do_compact(struct script *s, struct script_words w)
{
    struct script_node *n = script_running_at(s, w, 0);
    uint64_t index;
    if (!n || w.count != 2 || !script_parse_number(w.word[1], &index) ||
        index > raft_commit_index(n->node.core) || index > raft_durable_index(n->node.core))
        return "compact ID INDEX, of what is committed and durable there";
    sim_node_compact(&n->node, index, index);
    return NULL;
}

const char *script_do_install(struct script *s, struct script_words w)
{
    struct script_node *n = script_running_at(s, w, 0);
    uint64_t index;
    if (!n || w.count != 2 || !script_parse_number(w.word[1], &index) || index == 0 ||
        index > s->committed.last)
        return "install ID INDEX, of what is committed";
    script_install(s, n, index);
    return NULL;
}
