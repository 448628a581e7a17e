/* SPDX-License-Identifier: MIT */
/*
 * belonging.c - which cluster this node's directory belongs to, and how that changes.
 *
 *     founding --founds one--> member
 *     joining --a hello of the cluster that let it in--> its cluster is on file
 *             --a configuration that holds it is applied--> member
 *     member --a member says that it is none any more--> removed, for ever
 *
 * The states stand in DIR/identity (datadir.h), and so do the other members' addresses. Threads:
 * node_adopt_config() any, node_on_config() the apply thread, the others the loop's; dir_lock is
 * between them.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/report.h"
#include "node/internal.h"

/* ---- Becoming a member ---- */

/* The others' addresses; whether they are not those on file. */
static bool note_peers(struct datadir *dir, const struct raft_config *config)
{
    char peers[DATADIR_PEERS_BYTES];
    size_t used = 0;
    peers[0] = '\0';
    for (uint32_t i = 0; i < config->count; i++) {
        const struct raft_member *m = &config->members[i];
        if (m->id != dir->identity.id)
            used += (size_t)snprintf(peers + used, sizeof(peers) - used, "%s%s", used ? "," : "",
                                     m->address);
    }
    bool changed = strcmp(peers, dir->peers) != 0;
    memcpy(dir->peers, peers, used + 1);
    return changed;
}

/* The first configuration that holds this node makes a joining directory a member's. */
static void adopt(struct node *n, const struct raft_config *config)
{
    bool changed = note_peers(&n->dir, config);
    bool joins = n->dir.state == DATADIR_JOINING && raft_config_find(config, n->dir.identity.id);
    if (joins)
        n->dir.state = DATADIR_MEMBER;
    int status = joins || changed ? datadir_save(&n->dir) : 0;
    if (status < 0)
        report_fatal("%s/identity cannot be written: %s. Make room or mend the disk, then start "
                     "this node again",
                     n->dir.path, strerror(-status));
    if (!joins)
        return;
    report_info("is a member now");
    n->joined = true;
    node_wake(n);
}

void node_adopt_config(struct node *n, const struct buf *encoded)
{
    struct raft_config *config = memory_alloc(sizeof(*config));
    if (encoded && raft_config_decode(config, encoded->data, encoded->bytes)) {
        pthread_mutex_lock(&n->dir_lock);
        adopt(n, config);
        pthread_mutex_unlock(&n->dir_lock);
    }
    memory_free(config);
}

void node_adopt_stored_config(struct node *n)
{
    uint64_t index;
    struct buf *config = store_config(n->store, &index);
    node_adopt_config(n, config);
    buf_unref(config);
}

void node_on_config(void *ctx, const struct raft_entry *entry)
{
    node_adopt_config(ctx, entry->payload);
}

/*
 * A member asks who is here, to add this node. Only one that has no cluster yet can be added.
 */
bool node_on_invite(void *ctx, const struct raft_net_invitation *invitation,
                    struct raft_net_join *self, char why[RAFT_NET_WHY_BYTES])
{
    struct node *n = ctx;
    pthread_mutex_lock(&n->dir_lock);
    const struct raft_net_identity *identity = &n->dir.identity;
    bool same = identity->cluster == invitation->cluster;
    bool free = n->dir.state == DATADIR_JOINING && (identity->cluster == 0 || same);
    bool named = strcmp(identity->name, invitation->name) == 0;
    if (!named)
        snprintf(why, RAFT_NET_WHY_BYTES, "here is %s, not %s", identity->name, invitation->name);
    else if (!free)
        snprintf(why, RAFT_NET_WHY_BYTES,
                 "%s belongs to %s already: start it with an empty -data directory and -join",
                 identity->name, same ? "this cluster" : "another cluster");
    *self = (struct raft_net_join){.id = identity->id, .voter = !n->options->nonvoter};
    memcpy(self->name, identity->name, sizeof(self->name));
    memcpy(self->address, n->options->address, sizeof(self->address));
    pthread_mutex_unlock(&n->dir_lock);
    return named && free;
}

