/* SPDX-License-Identifier: MIT */
/*
 * mount.c - the FUSE session: its options, its beginning and its end.
 *
 * The opening thread answers INIT itself, so that the mount serves when mount_open() returns. Then
 * the workers read requests (workers.h).
 *
 * The end, in this order, so that a caller always gets an answer and nothing is lost:
 *
 *     1. the mount is detached: no path leads to it any more
 *     2. the workers leave; what is pending is committed; running requests are answered
 *     3. the session's descriptor is closed: files still open give ENOTCONN from now on
 */
#include "fuse/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/report.h"
#include "fuse/deferred.h"
#include "fuse/handle.h"
#include "fuse/mount_state.h"
#include "fuse/mountpoint.h"
#include "fuse/ops.h"
#include "fuse/special.h"

enum {
    OPTIONS_BYTES = 4096,
    INIT_WAIT_MS = 10 * 1000,
    /* RELEASE is a background request: it must not queue behind readahead. */
    MAX_BACKGROUND = 64,
    LINE_BYTES = 256,
};

/* ---- INIT ---- */

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
    struct mount *m = userdata;
    /* Acknowledges before a majority has it, and lets the kernel own sizes. */
    conn->want &= ~(unsigned)FUSE_CAP_WRITEBACK_CACHE;
    /* This libfuse cannot ask for it in the protocol: the kernel would trust us with too much. */
    conn->want &= ~(unsigned)FUSE_CAP_HANDLE_KILLPRIV;
    conn->max_write = COMMAND_DATA_BYTES;
    conn->max_background = MAX_BACKGROUND;
    m->ready = true;
}

static const struct fuse_lowlevel_ops operations = {
    .init = op_init,
    .lookup = op_lookup,
    .forget = op_forget,
    .forget_multi = op_forget_multi,
    .getattr = op_getattr,
    .readlink = op_readlink,
    .statfs = op_statfs,
    .opendir = op_opendir,
    .readdir = op_readdir,
    .readdirplus = op_readdirplus,
    .releasedir = op_releasedir,
    .fsyncdir = op_fsyncdir,
    .open = op_open,
    .create = op_create,
    .flush = op_flush,
    .release = op_release,
    .fsync = op_fsync,
    .poll = op_poll,
    .read = op_read,
    .write = op_write,
    .mknod = op_mknod,
    .mkdir = op_mkdir,
    .symlink = op_symlink,
    .link = op_link,
    .unlink = op_unlink,
    .rmdir = op_rmdir,
    .rename = op_rename,
    .setattr = op_setattr,
    /* Extended attributes are not there: ENOSYS makes the kernel stop asking before each write. */
};

/*
 * This libfuse does not know FUSE_PARALLEL_DIROPS, without which the kernel has one lookup at a
 * time in a directory, each a round trip of the cluster. So the bit is put into the answer to INIT
 * on its way out; all else passes through.
 */
static ssize_t pass_read(int fd, void *out, size_t bytes, void *userdata)
{
    (void)userdata;
    return read(fd, out, bytes);
}

static ssize_t pass_write(int fd, struct iovec *iov, int count, void *userdata)
{
    struct mount *m = userdata;
    if (m->ready && !m->answered && count == 2 &&
        iov[1].iov_len >= offsetof(struct fuse_init_out, flags) + sizeof(uint32_t)) {
        ((struct fuse_init_out *)iov[1].iov_base)->flags |= FUSE_PARALLEL_DIROPS;
        m->answered = true;
    }
    return writev(fd, iov, count);
}

static const struct fuse_custom_io custom_io = {.read = pass_read, .writev = pass_write};

/* The kernel has ended the session. Told once, and not if it is our doing. */
void mount_session_gone(struct mount *m)
{
    pthread_mutex_lock(&m->lock);
    bool news = !m->gone;
    m->gone = true;
    pthread_mutex_unlock(&m->lock);
    if (news && m->on_unmounted)
        m->on_unmounted(m->ctx);
}

/* ---- The session ---- */

/* What libfuse says; a line may come in pieces. While `kept`, it is for the caller to tell, in one.
 */
