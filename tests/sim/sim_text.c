/* SPDX-License-Identifier: MIT */
#include "sim_text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Appends to a text; what does not fit is cut. */
__attribute__((format(printf, 2, 3))) static void add(char out[SIM_TEXT_BYTES], const char *format,
                                                      ...)
{
    size_t at = strlen(out);
    va_list args;
    va_start(args, format);
    vsnprintf(out + at, SIM_TEXT_BYTES - at, format, args);
    va_end(args);
}

char sim_role_text(enum raft_role role)
{
    return "FPCL"[role];
}

const char *sim_refusal_text(enum raft_refusal refusal)
{
    static const char *const names[] = {"accepted", "not leader", "no leader", "busy",
                                        "moving",   "invalid",    "unsafe",    "no space"};
    return names[refusal];
}

static const char *const msg_names[] = {
    [RAFT_MSG_PREVOTE] = "prevote",
    [RAFT_MSG_PREVOTE_REPLY] = "prevote-reply",
    [RAFT_MSG_VOTE] = "vote",
    [RAFT_MSG_VOTE_REPLY] = "vote-reply",
    [RAFT_MSG_APPEND] = "append",
    [RAFT_MSG_APPEND_REPLY] = "append-reply",
    [RAFT_MSG_HEARTBEAT] = "heartbeat",
    [RAFT_MSG_HEARTBEAT_REPLY] = "heartbeat-reply",
    [RAFT_MSG_READ] = "read",
    [RAFT_MSG_READ_REPLY] = "read-reply",
    [RAFT_MSG_TIMEOUT_NOW] = "timeout-now",
    [RAFT_MSG_TRANSFER] = "transfer",
    [RAFT_MSG_SNAPSHOT] = "snapshot",
};

static void add_append_text(char out[SIM_TEXT_BYTES], const struct raft_msg *m)
{
    if (m->kind == RAFT_MSG_APPEND)
        add(out, " prev %" PRIu64 ":%" PRIu64 " +%u commit %" PRIu64, m->append.prev_index,
            m->append.prev_term, m->append.count, m->append.commit);
    else if (m->append_reply.ok)
        add(out, " match %" PRIu64, m->append_reply.match);
    else
        add(out, " refused %" PRIu64 " hint %" PRIu64 ":%" PRIu64, m->append_reply.match,
            m->append_reply.hint_index, m->append_reply.hint_term);
}

void sim_msg_text(char out[SIM_TEXT_BYTES], const struct raft_msg *m)
{
    out[0] = '\0';
    add(out, "%s %" PRIu64 "->%" PRIu64 " t%" PRIu64, msg_names[m->kind], m->from, m->to, m->term);
    switch (m->kind) {
    case RAFT_MSG_PREVOTE:
    case RAFT_MSG_VOTE:
        add(out, " last %" PRIu64 ":%" PRIu64 "%s", m->vote.last_index, m->vote.last_term,
            m->vote.transfer ? " transfer" : "");
        break;
    case RAFT_MSG_PREVOTE_REPLY:
    case RAFT_MSG_VOTE_REPLY:
        add(out, " %s t%" PRIu64, m->vote_reply.granted ? "granted" : "denied",
            m->vote_reply.election_term);
        break;
    case RAFT_MSG_APPEND:
    case RAFT_MSG_APPEND_REPLY:
        add_append_text(out, m);
        break;
    case RAFT_MSG_HEARTBEAT:
        add(out, " commit %" PRIu64 " round %" PRIu64, m->heartbeat.commit, m->heartbeat.round);
        if (m->heartbeat.lease_us)
            add(out, " lease %ums", m->heartbeat.lease_us / 1000);
        break;
    case RAFT_MSG_HEARTBEAT_REPLY:
        add(out, " round %" PRIu64, m->heartbeat_reply.round);
        break;
    case RAFT_MSG_READ:
        add(out, " token %" PRIu64, m->read.token);
        break;
    case RAFT_MSG_READ_REPLY:
        add(out, " token %" PRIu64 " %s %" PRIu64, m->read_reply.token,
            m->read_reply.ok ? "ok" : "failed", m->read_reply.index);
        break;
    case RAFT_MSG_TIMEOUT_NOW:
        break;
    case RAFT_MSG_TRANSFER:
        add(out, " to %" PRIu64, m->transfer.to);
        break;
    case RAFT_MSG_SNAPSHOT:
        add(out, " base %" PRIu64 ":%" PRIu64, m->snapshot.index, m->snapshot.term);
        break;
    }
}

