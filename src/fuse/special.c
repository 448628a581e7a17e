/* SPDX-License-Identifier: MIT */
#include "fuse/special.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "fuse/request.h"
#include "fuse/tree.h"

enum {
    TEXT_BYTES = 16 * 1024,
    MEMBER_TEXT_BYTES = 256,
    SHOWN_BYTES = 4096, /* st_size, as for sysfs attributes: the text is made when it is read */
    DAY_S = 24 * 60 * 60,
    NOTIFIED_AT_ONCE = 64,
};

enum { STATUS = 1, LEADER, RAFT_DIR, MEMBERS_DIR, SNAPSHOT };

#define NODEID(k)   (TREE_SPECIAL | (k))
#define LOCAL_ROOT  (TREE_LOCAL | STORE_ROOT_INO)
#define MEMBER_MARK ((uint64_t)1 << 48) /* below it, a hash of the member's name */

struct special_file {
    struct special_file *prev; /* in mount->special_files */
    struct special_file *next;
    struct mount *mount;
    uint64_t nodeid;
    char new_member[NAME_MAX + 1]; /* that is to be made, or empty */
    uint64_t seen; /* the state counter at the last read of offset 0; 0: not read yet */
    struct fuse_pollhandle *poll;
    pthread_mutex_t text_lock; /* readers that share the descriptor */
    size_t text_bytes;
    char text[TEXT_BYTES];
};

/* ---- Names and numbers ---- */

static const struct {
    uint64_t parent;
    const char *name;
    uint64_t nodeid;
} names[] = {
    {STORE_ROOT_INO, ".status", NODEID(STATUS)},
    {STORE_ROOT_INO, ".leader", NODEID(LEADER)},
    {STORE_ROOT_INO, ".raft", NODEID(RAFT_DIR)},
    {NODEID(RAFT_DIR), "local", LOCAL_ROOT},
    {NODEID(RAFT_DIR), "members", NODEID(MEMBERS_DIR)},
    {NODEID(RAFT_DIR), "snapshot", NODEID(SNAPSHOT)},
};

/* FNV-1a, cut to 48 bits. */
static uint64_t member_nodeid(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 0x100000001b3u;
    return TREE_SPECIAL | MEMBER_MARK | (hash & (MEMBER_MARK - 1));
}

static bool find_member(struct mount *m, uint64_t nodeid, char name[NAME_MAX + 1],
                        char text[MEMBER_TEXT_BYTES])
{
    const struct backend *backend = m->backend;
    for (unsigned k = 0;
         backend->member(backend->ctx, k, name, NAME_MAX + 1, text, MEMBER_TEXT_BYTES); k++)
        if (member_nodeid(name) == nodeid)
            return true;
    return false;
}

static bool is_member(uint64_t nodeid)
{
    return nodeid & MEMBER_MARK;
}

static bool is_writable(uint64_t nodeid)
{
    return nodeid == NODEID(LEADER) || nodeid == NODEID(SNAPSHOT) || is_member(nodeid);
}

static void fill_stat(struct mount *m, uint64_t nodeid, struct stat *stat)
{
    bool dir = nodeid == NODEID(RAFT_DIR) || nodeid == NODEID(MEMBERS_DIR);
    struct timespec since = {.tv_sec = (time_t)(m->mounted_ns / 1000000000),
                             .tv_nsec = (long)(m->mounted_ns % 1000000000)};
    /* Directories look writable to their owner, so that it is us who refuse: EPERM, not EACCES. */
    mode_t mode = dir ? S_IFDIR | 0755 : S_IFREG | (is_writable(nodeid) ? 0644 : 0444);
    *stat = (struct stat){.st_ino = nodeid,
                          .st_mode = mode,
                          .st_nlink = dir ? 2 : 1,
                          .st_uid = m->owner_uid,
                          .st_gid = m->owner_gid,
                          .st_size = dir ? 0 : SHOWN_BYTES,
                          .st_blksize = SHOWN_BYTES,
                          .st_atim = since,
                          .st_mtim = since,
                          .st_ctim = since};
}

/* Whether somebody has created it, and is about to say what it is. */
static bool is_new_member(struct mount *m, uint64_t nodeid)
{
    pthread_mutex_lock(&m->lock);
    const struct special_file *file = m->special_files;
    while (file && !(file->nodeid == nodeid && file->new_member[0]))
        file = file->next;
    pthread_mutex_unlock(&m->lock);
    return file != NULL;
}

int special_getattr(struct mount *m, uint64_t nodeid, struct stat *stat)
{
    char name[NAME_MAX + 1], text[MEMBER_TEXT_BYTES];
    if (is_member(nodeid) && !find_member(m, nodeid, name, text) && !is_new_member(m, nodeid))
        return -ESTALE;
    fill_stat(m, nodeid, stat);
    return 0;
}

