/* SPDX-License-Identifier: MIT */
#include "script.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* ---- Numbers, durations, links ---- */

/* A number and what follows it. */
static bool take_number(const char *text, uint64_t *value, const char **rest)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    *value = strtoull(text, &end, 10);
    *rest = end;
    return true;
}

bool script_parse_number(const char *text, uint64_t *value)
{
    const char *rest;
    return take_number(text, value, &rest) && *rest == '\0';
}

bool script_parse_id(const char *text, raft_id *id)
{
    return script_parse_number(text, id) && *id > 0 && *id <= SCRIPT_NODES;
}

bool script_parse_duration(const char *text, uint64_t *us)
{
    const char *unit;
    if (!take_number(text, us, &unit))
        return false;
    if (strcmp(unit, "ms") == 0)
        *us *= 1000;
    else if (strcmp(unit, "s") == 0)
        *us *= 1000 * 1000;
    else
        return false;
    return true;
}

static bool take_end(const char **text, raft_id *id)
{
    *id = 0;
    if (**text == '*') {
        ++*text;
        return true;
    }
    return take_number(*text, id, text) && *id > 0 && *id <= SCRIPT_NODES;
}

bool script_parse_link(const char *text, raft_id *from, raft_id *to)
{
    if (!take_end(&text, from) || strncmp(text, "->", 2) != 0)
        return false;
    text += 2;
    return take_end(&text, to) && *text == '\0';
}

/* The kind with the name that the trace gives it; 0 if there is none. */
static enum raft_msg_kind parse_kind(const char *word)
{
    for (enum raft_msg_kind kind = RAFT_MSG_PREVOTE; kind <= RAFT_MSG_SNAPSHOT; kind++) {
        char text[SIM_TEXT_BYTES];
        sim_msg_text(text, &(struct raft_msg){.kind = kind});
        size_t length = strcspn(text, " ");
        if (strlen(word) == length && strncmp(word, text, length) == 0)
            return kind;
    }
    return 0;
}

bool script_parse_filter(char **words, uint32_t count, struct script_filter *f)
{
    *f = (struct script_filter){0};
    for (uint32_t i = 0; i < count; i++) {
        enum raft_msg_kind kind = parse_kind(words[i]);
        uint64_t most;
        raft_id from, to;
        if (kind)
            f->kinds |= 1u << kind;
        else if (script_parse_number(words[i], &most))
            f->most = (uint32_t)most;
        else if (f->link_count < SCRIPT_NODES && script_parse_link(words[i], &from, &to)) {
            f->links[f->link_count].from = from;
            f->links[f->link_count++].to = to;
        } else
            return false;
    }
    return true;
}

/* ---- Messages ---- */

static bool take_index_and_term(const char *text, uint64_t *index, uint64_t *term)
{
    return take_number(text, index, &text) && *text == ':' && script_parse_number(text + 1, term);
}

static bool parse_flag(const char *word, struct raft_msg *m)
{
    if (strcmp(word, "transfer") == 0)
        m->vote.transfer = true;
    else if (strcmp(word, "granted") == 0 || strcmp(word, "denied") == 0)
        m->vote_reply.granted = *word == 'g';
    else if (*word == 't')
        return script_parse_number(word + 1, &m->vote_reply.election_term);
    else if (*word == '+') {
        uint64_t count;
        if (!script_parse_number(word + 1, &count) || count > RAFT_MAX_APPEND_ENTRIES)
            return false;
        m->append.count = (uint32_t)count;
    } else
        return false;
    return true;
}

/* Words as in sim_msg_text(). */
static bool parse_pair(const char *name, const char *value, struct raft_msg *m)
{
    bool reads = m->kind == RAFT_MSG_READ_REPLY;
    if (strcmp(name, "last") == 0)
        return take_index_and_term(value, &m->vote.last_index, &m->vote.last_term);
    if (strcmp(name, "prev") == 0)
        return take_index_and_term(value, &m->append.prev_index, &m->append.prev_term);
    if (strcmp(name, "base") == 0)
        return take_index_and_term(value, &m->snapshot.index, &m->snapshot.term);
    if (strcmp(name, "hint") == 0)
        return take_index_and_term(value, &m->append_reply.hint_index, &m->append_reply.hint_term);
    if (strcmp(name, "commit") == 0)
        return script_parse_number(value, m->kind == RAFT_MSG_APPEND ? &m->append.commit
                                                                     : &m->heartbeat.commit);
    if (strcmp(name, "lease") == 0) {
        uint64_t us = 0;
        bool good = script_parse_duration(value, &us) && us <= UINT32_MAX;
        m->heartbeat.lease_us = (uint32_t)us;
        return good;
    }
    if (strcmp(name, "round") == 0)
        return script_parse_number(
            value, m->kind == RAFT_MSG_HEARTBEAT ? &m->heartbeat.round : &m->heartbeat_reply.round);
    if (strcmp(name, "token") == 0)
        return script_parse_number(value, reads ? &m->read_reply.token : &m->read.token);
    if (strcmp(name, "match") == 0 || strcmp(name, "refused") == 0) {
        m->append_reply.ok = *name == 'm';
        return script_parse_number(value, &m->append_reply.match);
    }
    if (strcmp(name, "ok") == 0 || strcmp(name, "failed") == 0) {
        m->read_reply.ok = *name == 'o';
        return script_parse_number(value, &m->read_reply.index);
    }
    return strcmp(name, "to") == 0 && script_parse_id(value, &m->transfer.to);
}

struct sim_packet *script_parse_packet(char **words, uint32_t count)
{
    struct raft_msg m = {0};
    if (count < 3 || !(m.kind = parse_kind(words[0])) ||
        !script_parse_link(words[1], &m.from, &m.to) || m.from == 0 || m.to == 0 ||
        words[2][0] != 't' || !script_parse_number(words[2] + 1, &m.term))
        return NULL;
    for (uint32_t i = 3; i < count; i++) {
        if (parse_flag(words[i], &m))
            continue;
        if (i + 1 == count || !parse_pair(words[i], words[i + 1], &m))
            return NULL;
        i++;
    }
    uint32_t entries = m.kind == RAFT_MSG_APPEND ? m.append.count : 0;
    struct sim_packet *p = memory_zalloc(sizeof(*p) + entries * sizeof(p->entries[0]));
    p->msg = m;
    for (uint32_t i = 0; i < entries; i++)
        p->entries[i] =
            (struct sim_entry){.term = m.term, .kind = RAFT_ENTRY_COMMAND, .bytes = 100};
    return p;
}
