/* SPDX-License-Identifier: MIT */
#include "node/status.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A text that grows within its bounds. */
struct text {
    char *out;
    size_t bytes;
    size_t used;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t->out + t->used, t->bytes - t->used, format, args);
    va_end(args);
    if (n > 0)
        t->used = t->used + (size_t)n < t->bytes ? t->used + (size_t)n : t->bytes - 1;
}

static const char *state_name(const struct raft_driver_status *raft)
{
    switch (raft->role) {
    case RAFT_LEADER:
        return "leader";
    case RAFT_PRE_CANDIDATE:
    case RAFT_CANDIDATE:
        return "candidate";
    case RAFT_FOLLOWER:
        break;
    }
    return raft->voter ? "follower" : "learner";
}

static const struct raft_member *leader_of(const struct raft_driver_status *raft)
{
    for (uint32_t i = 0; raft->leader && i < raft->member_count; i++)
        if (raft->members[i].member.id == raft->leader)
            return &raft->members[i].member;
    return NULL;
}

static void add_quorum(struct text *t, const struct raft_driver_status *raft)
{
    unsigned voters = 0, up = 0;
    for (uint32_t i = 0; i < raft->member_count; i++) {
        voters += raft->members[i].member.voter;
        up += raft->members[i].member.voter && raft->members[i].up;
    }
    add(t, "quorum: %s %u/%u\n", raft->quorum ? "yes" : "no", up, voters);
}

/* Two have one name while a member is being replaced: shown is the one that still counts. */
static bool is_successor(const struct raft_driver_status *raft, uint32_t k)
{
    return raft->members[k].member.replaces != 0;
}

static void add_member(struct text *t, const struct raft_driver_status *raft,
                       const struct raft_driver_member_status *m)
{
    uint64_t lag = raft->last_index > m->match ? raft->last_index - m->match : 0;
    if (m->match == 0 && raft->role != RAFT_LEADER)
        lag = 0; /* only the leader knows */
    add(t, "member.%s: %s %s match=%" PRIu64 " lag=%" PRIu64 " contact_ms=%" PRId64 "\n",
        m->member.name, m->member.address, m->member.voter ? "voter" : "nonvoter", m->match, lag,
        m->contact_ms);
}

size_t status_format(const struct status_source *source, char *out, size_t out_bytes)
{
    const struct raft_driver_status *raft = source->raft;
    const struct raft_member *leader = leader_of(raft);
    struct text t = {.out = out, .bytes = out_bytes};
    add(&t, "id: %s\n", source->identity->name);
    add(&t, "address: %s\n", source->identity->address);
    add(&t, "cluster: %016" PRIx64 "\n", source->identity->cluster);
    add(&t, "version: %s\n", RAFTFS_VERSION);
    add(&t, "state: %s\n", state_name(raft));
    add(&t, "term: %" PRIu64 "\n", raft->term);
    add(&t, "leader: %s\n", leader ? leader->name : "-");
    add_quorum(&t, raft);
    add(&t, "elections: %" PRIu64 "\n", raft->elections);
    add(&t, "commit_index: %" PRIu64 "\n", raft->commit_index);
    add(&t, "applied_index: %" PRIu64 "\n", source->store->applied_index);
    add(&t, "last_index: %" PRIu64 "\n", raft->last_index);
    add(&t, "snapshot_index: %" PRIu64 "\n", source->snapshot_index);
    add(&t, "keys: %" PRIu64 "\n", source->store->keys);
    add(&t, "bytes: %" PRIu64 "\n", source->store->bytes);
    add(&t, "fingerprint: %016" PRIx64 "\n", source->store->fingerprint);
    add(&t, "uptime_ms: %" PRIu64 "\n", source->uptime_ms);
    for (uint32_t i = 0; i < raft->member_count; i++)
        if (!is_successor(raft, i))
            add_member(&t, raft, &raft->members[i]);
    return t.used;
}

size_t status_leader(const struct raft_driver_status *raft, char *out, size_t out_bytes)
{
    const struct raft_member *leader = leader_of(raft);
    struct text t = {.out = out, .bytes = out_bytes};
    if (leader)
        add(&t, "%s %s\n", leader->name, leader->address);
    return t.used;
}

bool status_member(const struct raft_driver_status *raft, unsigned k, char *name, size_t name_bytes,
                   char *text, size_t text_bytes)
{
    uint32_t i = 0;
    while (i < raft->member_count && (is_successor(raft, i) || k-- > 0))
        i++;
    if (i >= raft->member_count)
        return false;
    const struct raft_member *m = &raft->members[i].member;
    snprintf(name, name_bytes, "%s", m->name);
    snprintf(text, text_bytes, "%s %s", m->address, m->voter ? "voter" : "nonvoter");
    return true;
}
