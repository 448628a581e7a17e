/* SPDX-License-Identifier: MIT */
/*
 * script_run.c - the commands, one function each; README.md says what they are for.
 *
 * A command is words. One whose words make no sense says what they should be; what a command does
 * shows in the trace.
 */
#include "script.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { MOST_WORDS = 64, LINE_BYTES = 512, COMMAND_BYTES = 100, MOST_PRESET = 64 };

/* A command's words after its name. */
struct words {
    char **word;
    uint32_t count;
};

/* The node named by word k, up or down; NULL if there is no such word or node. */
static struct script_node *node_at(struct script *s, struct words w, uint32_t k)
{
    raft_id id;
    return k < w.count && script_parse_id(w.word[k], &id) ? script_node(s, id) : NULL;
}

static struct script_node *running_at(struct script *s, struct words w, uint32_t k)
{
    struct script_node *n = node_at(s, w, k);
    return n && n->node.up ? n : NULL;
}

static bool word_is(struct words w, uint32_t k, const char *text)
{
    return k < w.count && strcmp(w.word[k], text) == 0;
}

/* ---- Life ---- */

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

static const char *do_nodes(struct script *s, struct words w)
{
    static const char usage[] = "nodes VOTERS [learners N] [leader ID | down]";
    uint64_t voters, learners = 0;
    raft_id leader = 0;
    bool down = false;
    if (w.count == 0 || !script_parse_number(w.word[0], &voters))
        return usage;
    for (uint32_t k = 1; k < w.count; k++) {
        if (word_is(w, k, "down"))
            down = true;
        else if (word_is(w, k, "learners") && k + 1 < w.count &&
                 script_parse_number(w.word[k + 1], &learners))
            k++;
        else if (word_is(w, k, "leader") && k + 1 < w.count &&
                 script_parse_id(w.word[k + 1], &leader))
            k++;
        else
            return usage;
    }
    if (voters == 0 || voters + learners > SCRIPT_NODES || leader > voters || (leader && down))
        return usage;
    struct raft_config config = {.count = (uint32_t)(voters + learners)};
    for (uint32_t i = 0; i < config.count; i++) {
        config.members[i] = script_member(i + 1);
        config.members[i].voter = i < voters;
    }
    for (raft_id id = 1; id <= config.count; id++) {
        script_format(s, id, &config, NULL, 0);
        if (!down)
            script_boot(script_node(s, id), 1);
    }
    if (leader)
        elect_silently(s, script_node(s, leader));
    return NULL;
}