/* A member may go at any time, and the local tree's root may change: only the others last. */
static int fill_entry(struct mount *m, uint64_t nodeid, struct fuse_entry_param *entry)
{
    *entry = (struct fuse_entry_param){.ino = nodeid};
    if (!is_member(nodeid))
        entry->entry_timeout = DAY_S;
    if (nodeid != LOCAL_ROOT) {
        entry->attr_timeout = entry->entry_timeout;
        return special_getattr(m, nodeid, &entry->attr);
    }
    struct store_attr attr;
    int status = store_getattr(m->store, STORE_ROOT_INO, &attr);
    if (status == 0)
        attr_to_stat(&attr, &entry->attr);
    entry->attr.st_ino = LOCAL_ROOT;
    return status;
}

int special_lookup(struct mount *m, uint64_t parent, const char *name,
                   struct fuse_entry_param *entry)
{
    if (parent != STORE_ROOT_INO && !tree_is_special(parent))
        return 1;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].parent == parent && strcmp(names[i].name, name) == 0)
            return fill_entry(m, names[i].nodeid, entry);
    if (parent == NODEID(MEMBERS_DIR))
        return fill_entry(m, member_nodeid(name), entry) == 0 ? 0 : -ENOENT;
    return parent == STORE_ROOT_INO ? 1 : -ENOENT;
}

bool special_entry(struct mount *m, uint64_t dir, unsigned k, char name[NAME_MAX + 1],
                   struct fuse_entry_param *entry)
{
    if (dir == NODEID(MEMBERS_DIR)) {
        char text[MEMBER_TEXT_BYTES];
        return m->backend->member(m->backend->ctx, k, name, NAME_MAX + 1, text, sizeof(text)) &&
               fill_entry(m, member_nodeid(name), entry) == 0;
    }
    if (dir == STORE_ROOT_INO && m->special_hidden)
        return false;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        bool listed = names[i].parent == dir && names[i].nodeid != NODEID(RAFT_DIR);
        if (listed && k-- == 0) {
            snprintf(name, NAME_MAX + 1, "%s", names[i].name);
            return fill_entry(m, names[i].nodeid, entry) == 0;
        }
    }
    return false;
}

/* ---- Reading ---- */

static void format(struct special_file *file)
{
    struct mount *m = file->mount;
    const struct backend *backend = m->backend;
    if (file->nodeid == NODEID(STATUS)) {
        file->text_bytes = backend->status_text(backend->ctx, file->text, TEXT_BYTES);
    } else if (file->nodeid == NODEID(LEADER)) {
        file->text_bytes = backend->leader_text(backend->ctx, file->text, TEXT_BYTES);
    } else if (file->nodeid == NODEID(SNAPSHOT)) {
        file->text_bytes = backend->snapshot_text(backend->ctx, file->text, TEXT_BYTES);
    } else {
        char name[NAME_MAX + 1], text[MEMBER_TEXT_BYTES];
        bool found = find_member(m, file->nodeid, name, text);
        file->text_bytes = found ? (size_t)snprintf(file->text, TEXT_BYTES, "%s\n", text) : 0;
    }
}

static struct handle *open_file(struct mount *m, uint64_t nodeid, int flags, const char *new_member)
{
    struct handle *handle = handle_open(m, nodeid, flags, 0);
    struct special_file *file = memory_zalloc(sizeof(*file));
    file->mount = m;
    file->nodeid = nodeid;
    snprintf(file->new_member, sizeof(file->new_member), "%s", new_member);
    pthread_mutex_init(&file->text_lock, NULL);
    format(file);
    handle->special = file;
    pthread_mutex_lock(&m->lock);
    file->next = m->special_files;
    if (file->next)
        file->next->prev = file;
    m->special_files = file;
    pthread_mutex_unlock(&m->lock);
    return handle;
}

int special_open(struct mount *m, uint64_t nodeid, int flags, struct handle **out)
{
    struct stat stat;
    bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
    if (writes && !is_writable(nodeid))
        return -EACCES;
    int status = special_getattr(m, nodeid, &stat);
    if (status == 0)
        *out = open_file(m, nodeid, flags, "");
    return status;
}

int special_create(struct mount *m, uint64_t parent, const char *name, int flags,
                   struct handle **out, struct fuse_entry_param *entry)
{
    if (parent != NODEID(MEMBERS_DIR))
        return -EPERM;
    bool exists = special_lookup(m, parent, name, entry) == 0;
    if (exists && (flags & O_EXCL))
        return -EEXIST;
    if (exists)
        return special_open(m, entry->ino, flags, out);
    *entry = (struct fuse_entry_param){.ino = member_nodeid(name)};
    fill_stat(m, entry->ino, &entry->attr);
    *out = open_file(m, entry->ino, flags, name);
    return 0;
}

void special_close(struct handle *handle)
{
    struct mount *m = handle->mount;
    struct special_file *file = handle->special;
    pthread_mutex_lock(&m->lock);
    if (file->next)
        file->next->prev = file->prev;
    *(file->prev ? &file->prev->next : &m->special_files) = file->next;
    pthread_mutex_unlock(&m->lock);
    if (file->poll)
        fuse_pollhandle_destroy(file->poll);
    pthread_mutex_destroy(&file->text_lock);
    memory_free(file);
    handle_close(handle);
}

