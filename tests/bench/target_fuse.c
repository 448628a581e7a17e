/* SPDX-License-Identifier: MIT */
/*
 * target_fuse.c - what FUSE costs at best: a filesystem that does nothing, in a process of its own.
 *
 *   fuse:           open, write, close: OPEN, WRITE, FLUSH (RELEASE is not waited for)
 *   fuse:noflush    the same without FLUSH (FOPEN_NOFLUSH)
 *
 * Every name exists and is a file; names and attributes are cached for ever, writes are counted and
 * dropped, reads give one short line. So what is left is the kernel's way to a worker thread and
 * back.
 */
#include <errno.h>
#include <fuse_lowlevel.h>
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

enum { FILE_INO = 2, FUSE_MAGIC = 0x65735546 };
static const double FOREVER_S = 86400;

static struct stat attributes(fuse_ino_t ino)
{
    return (struct stat){.st_ino = ino,
                         .st_mode = ino == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0644,
                         .st_nlink = 1};
}

static void empty_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    (void)parent, (void)name;
    fuse_reply_entry(req, &(struct fuse_entry_param){.ino = FILE_INO,
                                                     .attr = attributes(FILE_INO),
                                                     .attr_timeout = FOREVER_S,
                                                     .entry_timeout = FOREVER_S});
}

static void empty_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)fi;
    struct stat s = attributes(ino);
    fuse_reply_attr(req, &s, FOREVER_S);
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
    const struct target *t = fuse_req_userdata(req);
    fi->direct_io = 1;
    fi->noflush = strcmp(t->where, "noflush") == 0;
    fuse_reply_open(req, fi);
}

static void empty_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t bytes, off_t at,
                        struct fuse_file_info *fi)
{
    (void)ino, (void)data, (void)at, (void)fi;
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

static _Noreturn void serve(struct target *t)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    char *argv[] = {(char *)"raftfs-bench", (char *)"-o", (char *)"fsname=empty", NULL};
    struct fuse_args args = FUSE_ARGS_INIT(3, argv);
    struct fuse_session *session = fuse_session_new(&args, &empty_ops, sizeof(empty_ops), t);
    if (session == NULL || fuse_session_mount(session, t->path) != 0)
        _exit(1);
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    fuse_session_loop_mt(session, config);
    fuse_loop_cfg_destroy(config);
    _exit(0);
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

static int fuse_open(struct target *t)
{
    const char *top = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
    snprintf(t->path, sizeof(t->path), "%s/raftfs-bench-XXXXXX", top);
    if (mkdtemp(t->path) == NULL)
        return -errno;
    t->child = fork();
    if (t->child == 0)
        serve(t);
    int rc = t->child < 0 ? -errno : wait_mounted(t);
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