static const char *do_preset(struct script *s, struct words w)
{
    static const char usage[] = "preset ID TERM..., of a node that `nodes N down` made";
    struct script_node *n = node_at(s, w, 0);
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

static const char *do_start(struct script *s, struct words w)
{
    struct script_node *n;
    for (uint32_t k = 0; k < w.count; k++) {
        if (!(n = node_at(s, w, k)) || n->node.up || n->boots)
            break;
        script_boot(n, n->node.disk.log.last ? 1 : 0);
        if (k + 1 == w.count)
            return NULL;
    }
    return "start ID..., of nodes that never ran";
}

static const char *do_crash(struct script *s, struct words w)
{
    struct script_node *n = running_at(s, w, 0);
    bool survives = word_is(w, 1, "unsynced-survives");
    if (!n || w.count > 2 || (w.count == 2 && !survives))
        return "crash ID [unsynced-survives]";
    script_crash(n, survives);
    return NULL;
}

static const char *do_restart(struct script *s, struct words w)
{
    static const char usage[] = "restart ID [applied INDEX]";
    struct script_node *n = node_at(s, w, 0);
    if (!n || n->node.up || !n->boots)
        return usage;
    uint64_t last = n->node.disk.log.last, applied = n->commit < last ? n->commit : last;
    if (w.count > 1 && (!word_is(w, 1, "applied") || w.count != 3 ||
                        !script_parse_number(w.word[2], &applied) || applied > n->commit))
        return usage;
    script_boot(n, applied);
    return NULL;
}

/* ---- Disks ---- */

static const char *do_hold_disk(struct script *s, struct words w)
{
    struct script_node *n = node_at(s, w, 0);
    if (!n || w.count != 1)
        return "hold-disk ID";
    n->disk_held = true;
    return NULL;
}

static const char *do_persist(struct script *s, struct words w)
{
    struct script_node *n = running_at(s, w, 0);
    uint64_t most = UINT32_MAX;
    if (!n || w.count > 2 || (w.count == 2 && !script_parse_number(w.word[1], &most)))
        return "persist ID [WRITES]";
    script_persist(n, (uint32_t)most);
    return NULL;
}

static const char *do_release_disk(struct script *s, struct words w)
{
    struct script_node *n = running_at(s, w, 0);
    if (!n || w.count != 1)
        return "release-disk ID";
    n->disk_held = false;
    script_persist(n, UINT32_MAX);
    return NULL;
}

/* ---- Messages ---- */

static const char *do_deliver(struct script *s, struct words w)
{
    struct script_filter f;
    bool once = word_is(w, 0, "once");
    if (once)
        w = (struct words){w.word + 1, w.count - 1};
    if (!script_parse_filter(w.word, w.count, &f))
        return "deliver [once] [FROM->TO] [KIND]... [MOST]";
    script_deliver(s, f, !once);
    return NULL;
}

static const char *do_drop(struct script *s, struct words w)
{
    struct script_filter f;
    if (!script_parse_filter(w.word, w.count, &f))
        return "drop [FROM->TO] [KIND]... [MOST]";
    script_drop(s, f);
    return NULL;
}

static const char *do_duplicate(struct script *s, struct words w)
{
    struct script_filter f;
    if (!script_parse_filter(w.word, w.count, &f))
        return "duplicate [FROM->TO] [KIND]... [MOST]";
    script_duplicate(s, f);
    return NULL;
}

static const char *do_inject(struct script *s, struct words w)
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

static const char *do_net(struct script *s, struct words w)
{
    if (w.count)
        return "net";
    for (uint32_t k = 0; k < s->packet_count; k++)
        script_tell_message(s, "", &s->packets[k]->msg);
    return NULL;
}

static const char *do_partition(struct script *s, struct words w)
{
    uint32_t group[SCRIPT_NODES + 1] = {0}, now = 1; /* those not named stay together */
    for (uint32_t k = 0; k < w.count; k++) {
        raft_id id;
        if (word_is(w, k, "|"))
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

static const char *do_cut(struct script *s, struct words w)
{
    raft_id from, to;
    for (uint32_t k = 0; k < w.count; k++) {
        if (!script_parse_link(w.word[k], &from, &to))
            return "cut FROM->TO...";
        set_links(s, from, to, true);
    }
    return NULL;
}

static const char *do_heal(struct script *s, struct words w)
{
    if (w.count)
        return "heal";
    set_links(s, 0, 0, false);
    return NULL;
}

static const char *do_disconnect(struct script *s, struct words w)
{
    struct script_node *n = running_at(s, w, 0);
    struct raft_event e = {.kind = RAFT_PEER_LOST};
    if (!n || w.count != 2 || !script_parse_id(w.word[1], &e.lost.peer))
        return "disconnect ID PEER";
    script_step(n, &e, NULL);
    return NULL;
}

/* ---- Time ---- */

static const char *do_campaign(struct script *s, struct words w)
{
    struct script_node *n = running_at(s, w, 0);
    if (!n || w.count != 1 || raft_role(n->node.core) == RAFT_LEADER)
        return "campaign ID, of a node that does not lead";
    script_campaign(n);
    return NULL;
}

static const char *do_tick(struct script *s, struct words w)
{
    uint64_t us;
    raft_id only = 0;
    bool one = w.count == 2 && script_parse_id(w.word[0], &only);
    if (w.count != (one ? 2 : 1) || !script_parse_duration(w.word[w.count - 1], &us))
        return "tick [ID] DURATION";
    script_pass(s, only, us, false);
    return NULL;
}

static const char *do_run(struct script *s, struct words w)
{
    uint64_t us;
    if (w.count != 1 || !script_parse_duration(w.word[0], &us))
        return "run DURATION";
    s->quiet = true;
    script_pass(s, 0, us, true);
    s->quiet = false;
    return NULL;
}

/* ---- Requests ---- */

static const char *do_propose(struct script *s, struct words w)
{
    static const char usage[] = "propose ID [COUNT[xBYTES]]";
    struct script_node *n = running_at(s, w, 0);
    uint64_t count = 1, bytes = COMMAND_BYTES;
    char *x = w.count == 2 ? strchr(w.word[1], 'x') : NULL;
    if (x)
        *x++ = '\0';
    if (!n || w.count > 2 || (w.count == 2 && !script_parse_number(w.word[1], &count)) ||
        (x && !script_parse_number(x, &bytes)) || count > RAFT_MAX_PROPOSE ||
        bytes > RAFT_MAX_ENTRY_BYTES)
        return usage;
    uint32_t sizes[RAFT_MAX_PROPOSE];
    struct sim_entry entries[RAFT_MAX_PROPOSE];
    for (uint32_t i = 0; i < count; i++) {
        sizes[i] = (uint32_t)bytes;
        entries[i] = (struct sim_entry){
            .kind = RAFT_ENTRY_COMMAND, .bytes = sizes[i], .payload = ++s->payloads};
    }
    script_step(n,
                &(struct raft_event){.kind = RAFT_PROPOSE,
                                     .propose = {.count = (uint32_t)count, .bytes = sizes}},
                entries);
    return NULL;
}

static const char *do_read(struct script *s, struct words w)
{
    struct script_node *n = running_at(s, w, 0);
    struct raft_event e = {.kind = RAFT_READ};
    bool named = w.count == 3 && word_is(w, 1, "token");
    if (!n || w.count != (named ? 3 : 1) ||
        (named && !script_parse_number(w.word[2], &e.read.token)))
        return "read ID [token NUMBER]";
    if (!named)
        e.read.token = ++s->tokens;
    script_step(n, &e, NULL);
    return NULL;
}

static const char *do_transfer(struct script *s, struct words w)
{
    struct script_node *n = running_at(s, w, 0);
    struct raft_event e = {.kind = RAFT_TRANSFER};
    if (!n || w.count != 3 || !word_is(w, 1, "->") || !script_parse_id(w.word[2], &e.transfer.to))
        return "transfer ID -> ID: the first asks (or, leading, does it) that the second leads";
    script_step(n, &e, NULL);
    return NULL;
}

static const char *change(struct script *s, struct words w, enum raft_change_kind kind,
                          const char *usage)
{
    struct script_node *n = running_at(s, w, 0);
    struct raft_event e = {.kind = RAFT_CHANGE, .change.kind = kind};
    raft_id member;
    if (!n || w.count < 2 || !script_parse_id(w.word[1], &member))
        return usage;
    e.change.member = script_member(member);
    if (w.count == 3 && kind == RAFT_CHANGE_ADD && word_is(w, 2, "promote"))
        e.change.member.promote = true;
    else if (w.count == 3 && kind == RAFT_CHANGE_ADDRESS)
        snprintf(e.change.member.address, sizeof(e.change.member.address), "%.100s", w.word[2]);
    else if (w.count != 2)
        return usage;
    script_step(n, &e, NULL);
    return NULL;
}

static const char *do_add(struct script *s, struct words w)
{
    return change(s, w, RAFT_CHANGE_ADD, "add AT MEMBER [promote]");
}

static const char *do_remove(struct script *s, struct words w)
{
    return change(s, w, RAFT_CHANGE_REMOVE, "remove AT MEMBER");
}

static const char *do_promote(struct script *s, struct words w)
{
    return change(s, w, RAFT_CHANGE_PROMOTE, "promote AT MEMBER");
}

static const char *do_demote(struct script *s, struct words w)
{
    return change(s, w, RAFT_CHANGE_DEMOTE, "demote AT MEMBER");
}

static const char *do_address(struct script *s, struct words w)
{
    return change(s, w, RAFT_CHANGE_ADDRESS, "address AT MEMBER HOST:PORT");
}

/* ---- Looking ---- */

static const char *for_nodes(struct script *s, struct words w, const char *usage,
                             void (*tell)(struct script *, const struct script_node *))
{
    for (uint32_t k = 0; k < w.count; k++)
        if (!node_at(s, w, k))
            return usage;
    for (uint32_t k = 0; k < w.count; k++)
        tell(s, node_at(s, w, k));
    for (uint32_t i = 0; w.count == 0 && i < SCRIPT_NODES; i++)
        if (s->nodes[i].boots)
            tell(s, &s->nodes[i]);
    return NULL;
}

static const char *do_status(struct script *s, struct words w)
{
    return for_nodes(s, w, "status [ID]...", script_tell_status);
}

static const char *do_log(struct script *s, struct words w)
{
    return for_nodes(s, w, "log [ID]...", script_tell_log);
}

/* ---- The table ---- */

static const struct {
    const char *name;
    const char *(*run)(struct script *, struct words);
} commands[] = {
    {"nodes", do_nodes},
    {"preset", do_preset},
    {"start", do_start},
    {"crash", do_crash},
    {"restart", do_restart},
    {"hold-disk", do_hold_disk},
    {"persist", do_persist},
    {"release-disk", do_release_disk},
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
    {"tick", do_tick},
    {"run", do_run},
    {"propose", do_propose},
    {"read", do_read},
    {"transfer", do_transfer},
    {"add", do_add},
    {"remove", do_remove},
    {"promote", do_promote},
    {"demote", do_demote},
    {"address", do_address},
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
        const char *wrong = commands[i].run(s, (struct words){words + name + 1, count - name - 1});
        s->quiet = false;
        return wrong;
    }
    return "no such command";
}