static _Thread_local struct {
    char text[LINE_BYTES];
    bool ended; /* the line; the next piece begins another */
    bool kept;
} said;

static void add_to_said(const char *piece)
{
    static const char prefix[] = "fuse: ";
    bool begins = said.ended || !said.text[0];
    if (said.kept && begins && strncmp(piece, prefix, strlen(prefix)) == 0)
        piece += strlen(prefix); /* the caller says what of */
    size_t used = strlen(said.text), bytes = strcspn(piece, "\n");
    snprintf(said.text + used, sizeof(said.text) - used, "%s%.*s", said.ended ? "; " : "",
             (int)bytes, piece);
    said.ended = piece[bytes] == '\n';
}

static void on_fuse_log(enum fuse_log_level level, const char *format, va_list args)
{
    char piece[LINE_BYTES];
    vsnprintf(piece, sizeof(piece), format, args);
    add_to_said(piece);
    bool whole = said.ended || strlen(said.text) == sizeof(said.text) - 1;
    if (said.kept || !whole)
        return;
    if (level <= FUSE_LOG_ERR)
        report_error("%s", said.text);
    else
        report_warn("%s", said.text);
    said.text[0] = '\0';
    said.ended = false;
}

static void keep_what_is_said(bool keep)
{
    said.text[0] = '\0';
    said.ended = false;
    said.kept = keep;
}

static bool has_option(const char *options, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = options; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (strcspn(at, ",") == n && strncmp(at, name, n) == 0)
            return true;
    return false;
}

/* Root serves everybody unless told otherwise; for others that is up to /etc/fuse.conf. */
static struct fuse_session *new_session(const char *user_options, struct mount *m)
{
    char name[] = "raftfs", options[OPTIONS_BYTES];
    bool everybody = geteuid() == 0 && !has_option(user_options, "allow_root") &&
                     !has_option(user_options, "allow_other");
    int n = snprintf(options, sizeof(options),
                     "-odefault_permissions,fsname=raftfs,subtype=raftfs%s%s%s",
                     everybody ? ",allow_other" : "", *user_options ? "," : "", user_options);
    if (n >= (int)sizeof(options))
        return NULL;
    char *argv[] = {name, options, NULL};
    struct fuse_args args = FUSE_ARGS_INIT(2, argv);
    fuse_set_log_func(on_fuse_log);
    struct fuse_session *session = fuse_session_new(&args, &operations, sizeof(operations), m);
    fuse_opt_free_args(&args);
    return session;
}

int mount_check_options(const char *user_options, char why[MOUNT_WHY_BYTES])
{
    keep_what_is_said(true);
    struct fuse_session *session = new_session(user_options, NULL);
    if (session)
        fuse_session_destroy(session);
    else
        snprintf(why, MOUNT_WHY_BYTES, "%s (see raftfs --help)",
                 said.text[0] ? said.text : "too many mount options");
    keep_what_is_said(false);
    return session ? 0 : -EINVAL;
}

/* Answers INIT, which the kernel sends as soon as it has mounted. */
static int answer_init(struct mount *m)
{
    struct fuse_buf buf = {0};
    struct pollfd p = {.fd = fuse_session_fd(m->session), .events = POLLIN};
    bool alive = true;
    while (alive && !m->ready && poll(&p, 1, INIT_WAIT_MS) > 0)
        alive = workers_serve_one(m, &buf);
    free(buf.mem);
    return m->ready ? 0 : -EPROTO;
}

/*
 * Closes the session's descriptor, which ends the connection. libfuse would then unmount the path
 * once more, and hit what may be there by now; it does not when its descriptor reports an error, as
 * the write end of a pipe does that nobody reads.
 */
static void close_session(struct mount *m)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) == 0) {
        dup2(ends[1], fuse_session_fd(m->session));
        close(ends[0]);
        close(ends[1]);
    }
    fuse_session_unmount(m->session);
}

/* ---- Opening and closing ---- */

