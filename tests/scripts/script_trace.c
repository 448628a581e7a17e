/* SPDX-License-Identifier: MIT */
#include "script.h"

#include <inttypes.h>
#include <string.h>

#include "base/memory.h"

/* ---- What a step did ---- */

static const char *role_text(enum raft_role role)
{
    static const char *const names[] = {
        [RAFT_FOLLOWER] = "follower",
        [RAFT_PRE_CANDIDATE] = "pre-candidate",
        [RAFT_CANDIDATE] = "candidate",
        [RAFT_LEADER] = "leader",
    };
    return names[role];
}

static void tell_role(struct script *s, struct script_node *n)
{
    const struct raft *r = n->node.core;
    if (raft_role(r) == n->role && raft_term(r) == n->term && raft_leader(r) == n->leader)
        return;
    n->role = raft_role(r);
    n->term = raft_term(r);
    n->leader = raft_leader(r);
    fprintf(s->out, "    %" PRIu64 ": %s t%" PRIu64, n->node.id, role_text(n->role), n->term);
    if (n->leader && n->leader != n->node.id)
        fprintf(s->out, " of %" PRIu64, n->leader);
    fprintf(s->out, "\n");
}

static void tell_config(struct script *s, struct script_node *n)
{
    char text[SIM_TEXT_BYTES] = "";
    uint64_t index;
    const struct raft_config *config = raft_config(n->node.core, &index);
    if (index == n->config_index)
        return;
    n->config_index = index;
    sim_config_text(text, config);
    fprintf(s->out, "    %" PRIu64 ": config %" PRIu64 "%s\n", n->node.id, index, text);
}

void script_tell_step(struct script *s, struct script_node *n, const struct raft_effects *out)
{
    raft_id id = n->node.id;
    tell_role(s, n);
    tell_config(s, n);
    if (n->wrote[0] && !s->quiet)
        fprintf(s->out, "    %" PRIu64 ": %s\n", id, n->wrote);
    n->wrote[0] = '\0';
    if (out->commit_index != n->commit)
        fprintf(s->out, "    %" PRIu64 ": commit %" PRIu64 "\n", id, out->commit_index);
    n->commit = out->commit_index;
    if (out->need_snapshot_index)
        fprintf(s->out, "    %" PRIu64 ": needs a snapshot at %" PRIu64 "\n", id,
                out->need_snapshot_index);
    if (out->refusal != RAFT_ACCEPTED)
        fprintf(s->out, "    %" PRIu64 ": refused, %s\n", id, sim_refusal_text(out->refusal));
    for (uint32_t i = 0; i < out->read_count; i++) {
        const struct raft_read_done *d = &out->reads[i];
        fprintf(s->out, "    %" PRIu64 ": read %" PRIu64, id, d->token);
        fprintf(s->out, d->ok ? " at %" PRIu64 "\n" : " failed\n", d->index);
    }
}

void script_tell_message(struct script *s, const char *what, const struct raft_msg *m)
{
    char text[SIM_TEXT_BYTES];
    if (s->quiet)
        return;
    sim_msg_text(text, m);
    fprintf(s->out, "  %s%s\n", what, text);
}

/* ---- What a node is ---- */

static void tell_peer(struct script *s, const struct script_node *n, raft_id id)
{
    struct raft_peer_status p = raft_peer_status(n->node.core, id, n->now_us);
    fprintf(s->out, "      %" PRIu64 ": match %" PRIu64 "%s%s\n", id, p.match,
            p.snapshot     ? " snapshot"
            : p.pipelining ? " pipelining"
                           : "",
            p.contact_us == UINT64_MAX ? " silent" : "");
}

void script_tell_status(struct script *s, const struct script_node *n)
{
    const struct raft *r = n->node.core;
    char config_text[SIM_TEXT_BYTES] = "";
    if (!n->node.up) {
        fprintf(s->out, "    %" PRIu64 ": down\n", n->node.id);
        return;
    }
    const struct raft_config *config = raft_config(r, NULL);
    sim_config_text(config_text, config);
    fprintf(s->out, "    %" PRIu64 ": %s t%" PRIu64, n->node.id, role_text(raft_role(r)),
            raft_term(r));
    if (raft_leader(r) && raft_role(r) != RAFT_LEADER)
        fprintf(s->out, " of %" PRIu64, raft_leader(r));
    fprintf(s->out, " last %" PRIu64, raft_last_index(r));
    if (raft_durable_index(r) != raft_last_index(r))
        fprintf(s->out, " (durable %" PRIu64 ")", raft_durable_index(r));
    fprintf(s->out, " commit %" PRIu64 "%s%s", raft_commit_index(r), config_text,
            raft_has_quorum(r, n->now_us) ? "" : " no quorum");
    if (n->now_us < raft_lease_until_us(r))
        fprintf(s->out, " lease");
    if (raft_dropped_messages(r))
        fprintf(s->out, " dropped %" PRIu64, raft_dropped_messages(r));
    fprintf(s->out, "\n");
    for (uint32_t i = 0; raft_role(r) == RAFT_LEADER && i < config->count; i++)
        if (config->members[i].id != n->node.id)
            tell_peer(s, n, config->members[i].id);
}

/* The terms, as the paper's figures have them, behind the base; c marks a configuration. */
void script_tell_log(struct script *s, const struct script_node *n)
{
    const struct raft *r = n->node.core;
    fprintf(s->out, "    %" PRIu64 ":", n->node.id);
    if (raft_base_index(r))
        fprintf(s->out, " %" PRIu64 "|", raft_base_index(r));
    for (uint64_t i = raft_base_index(r) + 1; i <= raft_last_index(r); i++)
        fprintf(s->out, " %" PRIu64 "%s", raft_term_at(r, i),
                sim_log_at(&n->node.log, i)->kind == RAFT_ENTRY_CONFIG ? "c" : "");
    fprintf(s->out, "\n");
}

/* ---- What must hold ---- */

static void check_committed(struct script *s, struct script_node *n)
{
    const struct raft *r = n->node.core;
    uint64_t commit = raft_commit_index(r), base = raft_base_index(r);
    while (s->committed.last < commit)
        sim_log_append(&s->committed, sim_log_at(&n->node.log, s->committed.last + 1));
    for (uint64_t i = base > 0 ? base : 1; i <= commit; i++) {
        uint64_t was = sim_log_term(&s->committed, i), is = raft_term_at(r, i);
        if (is == was || is == 0)
            continue;
        fprintf(s->out,
                "    BROKEN: %" PRIu64 " committed another entry %" PRIu64 " (t%" PRIu64
                ", was t%" PRIu64 ")\n",
                n->node.id, i, is, was);
        s->broken = true;
    }
}

void script_check(struct script *s, struct script_node *n)
{
    const struct raft *r = n->node.core;
    const char *broken = raft_check(r);
    if (broken) {
        fprintf(s->out, "    BROKEN: %" PRIu64 ": %s\n", n->node.id, broken);
        s->broken = true;
    }
    check_committed(s, n);
    if (raft_role(r) != RAFT_LEADER || raft_term(r) >= SCRIPT_TERMS)
        return;
    raft_id *leader = &s->leaders[raft_term(r)];
    if (*leader && *leader != n->node.id) {
        fprintf(s->out, "    BROKEN: both %" PRIu64 " and %" PRIu64 " lead in term %" PRIu64 "\n",
                *leader, n->node.id, raft_term(r));
        s->broken = true;
    }
    *leader = n->node.id;
}
