/* SPDX-License-Identifier: MIT */
/*
 * script_run.c - a command is words: who carries it out, and the commands about messages and time.
 *
 * One whose words make no sense says what they should be; what a command does shows in the trace.
 * README.md says what each is for.
 */
#include "script.h"

#include <string.h>

#include "base/memory.h"

enum { MOST_WORDS = 64, LINE_BYTES = 512 };

/* ---- Words ---- */

/* The node named by word k, up or down; NULL if there is no such word or node. */
struct script_node *script_node_at(struct script *s, struct script_words w, uint32_t k)
{
    raft_id id;
    return k < w.count && script_parse_id(w.word[k], &id) ? script_node(s, id) : NULL;
}

struct script_node *script_running_at(struct script *s, struct script_words w, uint32_t k)
{
    struct script_node *n = script_node_at(s, w, k);
    return n && n->node.up ? n : NULL;
}

bool script_word_is(struct script_words w, uint32_t k, const char *text)
{
    return k < w.count && strcmp(w.word[k], text) == 0;
}

/* ---- Messages ---- */

static const char *do_deliver(struct script *s, struct script_words w)
{
    struct script_filter f;
    bool once = script_word_is(w, 0, "once");
    if (once)
        w = (struct script_words){w.word + 1, w.count - 1};
    if (!script_parse_filter(w.word, w.count, &f))
        return "deliver [once] [FROM->TO]... [KIND]... [MOST]";
    script_deliver(s, f, !once);
    return NULL;
}

static const char *do_drop(struct script *s, struct script_words w)
{
    struct script_filter f;
    if (!script_parse_filter(w.word, w.count, &f))
        return "drop [FROM->TO]... [KIND]... [MOST]";
    script_drop(s, f);
    return NULL;
}

static const char *do_duplicate(struct script *s, struct script_words w)
{
    struct script_filter f;
    if (!script_parse_filter(w.word, w.count, &f))
        return "duplicate [FROM->TO]... [KIND]... [MOST]";
    script_duplicate(s, f);
    return NULL;
}

static const char *do_inject(struct script *s, struct script_words w)
{
    struct sim_packet *p = script_parse_packet(w.word, w.count);
    if (!p)
        return "inject MESSAGE, as the trace writes it";
    struct script_node *n = script_node(s, p->msg.to);
    if (n->node.up)
        script_arrive(n, p);
    memory_free(p);
    return n->node.up ? NULL : "this node is down";
}

static const char *do_net(struct script *s, struct script_words w)
{
    if (w.count)
        return "net";
    for (uint32_t k = 0; k < s->packet_count; k++)
        script_tell_message(s, "", &s->packets[k]->msg);
    return NULL;
}

static const char *do_partition(struct script *s, struct script_words w)
{
    uint32_t group[SCRIPT_NODES + 1] = {0}, now = 1; /* those not named stay together */
    for (uint32_t k = 0; k < w.count; k++) {
        raft_id id;
        if (script_word_is(w, k, "|"))
            now++;
        else if (script_parse_id(w.word[k], &id))
            group[id] = now;
        else
            return "partition ID... | ID...";
    }
    for (uint32_t a = 1; a <= SCRIPT_NODES; a++)
        for (uint32_t b = 1; b <= SCRIPT_NODES; b++)
            s->cut[a][b] = group[a] != group[b];
    return NULL;
}

static void set_links(struct script *s, raft_id from, raft_id to, bool cut)
{
    for (uint32_t a = 1; a <= SCRIPT_NODES; a++)
        for (uint32_t b = 1; b <= SCRIPT_NODES; b++)
            if ((from == 0 || from == a) && (to == 0 || to == b))
                s->cut[a][b] = cut;
}

static const char *do_cut(struct script *s, struct script_words w)
{
    raft_id from, to;
    for (uint32_t k = 0; k < w.count; k++) {
        if (!script_parse_link(w.word[k], &from, &to))
            return "cut FROM->TO...";
        set_links(s, from, to, true);
    }
    return NULL;
}

static const char *do_heal(struct script *s, struct script_words w)
{
    if (w.count)
        return "heal";
    set_links(s, 0, 0, false);
    return NULL;
}

static const char *do_disconnect(struct script *s, struct script_words w)
{
    struct script_node *n = script_running_at(s, w, 0);
    struct raft_event e = {.kind = RAFT_PEER_LOST};
    if (!n || w.count != 2 || !script_parse_id(w.word[1], &e.lost.peer))
        return "disconnect ID PEER";
    script_step(n, &e, NULL);
    return NULL;
}