/* ---- Claims ---- */

/*
 * Whether this node is, or is about to be, a cluster of one. Any other belongs where it is: the
 * claim then comes from a cluster that had a node of this name at this address once.
 */
static bool is_alone(struct node *n)
{
    if (n->dir.state == DATADIR_FOUNDING)
        return true;
    struct raft_driver_status *status = memory_alloc(sizeof(*status));
    raft_driver_status(n->driver, status);
    bool alone = status->member_count <= 1;
    memory_free(status);
    return alone;
}

/* Synced to disk before anything is accepted from the cluster. */
static bool adopt_cluster(struct node *n, uint64_t cluster)
{
    struct raft_net_identity *self = &n->dir.identity;
    self->cluster = cluster;
    if (datadir_save(&n->dir) < 0)
        self->cluster = 0;
    return self->cluster != 0;
}

/* This node should not have been founded: nothing may be added to what is to be thrown away. */
static void stop_taking_changes(struct node *n, const char *from_name, const char *from_address)
{
    n->claimed = true;
    snprintf(n->why, NODE_WHY_BYTES,
             "%s at %s says that %s is a member of its cluster: to go on in it, start this "
             "node with %s-join %s",
             from_name, from_address, n->dir.identity.name,
             n->dir.state == DATADIR_FOUNDING ? "" : "an empty -data directory and ", from_address);
    if (!n->changes)
        return;
    changes_refuse(n->changes);
    raft_driver_admit_nobody(n->driver, from_address);
    report_error("%s. This node takes no more changes", n->why); /* once it is so */
}

/*
 * A peer of a cluster we are not in names this node. A node that joins adopts its cluster: that
 * happens once in a directory's life, and nothing else runs on the loop yet. Whoever means this
 * very incarnation means the cluster that it left by --recover: nothing was lost by mistake.
 */
enum raft_net_claim node_on_claim(void *ctx, uint64_t cluster, raft_id from, const char *from_name,
                                  const char *from_address, raft_id expected_id)
{
    (void)from;
    struct node *n = ctx;
    enum raft_net_claim claim = RAFT_CLAIM_IGNORED;
    pthread_mutex_lock(&n->dir_lock);
    const struct raft_net_identity *self = &n->dir.identity;
    bool joins = n->dir.state == DATADIR_JOINING;
    if (joins && self->cluster == 0 && expected_id == self->id) {
        claim = adopt_cluster(n, cluster) ? RAFT_CLAIM_ADOPTED : RAFT_CLAIM_IGNORED;
    } else if (!joins && expected_id != self->id && is_alone(n)) {
        claim = RAFT_CLAIM_NOTED;
        if (!n->claimed)
            stop_taking_changes(n, from_name, from_address);
    }
    pthread_mutex_unlock(&n->dir_lock);
    if (claim == RAFT_CLAIM_ADOPTED)
        raft_driver_set_cluster(n->driver, cluster);
    return claim;
}

/* ---- Leaving ---- */

/* A member says so, and it is true: the directory remembers, and the process ends. */
void node_on_removed(void *ctx, const char *by_name)
{
    struct node *n = ctx;
    pthread_mutex_lock(&n->dir_lock);
    bool first = n->dir.state == DATADIR_MEMBER;
    if (first) {
        n->dir.state = DATADIR_REMOVED;
        (void)datadir_save(&n->dir); /* not on disk: it will be told again */
        snprintf(n->why, NODE_WHY_BYTES,
                 "was removed from its cluster, says %s: to bring it back, start it with an empty "
                 "-data directory and -join",
                 by_name);
    }
    pthread_mutex_unlock(&n->dir_lock);
    if (!first)
        return;
    members_removed(n->members, n->options->name);
    kill(getpid(), SIGTERM);
}
