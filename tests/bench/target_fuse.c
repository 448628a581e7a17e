/* SPDX-License-Identifier: MIT */
/*
 * target_fuse.c - what FUSE costs at best: a filesystem that does nothing, in a process of its own.
 *
 *                          for open, write, close the kernel asks
 *   fuse:                  OPEN, WRITE, FLUSH
 *   fuse:noflush           OPEN, WRITE
 *   fuse:uncached          LOOKUP, GETATTR, OPEN, WRITE
 *   fuse:libraft:P[,P...]  the same, and the WRITE is answered once libraft-server has put it
 *
 * RELEASE comes after each of them, and is not waited for. Every name exists and is the same file,
 * owned by whoever runs this; writes are counted and dropped, reads give one short line. So what is
 * left is the kernel's way to a worker thread and back, as often as it has to ask.
 *
 * Names and attributes are cached for ever, or, where the table has LOOKUP and GETATTR, not at all
 * but for the root's attributes. Those are the calls of a mount on which every open sees what
 * others have changed. On such a mount fuse:libraft: has nothing between FUSE and Raft but a
 * loopback connection. Workers are as many as a raftfs node has, and read requests as it does; each
 * has a connection of its own to libraft-server.
 */
#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "target.h"

enum { WORKERS = 4, FILE_INO = 2, FUSE_MAGIC = 0x65735546 };
static const double FOREVER_S = 86400;

/* Set before the workers start, who then only read it. */
struct empty {
    const char *path;
    bool noflush, uncached, replicated;
    struct target libraft; /* if replicated */
    struct fuse_session *session;
};

struct worker {
    struct empty *empty;
    struct client libraft; /* if replicated; no other worker uses it */
};

static _Thread_local struct worker *self;

static struct stat attributes(fuse_ino_t ino)
{
    return (struct stat){.st_ino = ino,
                         .st_mode = ino == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0644,
                         .st_nlink = 1,
                         .st_uid = geteuid(),
                         .st_gid = getegid()};
}

static double timeout_s(fuse_req_t req, fuse_ino_t ino)
{
    const struct empty *e = fuse_req_userdata(req);
    return e->uncached && ino != FUSE_ROOT_ID ? 0 : FOREVER_S;
}

static void empty_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    (void)parent, (void)name;
    fuse_reply_entry(req, &(struct fuse_entry_param){.ino = FILE_INO,
                                                     .attr = attributes(FILE_INO),
                                                     .attr_timeout = timeout_s(req, FILE_INO),
                                                     .entry_timeout = timeout_s(req, FILE_INO)});
}

static void empty_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)fi;
    struct stat s = attributes(ino);
    fuse_reply_attr(req, &s, timeout_s(req, ino));
}

static void empty_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                          struct fuse_file_info *fi)
{
    (void)attr, (void)to_set;
    empty_getattr(req, ino, fi);
}

static void empty_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    const struct empty *e = fuse_req_userdata(req);
    fi->direct_io = 1;
    fi->noflush = e->noflush;
    fuse_reply_open(req, fi);
}

static void empty_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t bytes, off_t at,
                        struct fuse_file_info *fi)
{
    (void)ino, (void)at, (void)fi;
    const struct empty *e = fuse_req_userdata(req);
    int rc = e->replicated ? target_libraft.put(&self->libraft, "file", data, bytes) : 0;
    if (rc < 0)
        fuse_reply_err(req, -rc);
    else
        fuse_reply_write(req, bytes);
}

static void empty_read(fuse_req_t req, fuse_ino_t ino, size_t bytes, off_t at,
                       struct fuse_file_info *fi)
{
    (void)ino, (void)fi;
    static const char text[] = "0000000000000000";
    size_t length = at == 0 ? sizeof(text) - 1 : 0;
    fuse_reply_buf(req, text, length < bytes ? length : bytes);
}

static void empty_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino, (void)fi;
    fuse_reply_err(req, 0);
}

static void empty_init(void *userdata, struct fuse_conn_info *conn)
{
    (void)userdata;
    conn->want |= conn->capable & FUSE_CAP_ATOMIC_O_TRUNC;
}

