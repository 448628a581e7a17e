/* SPDX-License-Identifier: MIT */
/*
 * request.h - one FUSE request, from its arrival to its reply.
 *
 * An operation is a chain of short functions, each of which ends in a reply or hands the request
 * on: request_look() to whoever may look, request_change() to whoever has the result. No thread
 * waits in between. What libfuse passes to an operation dies when that returns, so it is copied.
 *
 *     request_new -> [deferred_hold] -> request_look -> a query -> request_reply_...
 *                 -> [deferred_hold] -> request_change -> the result -> request_reply_...
 *
 * A request belongs to one thread at a time; every request_reply...() ends it.
 *
 * Interrupts: libfuse says that the caller was sent a signal. Only a fatal one ends the request; so
 * the timer thread looks at the caller, at first at once and then every 20 ms, as long as the
 * request waits (FUSE tells of the first signal only). Cancelling races with the answer:
 * leave_wait() in request.c keeps the two apart.
 */
#ifndef RAFTFS_FUSE_REQUEST_H
#define RAFTFS_FUSE_REQUEST_H

#include <limits.h>

#include "fuse/mount_state.h"
#include "store/command.h"

struct handle;
struct request;

typedef void request_fn(struct request *r);
typedef void request_changed_fn(struct request *r, int status, const struct store_result *result);

enum request_wait { REQUEST_RUNS, REQUEST_LOOKS, REQUEST_CHANGES, REQUEST_ORDERS };

struct request {
    struct mount *mount;
    fuse_req_t fuse;
    pid_t caller;         /* thread id, 0 if unknown */
    uint64_t just_looked; /* the nodeid that its system call has looked at already (recent.h) */

    /* The arguments, as far as the operation has them. */
    uint64_t nodeid; /* the parent's where there is a name */
    uint64_t new_parent;
    char name[NAME_MAX + 1];
    char new_name[NAME_MAX + 1];
    struct fuse_file_info fi;
    struct handle *handle;
    struct stat stat;
    uint32_t mode;
    uint32_t flags;
    uint64_t offset;
    size_t bytes;
    const void *data; /* libfuse's, until request_keep_data() */
    void *kept;

    uint64_t ino; /* the number given to what is made */
    bool keep_sent;
    struct buf *sent; /* with keep_sent: what was sent last, to be read once it is answered */

    request_fn *then;
    int status; /* that it is answered with, where a worker takes that over */
    request_fn *numbered;
    request_changed_fn *changed;
    struct request *next_held; /* deferred.c's */
    bool fail_with_commit;
    int commit_status;
    bool waited; /* long enough for a truncation's write or close */
    bool carries;
    union {
        struct backend_barrier barrier;
        struct backend_change change;
        struct backend_order order;
    };

    bool watched; /* libfuse tells of interrupts */
    struct timer interrupt;
    enum request_wait wait; /* from here on: under the mount's lock */
    uint32_t refs;
    bool ended;
    bool cancelling;
    pthread_t canceller;
    pthread_cond_t cancelled;
};

struct request *request_new(fuse_req_t fuse, uint64_t nodeid);

/* False (and the request has failed with ENAMETOOLONG) if the name is too long. */
bool request_set_name(struct request *r, const char *name);
bool request_set_new_name(struct request *r, const char *name);

/* Copies what `data` points to, so that it outlives the operation's first function. */
void request_keep_data(struct request *r);

/* `then` runs once a query may look: after a barrier, or at once in .raft/local. */
void request_look(struct request *r, request_fn *then);

/* The same for what the kernel asks for only when it has just had the attributes of r->nodeid. */
void request_look_on(struct request *r, request_fn *then);

/* The request is a GETATTR that has passed a barrier, and is about to be answered. */
void request_note_look(struct request *r);

/* `then` runs once this node has a session, with r->ino a number for a new inode. */
void request_number(struct request *r, request_fn *then);

/* Replicates `command`; `changed` gets what it came to (0 or a negative errno; the result or NULL).
 */
void request_send(struct request *r, const struct command *command, request_changed_fn *changed);

/* The same after filling the caller's credentials in. */
void request_change(struct request *r, struct command *command, request_changed_fn *changed);

/* Has the node carry out r->order, filled in but for `done`; the reply to WRITE or UNLINK follows.
 */
void request_order(struct request *r);

/* ---- The end of a request ---- */

/* status: 0 or a negative errno. */
void request_reply(struct request *r, int status);
void request_reply_attr(struct request *r, const struct store_attr *attr, double timeout_s);
void request_reply_entry(struct request *r, const struct store_attr *attr); /* of r->name */
void request_reply_data(struct request *r, const void *data, size_t bytes);
void request_reply_written(struct request *r); /* r->bytes */
void request_reply_link(struct request *r, const char *target);

/* False if the caller is gone: then no RELEASE will come. */
bool request_reply_open(struct request *r);
bool request_reply_create(struct request *r, const struct store_attr *attr);

/* ---- Attributes as FUSE has them ---- */

void attr_to_stat(const struct store_attr *attr, struct stat *stat);

/*
 * An entry that is valid for no time, as linearizable ones are until every node has leases: only an
 * answer of the cluster says what a name is now. With TREE_LOCAL in `tree` the number is that of
 * .raft/local.
 */
void attr_to_entry(const struct store_attr *attr, uint64_t tree, struct fuse_entry_param *entry);

#endif