static struct mount *new_mount(const struct mount_options *options)
{
    struct mount *m = memory_zalloc(sizeof(*m));
    m->backend = options->backend;
    m->store = options->backend->store;
    m->special_hidden = options->special_hidden;
    m->no_spin = options->no_spin;
    m->owner_uid = geteuid();
    m->owner_gid = getegid();
    m->mounted_ns = (int64_t)clock_real_ns();
    m->mountpoint = memory_strdup(options->mountpoint);
    m->on_unmounted = options->on_unmounted;
    m->ctx = options->ctx;
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->idle, NULL);
    pins_init(&m->pins);
    workers_init(&m->workers);
    notify_init(m, options->cache_names);
    map_init(&m->inodes);
    map_init(&m->aliases);
    deferred_init(m);
    special_init(m);
    return m;
}

static void close_handles(struct mount *m)
{
    while (m->handles) {
        if (m->handles->special)
            special_close(m->handles);
        else
            deferred_abandon(m->handles);
    }
    handle_forget_all(m);
}

void mount_free(struct mount *m)
{
    close_handles(m);
    if (m->session)
        fuse_session_destroy(m->session);
    map_close(&m->creations);
    map_close(&m->aliases);
    map_close(&m->inodes);
    notify_free(m);
    workers_close(&m->workers);
    pins_close(&m->pins);
    pthread_cond_destroy(&m->idle);
    pthread_mutex_destroy(&m->lock);
    memory_free(m->mountpoint);
    memory_free(m);
}

/* libfuse has said why, or fusermount3, on standard error. */
static const char *mount_advice(const char *user_options)
{
    if (!said.text[0] && geteuid() != 0 && has_option(user_options, "allow_other"))
        return "-o allow_other is for root, unless user_allow_other stands in /etc/fuse.conf";
    return "check the mount options; /dev/fuse must be there (modprobe fuse) and open to this "
           "user, and a user other than root needs fusermount3";
}

static int fail_open(struct mount *m, const char *user_options, char why[MOUNT_WHY_BYTES])
{
    snprintf(why, MOUNT_WHY_BYTES, "%s cannot be mounted: %s: %s", m->mountpoint,
             said.text[0] ? said.text : "see above", mount_advice(user_options));
    keep_what_is_said(false);
    mount_free(m);
    return -EIO;
}

/* The mount is there: from here on mount_close() takes everything down. */
static int serve_mount(struct mount *m)
{
    int status = fuse_session_custom_io(m->session, &custom_io, fuse_session_fd(m->session));
    if (status == 0)
        status = answer_init(m);
    if (status < 0)
        return status;
    notify_start(m);
    workers_start(m);
    return 0;
}

int mount_open(const struct mount_options *options, struct mount **out, char why[MOUNT_WHY_BYTES])
{
    struct mount *m = new_mount(options);
    keep_what_is_said(true);
    m->session = new_session(options->fuse_options, m);
    if (!m->session || fuse_session_mount(m->session, m->mountpoint) != 0)
        return fail_open(m, options->fuse_options, why);
    keep_what_is_said(false);
    timers_init(&m->timers, &m->lock);
    int status = serve_mount(m);
    if (status < 0) {
        snprintf(why, MOUNT_WHY_BYTES, "%s cannot be served: %s", m->mountpoint, strerror(-status));
        mount_close(m);
        mount_free(m);
        return status;
    }
    mountpoint_look_up_special(m->mountpoint);
    *out = m;
    return 0;
}

static void detach(struct mount *m)
{
    pthread_mutex_lock(&m->lock);
    bool gone = m->gone;
    m->gone = true;
    pthread_mutex_unlock(&m->lock);
    int status = gone ? 0 : mountpoint_detach(m->mountpoint);
    if (status < 0)
        report_warn("%s cannot be detached: %s. Run umount -l on it", m->mountpoint,
                    strerror(-status));
}

static void wait_until_idle(struct mount *m)
{
    pthread_mutex_lock(&m->lock);
    while (m->running > 0)
        pthread_cond_wait(&m->idle, &m->lock);
    pthread_mutex_unlock(&m->lock);
}

void mount_close(struct mount *m)
{
    detach(m);
    notify_stop(m);
    workers_stop(m);
    deferred_commit_all(m);
    wait_until_idle(m);
    timers_close(&m->timers);
    close_session(m);
}