static const struct fuse_lowlevel_ops empty_ops = {
    .init = empty_init,
    .lookup = empty_lookup,
    .getattr = empty_getattr,
    .setattr = empty_setattr,
    .open = empty_open,
    .write = empty_write,
    .read = empty_read,
    .flush = empty_flush,
    .release = empty_flush,
};

static _Noreturn void *worker(void *arg)
{
    self = arg;
    struct fuse_session *session = self->empty->session;
    struct fuse_buf buf = {0};
    int n;
    while ((n = fuse_session_receive_buf(session, &buf)) > 0 || n == -EINTR)
        if (n > 0)
            fuse_session_process_buf(session, &buf);
    _exit(0); /* it is unmounted */
}

static int mount_at(struct empty *e)
{
    char *argv[] = {(char *)"raftfs-bench", (char *)"-odefault_permissions,fsname=empty", NULL};
    struct fuse_args args = FUSE_ARGS_INIT(2, argv);
    e->session = fuse_session_new(&args, &empty_ops, sizeof(empty_ops), e);
    return e->session != NULL ? fuse_session_mount(e->session, e->path) : -1;
}

static _Noreturn void serve(struct empty *e)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct worker workers[WORKERS]; /* for the process's life: this never returns */
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i].empty = e;
        if (e->replicated && client_connect(&workers[i].libraft, &e->libraft, i) < 0)
            _exit(1);
    }
    pthread_t thread;
    if (mount_at(e) != 0)
        _exit(1);
    for (unsigned i = 1; i < WORKERS; i++)
        if (pthread_create(&thread, NULL, worker, &workers[i]) != 0)
            _exit(1);
    worker(&workers[0]);
}

static int wait_mounted(struct target *t)
{
    for (;;) {
        struct statfs s;
        if (statfs(t->path, &s) == 0 && s.f_type == FUSE_MAGIC)
            return 0;
        if (waitpid(t->child, NULL, WNOHANG) != 0)
            return -EPERM;
        usleep(1000);
    }
}

/* Takes what stands behind "fuse:", which for libraft is "lib" and another target's name. */
static int parse(struct empty *e, const struct target *t)
{
    static const char libraft[] = "libraft:";
    *e = (struct empty){.path = t->path};
    e->replicated = strncmp(t->where, libraft, sizeof(libraft) - 1) == 0;
    e->uncached = e->replicated || strcmp(t->where, "uncached") == 0;
    e->noflush = e->uncached || strcmp(t->where, "noflush") == 0;
    if (!e->noflush && *t->where != '\0')
        return -EINVAL;
    return e->replicated ? target_open(&e->libraft, t->options, t->where + strlen("lib")) : 0;
}

static int fuse_open(struct target *t)
{
    struct empty e;
    int rc = parse(&e, t);
    if (rc < 0)
        return rc;
    const char *top = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
    snprintf(t->path, sizeof(t->path), "%s/raftfs-bench-XXXXXX", top);
    if (mkdtemp(t->path) == NULL)
        return -errno;
    t->child = fork();
    if (t->child == 0)
        serve(&e);
    rc = t->child < 0 ? -errno : wait_mounted(t);
    if (rc < 0)
        rmdir(t->path);
    return rc;
}

static void fuse_close(struct target *t)
{
    umount2(t->path, MNT_DETACH);
    waitpid(t->child, NULL, 0);
    rmdir(t->path);
}

/* A client of its own uses files as any other directory's; see target_files.c. */
static int fuse_connect(struct client *c)
{
    return target_files.connect(c);
}

static int fuse_put(struct client *c, const char *key, const void *value, size_t bytes)
{
    return target_files.put(c, key, value, bytes);
}

static ssize_t fuse_get(struct client *c, const char *key, void *value, size_t room)
{
    return target_files.get(c, key, value, room);
}

static int fuse_stat(struct client *c, const char *key)
{
    return target_files.stat(c, key);
}

const struct target_kind target_fuse = {
    .prefix = "fuse:",
    .open = fuse_open,
    .close = fuse_close,
    .connect = fuse_connect,
    .put = fuse_put,
    .get = fuse_get,
    .stat = fuse_stat,
};