/* ---- Time ---- */

static const char *do_campaign(struct script *s, struct script_words w)
{
    struct script_node *n = script_running_at(s, w, 0);
    if (!n || w.count != 1 || raft_role(n->node.core) == RAFT_LEADER)
        return "campaign ID, of a node that does not lead";
    script_campaign(n);
    return NULL;
}

/* It was stopped; its timer comes before what waits for it. */
static const char *do_away(struct script *s, struct script_words w)
{
    uint64_t us;
    struct script_node *n = script_running_at(s, w, 0);
    if (!n || w.count != 2 || !script_parse_duration(w.word[1], &us))
        return "away ID DURATION";
    n->now_us += us;
    script_step(n, &(struct raft_event){.kind = RAFT_TICK}, NULL);
    return NULL;
}

static const char *do_tick(struct script *s, struct script_words w)
{
    uint64_t us;
    raft_id only = 0;
    bool one = w.count == 2 && script_parse_id(w.word[0], &only);
    if (w.count != (one ? 2 : 1) || !script_parse_duration(w.word[w.count - 1], &us))
        return "tick [ID] DURATION";
    script_pass(s, only, us, false);
    return NULL;
}

static const char *do_run(struct script *s, struct script_words w)
{
    uint64_t us;
    if (w.count != 1 || !script_parse_duration(w.word[0], &us))
        return "run DURATION";
    s->quiet = true;
    script_pass(s, 0, us, true);
    s->quiet = false;
    return NULL;
}

/* ---- Looking ---- */

static const char *for_nodes(struct script *s, struct script_words w, const char *usage,
                             void (*tell)(struct script *, const struct script_node *))
{
    for (uint32_t k = 0; k < w.count; k++)
        if (!script_node_at(s, w, k))
            return usage;
    for (uint32_t k = 0; k < w.count; k++)
        tell(s, script_node_at(s, w, k));
    for (uint32_t i = 0; w.count == 0 && i < SCRIPT_NODES; i++)
        if (s->nodes[i].boots)
            tell(s, &s->nodes[i]);
    return NULL;
}

static const char *do_status(struct script *s, struct script_words w)
{
    return for_nodes(s, w, "status [ID]...", script_tell_status);
}

static const char *do_log(struct script *s, struct script_words w)
{
    return for_nodes(s, w, "log [ID]...", script_tell_log);
}

/* ---- The table ---- */

static const struct {
    const char *name;
    script_command *run;
} commands[] = {
    {"nodes", script_do_nodes},
    {"preset", script_do_preset},
    {"start", script_do_start},
    {"crash", script_do_crash},
    {"restart", script_do_restart},
    {"hold-disk", script_do_hold_disk},
    {"persist", script_do_persist},
    {"release-disk", script_do_release_disk},
    {"disk", script_do_disk},
    {"compact", script_do_compact},
    {"install", script_do_install},
    {"deliver", do_deliver},
    {"drop", do_drop},
    {"duplicate", do_duplicate},
    {"inject", do_inject},
    {"net", do_net},
    {"partition", do_partition},
    {"cut", do_cut},
    {"heal", do_heal},
    {"disconnect", do_disconnect},
    {"campaign", do_campaign},
    {"away", do_away},
    {"tick", do_tick},
    {"run", do_run},
    {"propose", script_do_propose},
    {"read", script_do_read},
    {"transfer", script_do_transfer},
    {"add", script_do_add},
    {"remove", script_do_remove},
    {"promote", script_do_promote},
    {"demote", script_do_demote},
    {"address", script_do_address},
    {"replace", script_do_replace},
    {"status", do_status},
    {"log", do_log},
};

const char *script_run(struct script *s, const char *command)
{
    char line[LINE_BYTES], *words[MOST_WORDS], *rest = line;
    uint32_t count = 0;
    snprintf(line, sizeof(line), "%s", command);
    for (char *word; count < MOST_WORDS && (word = strsep(&rest, " "));)
        if (*word)
            words[count++] = word;
    bool quiet = count > 1 && strcmp(words[0], "quiet") == 0;
    uint32_t name = quiet;
    for (size_t i = 0; count > name && i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(words[name], commands[i].name) != 0)
            continue;
        s->quiet = quiet;
        const char *wrong =
            commands[i].run(s, (struct script_words){words + name + 1, count - name - 1});
        s->quiet = false;
        return wrong;
    }
    return "no such command";
}