size_t special_read(struct handle *handle, uint64_t offset, size_t bytes, void *out)
{
    struct special_file *file = handle->special;
    pthread_mutex_lock(&file->text_lock);
    if (offset == 0) {
        /* First the counter: a change while the text is made must not be missed. */
        pthread_mutex_lock(&handle->mount->lock);
        file->seen = handle->mount->state_counter;
        pthread_mutex_unlock(&handle->mount->lock);
        format(file);
    }
    size_t got = 0;
    if (offset < file->text_bytes) {
        size_t left = file->text_bytes - (size_t)offset;
        got = left < bytes ? left : bytes;
        memcpy(out, file->text + offset, got);
    }
    pthread_mutex_unlock(&file->text_lock);
    return got;
}

/* ---- Writing ---- */

/* What was written, without the newline that `echo` adds; false if that is no text for an order. */
static bool copy_text(const struct request *r, char *out, size_t out_bytes)
{
    const char *text = r->data;
    size_t n = r->bytes;
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        n--;
    if (n == 0 || n >= out_bytes || memchr(text, '\0', n))
        return false;
    memcpy(out, text, n);
    out[n] = '\0';
    return true;
}

/* Makes the order that is written; 0 or a negative errno. */
static int read_order(const struct request *r, const struct special_file *file,
                      struct backend_order *order)
{
    char text[MEMBER_TEXT_BYTES];
    uint64_t nodeid = file->nodeid;
    *order = (struct backend_order){.kind = BACKEND_ORDER_SNAPSHOT};
    if (nodeid == NODEID(SNAPSHOT))
        return 0;
    if (nodeid == NODEID(LEADER)) {
        order->kind = BACKEND_ORDER_TRANSFER;
        return copy_text(r, order->name, sizeof(order->name)) ? 0 : -EINVAL;
    }
    order->kind = file->new_member[0] ? BACKEND_ORDER_ADD : BACKEND_ORDER_MEMBER;
    if (file->new_member[0])
        memcpy(order->name, file->new_member, sizeof(order->name));
    else if (!find_member(r->mount, nodeid, order->name, text))
        return -ESTALE;
    return copy_text(r, order->text, sizeof(order->text)) ? 0 : -EINVAL;
}

void special_write(struct request *r)
{
    int status = read_order(r, r->handle->special, &r->order);
    if (status < 0)
        request_reply(r, status);
    else
        request_order(r);
}

bool special_unlink(struct request *r)
{
    if (r->nodeid != NODEID(MEMBERS_DIR))
        return false;
    r->order = (struct backend_order){.kind = BACKEND_ORDER_REMOVE};
    memcpy(r->order.name, r->name, sizeof(r->name));
    request_order(r);
    return true;
}

int special_truncate(struct mount *m, uint64_t nodeid, struct stat *stat)
{
    return is_writable(nodeid) ? special_getattr(m, nodeid, stat) : -EACCES;
}

/* ---- poll ---- */

unsigned special_poll(struct handle *handle, struct fuse_pollhandle *ph)
{
    struct mount *m = handle->mount;
    struct special_file *file = handle->special;
    struct fuse_pollhandle *old = NULL;
    pthread_mutex_lock(&m->lock);
    bool changed = file->seen != m->state_counter;
    if (ph) {
        old = file->poll;
        file->poll = ph;
    }
    pthread_mutex_unlock(&m->lock);
    if (old)
        fuse_pollhandle_destroy(old);
    return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM | (changed ? POLLPRI | POLLERR : 0);
}

/* Under the lock: takes some poll handles out; one notification uses one up. */
static size_t take_polls(struct mount *m, struct fuse_pollhandle *taken[NOTIFIED_AT_ONCE])
{
    size_t count = 0;
    struct special_file *file = m->special_files;
    for (; file && count < NOTIFIED_AT_ONCE; file = file->next) {
        if (file->poll)
            taken[count++] = file->poll;
        file->poll = NULL;
    }
    return count;
}

/* On the timer thread: the caller of mount_state_changed() must not wait for the kernel. */
static void on_state_timer(struct timer *timer)
{
    struct mount *m = map_entry(timer, struct mount, state_timer);
    struct fuse_pollhandle *polls[NOTIFIED_AT_ONCE];
    size_t count;
    while ((count = take_polls(m, polls)) > 0) {
        pthread_mutex_unlock(&m->lock);
        for (size_t i = 0; i < count; i++) {
            fuse_lowlevel_notify_poll(polls[i]);
            fuse_pollhandle_destroy(polls[i]);
        }
        pthread_mutex_lock(&m->lock);
    }
}

void special_init(struct mount *m)
{
    m->state_counter = 1;
    m->state_timer.expired = on_state_timer;
}

void mount_state_changed(struct mount *m)
{
    pthread_mutex_lock(&m->lock);
    m->state_counter++;
    timer_start(&m->timers, &m->state_timer, TIMER_NOW);
    pthread_mutex_unlock(&m->lock);
}