void sim_write_text(char out[SIM_TEXT_BYTES], const struct sim_write *w)
{
    out[0] = '\0';
    add(out, "write %" PRIu64 ":", w->id);
    if (w->restart_index)
        add(out, " restart behind %" PRIu64, w->restart_index);
    if (w->truncate_from)
        add(out, " drop %" PRIu64 "..", w->truncate_from);
    if (w->count)
        add(out, " append %" PRIu64 "..%" PRIu64 " t%" PRIu64, w->first, w->first + w->count - 1,
            w->entries[w->count - 1].term);
    for (uint32_t i = 0; i < w->count; i++) {
        if (w->entries[i].kind == RAFT_ENTRY_NOOP)
            add(out, " noop");
        else if (w->entries[i].kind == RAFT_ENTRY_CONFIG)
            sim_config_text(out, &w->entries[i].config->decoded);
    }
    if (w->has_hard)
        add(out, " hard t%" PRIu64 " vote %" PRIu64, w->hard.term, w->hard.vote);
}

void sim_config_text(char out[SIM_TEXT_BYTES], const struct raft_config *config)
{
    bool joint = false;
    for (uint32_t i = 0; i < config->count; i++)
        joint |= config->members[i].voter_out;
    add(out, " [");
    for (uint32_t i = 0; joint && i < config->count; i++)
        if (config->members[i].voter_out)
            add(out, " %" PRIu64, config->members[i].id);
    if (joint)
        add(out, " ->");
    for (uint32_t i = 0; i < config->count; i++)
        if (config->members[i].voter)
            add(out, " %" PRIu64, config->members[i].id);
    for (uint32_t i = 0; i < config->count; i++)
        if (!config->members[i].voter && !config->members[i].voter_out)
            add(out, " %" PRIu64 "%s", config->members[i].id,
                config->members[i].replaces  ? "~"
                : config->members[i].promote ? "+"
                                             : "-");
    add(out, " ]");
}

void sim_event_text(char out[SIM_TEXT_BYTES], const struct raft_event *e)
{
    static const char *const changes[] = {
        [RAFT_CHANGE_ADD] = "add",         [RAFT_CHANGE_REMOVE] = "remove",
        [RAFT_CHANGE_PROMOTE] = "promote", [RAFT_CHANGE_DEMOTE] = "demote",
        [RAFT_CHANGE_ADDRESS] = "address", [RAFT_CHANGE_REPLACE] = "replace",
    };
    out[0] = '\0';
    switch (e->kind) {
    case RAFT_START:
        add(out, "start t%" PRIu64 " vote %" PRIu64 " last %" PRIu64 " applied %" PRIu64,
            e->start.hard.term, e->start.hard.vote, e->start.last_index, e->start.applied_index);
        break;
    case RAFT_TICK:
        add(out, "tick");
        break;
    case RAFT_MESSAGE:
        sim_msg_text(out, e->message);
        break;
    case RAFT_PERSISTED:
        add(out, "persisted %" PRIu64, e->persisted.write_id);
        break;
    case RAFT_PROPOSE:
        add(out, "propose %u", e->propose.count);
        break;
    case RAFT_CHANGE:
        add(out, "change %s %" PRIu64, changes[e->change.kind], e->change.member.id);
        break;
    case RAFT_READ:
        add(out, "read token %" PRIu64, e->read.token);
        break;
    case RAFT_TRANSFER:
        add(out, "transfer to %" PRIu64, e->transfer.to);
        break;
    case RAFT_PEER_LOST:
        add(out, "peer lost %" PRIu64, e->lost.peer);
        break;
    case RAFT_INSTALLED:
        add(out, "installed %" PRIu64 ":%" PRIu64, e->installed.index, e->installed.term);
        break;
    case RAFT_DISK:
        add(out, "disk %s", e->disk.full ? "full" : "has room");
        break;
    }
}
