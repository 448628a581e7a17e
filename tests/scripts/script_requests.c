/* SPDX-License-Identifier: MIT */
/* The commands that ask a node for something: proposals, reads, handovers, changes of members. */
#include "script.h"

#include <stdlib.h>
#include <string.h>

enum { COMMAND_BYTES = 100 };

const char *script_do_propose(struct script *s, struct script_words w)
{
    static const char usage[] = "propose ID [COUNT[xBYTES]] [reserve]";
    struct script_node *n = script_running_at(s, w, 0);
    uint64_t count = 1, bytes = COMMAND_BYTES;
    bool reserve = w.count > 0 && script_word_is(w, w.count - 1, "reserve");
    w.count -= reserve;
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
                &(struct raft_event){
                    .kind = RAFT_PROPOSE,
                    .propose = {.count = (uint32_t)count, .bytes = sizes, .reserve = reserve}},
                entries);
    return NULL;
}

const char *script_do_read(struct script *s, struct script_words w)
{
    struct script_node *n = script_running_at(s, w, 0);
    struct raft_event e = {.kind = RAFT_READ};
    bool named = w.count == 3 && script_word_is(w, 1, "token");
    if (!n || w.count != (named ? 3 : 1) ||
        (named && !script_parse_number(w.word[2], &e.read.token)))
        return "read ID [token NUMBER]";
    if (!named)
        e.read.token = ++s->tokens;
    script_step(n, &e, NULL);
    return NULL;
}

const char *script_do_transfer(struct script *s, struct script_words w)
{
    struct script_node *n = script_running_at(s, w, 0);
    struct raft_event e = {.kind = RAFT_TRANSFER};
    if (!n || w.count != 3 || !script_word_is(w, 1, "->") ||
        !script_parse_id(w.word[2], &e.transfer.to))
        return "transfer ID -> ID: the first asks (or, leading, does it) that the second leads";
    script_step(n, &e, NULL);
    return NULL;
}

static const char *change(struct script *s, struct script_words w, enum raft_change_kind kind,
                          const char *usage)
{
    struct script_node *n = script_running_at(s, w, 0);
    struct raft_event e = {.kind = RAFT_CHANGE, .change.kind = kind};
    raft_id member;
    if (!n || w.count < 2 || !script_parse_id(w.word[1], &member))
        return usage;
    e.change.member = script_member(member);
    bool more = w.count == 3;
    if (more && kind == RAFT_CHANGE_ADD)
        more = !(e.change.member.promote = script_word_is(w, 2, "promote"));
    else if (more && kind == RAFT_CHANGE_REPLACE)
        more = !script_parse_id(w.word[2], &e.change.replaces);
    else if (more && kind == RAFT_CHANGE_ADDRESS)
        more = snprintf(e.change.member.address, sizeof(e.change.member.address), "%s",
                        w.word[2]) >= (int)sizeof(e.change.member.address);
    if (more || w.count > 3)
        return usage;
    script_step(n, &e, NULL);
    return NULL;
}

const char *script_do_add(struct script *s, struct script_words w)
{
    return change(s, w, RAFT_CHANGE_ADD, "add AT MEMBER [promote]");
}

const char *script_do_remove(struct script *s, struct script_words w)
{
    return change(s, w, RAFT_CHANGE_REMOVE, "remove AT MEMBER");
}

const char *script_do_promote(struct script *s, struct script_words w)
{
    return change(s, w, RAFT_CHANGE_PROMOTE, "promote AT MEMBER");
}

const char *script_do_demote(struct script *s, struct script_words w)
{
    return change(s, w, RAFT_CHANGE_DEMOTE, "demote AT MEMBER");
}

const char *script_do_address(struct script *s, struct script_words w)
{
    return change(s, w, RAFT_CHANGE_ADDRESS, "address AT MEMBER HOST:PORT");
}

const char *script_do_replace(struct script *s, struct script_words w)
{
    return change(s, w, RAFT_CHANGE_REPLACE, "replace AT NEW OLD");
}
