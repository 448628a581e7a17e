/* SPDX-License-Identifier: MIT */
#include "node/datadir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

enum { FORMAT = 1, PATH_BYTES = DATADIR_PATH_BYTES, TEXT_BYTES = 1024 + DATADIR_PEERS_BYTES };

static const char *const state_names[] = {[DATADIR_FOUNDING] = "founding",
                                          [DATADIR_JOINING] = "joining",
                                          [DATADIR_MEMBER] = "member",
                                          [DATADIR_REMOVED] = "removed"};

/* What is one incarnation's, and of no use to another. */
static const char *const parts[] = {"log", "store.db", "store.db-wal", "store.db-shm"};

static void path_in(const struct datadir *dir, const char *name, char out[PATH_BYTES])
{
    snprintf(out, PATH_BYTES, "%s/%s", dir->path, name);
}

static int write_synced(const char *path, const char *text, size_t bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    ssize_t n = write(fd, text, bytes);
    int status = n < 0 ? -errno : (size_t)n < bytes ? -ENOSPC : 0;
    if (status == 0 && fsync(fd) < 0)
        status = -errno;
    close(fd);
    return status;
}

int datadir_save(const struct datadir *dir)
{
    char text[TEXT_BYTES], path[PATH_BYTES], aside[PATH_BYTES];
    int n = snprintf(text, sizeof(text),
                     "raftfs %d\nname %s\naddress %s\ncluster %016" PRIx64
                     "\nincarnation %016" PRIx64 "\nstate %s\nboot %" PRIu64 "\n%s%s%s",
                     FORMAT, dir->identity.name, dir->identity.address, dir->identity.cluster,
                     dir->identity.id, state_names[dir->state], dir->boot,
                     *dir->peers ? "peers " : "", dir->peers, *dir->peers ? "\n" : "");
    path_in(dir, "identity", path);
    path_in(dir, "identity.new", aside);
    int status = write_synced(aside, text, (size_t)n);
    if (status == 0 && rename(aside, path) < 0)
        status = -errno;
    return status < 0 ? status : file_sync_dir(dir->path);
}

_Static_assert(DATADIR_PEERS_BYTES == 8192, "parse() limits it");

static bool parse(struct datadir *dir, const char *text)
{
    char state[16] = "";
    int end = 0, peers_end = 0;
    if (sscanf(text,
               "raftfs 1\nname %63s\naddress %127s\ncluster %" SCNx64 "\nincarnation %" SCNx64
               "\nstate %15s\nboot %" SCNu64 "%n",
               dir->identity.name, dir->identity.address, &dir->identity.cluster, &dir->identity.id,
               state, &dir->boot, &end) != 6)
        return false;
    for (enum datadir_state s = DATADIR_FOUNDING; s <= DATADIR_REMOVED; s++)
        if (strcmp(state, state_names[s]) == 0)
            dir->state = s;
    if (dir->state == 0 || dir->identity.id == 0 || text[end++] != '\n')
        return false;
    if (sscanf(text + end, "peers %8191s%n", dir->peers, &peers_end) == 1)
        end += peers_end + 1;
    return text[end - 1] == '\n' && text[end] == '\0';
}

/* 0, -ENOENT if there is none, or another negative errno with `why`. */
static int load(struct datadir *dir, char why[DATADIR_WHY_BYTES])
{
    char path[PATH_BYTES], text[TEXT_BYTES] = "";
    path_in(dir, "identity", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return -ENOENT;
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    int status = n < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    unsigned format = 0;
    if (status < 0) {
        snprintf(why, DATADIR_WHY_BYTES, "%s cannot be read: %s", path, strerror(-status));
    } else if (sscanf(text, "raftfs %u\n", &format) == 1 && format > FORMAT) {
        snprintf(why, DATADIR_WHY_BYTES,
                 "%s is of format %u, this program knows %d: use a newer raftfs", path, format,
                 FORMAT);
        status = -EPROTO;
    } else if (!parse(dir, text)) {
        snprintf(why, DATADIR_WHY_BYTES,
                 "%s does not say whose directory this is: restore it, or choose an empty -data "
                 "directory and -join",
                 path);
        status = -EUCLEAN;
    }
    return status;
}

static int make_directories(const char *path)
{
    char part[PATH_BYTES];
    snprintf(part, sizeof(part), "%s", path);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return -errno;
        *slash = '/';
    }
    return mkdir(part, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int lock(struct datadir *dir, char why[DATADIR_WHY_BYTES])
{
    char path[PATH_BYTES];
    int status = make_directories(dir->path);
    path_in(dir, "lock", path);
    if (status == 0) {
        dir->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        status = dir->lock_fd < 0 ? -errno : 0;
    }
    if (status < 0) {
        snprintf(why, DATADIR_WHY_BYTES, "the data directory %s cannot be used: %s", dir->path,
                 strerror(-status));
        return status;
    }
    if (flock(dir->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        snprintf(why, DATADIR_WHY_BYTES,
                 "the data directory %s is in use by another raftfs: stop that one, or give this "
                 "node a directory of its own with -data",
                 dir->path);
        return -EBUSY;
    }
    return 0;
}

uint64_t datadir_draw(void)
{
    uint64_t random;
    return getrandom(&random, sizeof(random), 0) == sizeof(random) ? random | 1 : 0;
}

static int make_identity(struct datadir *dir, const char *name, const char *address, bool joining)
{
    dir->state = joining ? DATADIR_JOINING : DATADIR_FOUNDING;
    snprintf(dir->identity.name, sizeof(dir->identity.name), "%s", name);
    snprintf(dir->identity.address, sizeof(dir->identity.address), "%s", address);
    dir->identity.id = datadir_draw();
    dir->identity.cluster = joining ? 0 : datadir_draw();
    return dir->identity.id && (joining || dir->identity.cluster) ? 0 : -EIO;
}

static int count_boot(struct datadir *dir, char why[DATADIR_WHY_BYTES])
{
    dir->boot++;
    int status = datadir_save(dir);
    if (status < 0)
        snprintf(why, DATADIR_WHY_BYTES, "%s/identity cannot be written: %s", dir->path,
                 strerror(-status));
    return status;
}

/* Whether `name` may use what was loaded. */
static int check_owner(const struct datadir *dir, const char *name, char why[DATADIR_WHY_BYTES])
{
    if (strcmp(dir->identity.name, name) != 0) {
        snprintf(why, DATADIR_WHY_BYTES,
                 "the data directory %s belongs to node %s, not %s: start it with -id %s, or give "
                 "%s a directory of its own with -data",
                 dir->path, dir->identity.name, name, dir->identity.name, name);
        return -EEXIST;
    }
    if (dir->state == DATADIR_REMOVED) {
        snprintf(why, DATADIR_WHY_BYTES,
                 "node %s was removed from its cluster: to bring it back, start it with an empty "
                 "-data directory and -join (%s is kept as it is)",
                 name, dir->path);
        return -ENOTCONN;
    }
    return 0;
}

/* An empty directory is anybody's; one that has lost its identity must not be taken for empty. */
static int check_empty(const struct datadir *dir, char why[DATADIR_WHY_BYTES])
{
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        char path[PATH_BYTES];
        path_in(dir, parts[i], path);
        if (access(path, F_OK) < 0)
            continue;
        snprintf(
            why, DATADIR_WHY_BYTES,
            "%s has a %s but no identity, so it is not known whose it is: put the file identity "
            "back, or choose an empty -data directory and -join",
            dir->path, parts[i]);
        return -EUCLEAN;
    }
    return 0;
}

int datadir_open(struct datadir *dir, const char *path, const char *name, const char *address,
                 bool joining, char why[DATADIR_WHY_BYTES])
{
    *dir = (struct datadir){.path = memory_strdup(path), .lock_fd = -1};
    int status = lock(dir, why);
    if (status == 0)
        status = load(dir, why);
    if (status == -ENOENT && check_empty(dir, why) < 0)
        status = -EUCLEAN;
    if (status == 0 && dir->state == DATADIR_FOUNDING && joining)
        status = -ENOENT; /* it founded nothing yet, and was told not to */
    if (status == -ENOENT) {
        status = make_identity(dir, name, address, joining);
        dir->fresh = true;
    } else if (status == 0) {
        status = check_owner(dir, name, why);
    }
    if (status == 0)
        status = count_boot(dir, why);
    if (status < 0)
        datadir_close(dir);
    return status;
}

int datadir_open_existing(struct datadir *dir, const char *path, const char *name,
                          char why[DATADIR_WHY_BYTES])
{
    char identity[PATH_BYTES];
    *dir = (struct datadir){.path = memory_strdup(path), .lock_fd = -1};
    path_in(dir, "identity", identity);
    int status = access(identity, F_OK) < 0 ? -errno : 0;
    if (status < 0)
        snprintf(why, DATADIR_WHY_BYTES, "%s is no node's data directory: %s", path,
                 strerror(-status));
    if (status == 0)
        status = lock(dir, why);
    if (status == 0)
        status = load(dir, why);
    if (status == 0)
        status = check_owner(dir, *name ? name : dir->identity.name, why);
    if (status < 0)
        datadir_close(dir);
    return status;
}

/* But for our own lock, and what mkfs leaves. */
static int check_nothing_in(const struct datadir *dir, char why[DATADIR_WHY_BYTES])
{
    DIR *d = opendir(dir->path);
    int status = d ? 0 : -errno;
    for (struct dirent *e; status == 0 && (e = readdir(d));) {
        static const char *const ours[] = {".", "..", "lock", "lost+found"};
        bool other = true;
        for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
            other = other && strcmp(e->d_name, ours[i]) != 0;
        if (other)
            status = -ENOTEMPTY;
    }
    if (d)
        closedir(d);
    if (status < 0)
        snprintf(why, DATADIR_WHY_BYTES,
                 "%s cannot be used: %s. Choose an empty -data directory, or empty this one",
                 dir->path, strerror(-status));
    return status;
}

int datadir_open_empty(struct datadir *dir, const char *path, const char *name, const char *address,
                       char why[DATADIR_WHY_BYTES])
{
    *dir = (struct datadir){.path = memory_strdup(path), .lock_fd = -1};
    int status = lock(dir, why);
    if (status == 0)
        status = check_nothing_in(dir, why);
    if (status == 0)
        status = make_identity(dir, name, address, false);
    dir->state = DATADIR_MEMBER;
    if (status < 0)
        datadir_close(dir);
    return status;
}

void datadir_close(struct datadir *dir)
{
    if (dir->lock_fd >= 0)
        close(dir->lock_fd);
    memory_free(dir->path);
    *dir = (struct datadir){.lock_fd = -1};
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

int datadir_clear(const struct datadir *dir)
{
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        char path[PATH_BYTES];
        path_in(dir, parts[i], path);
        if (access(path, F_OK) == 0 && nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS) < 0)
            return -errno;
    }
    return file_sync_dir(dir->path);
}

/* ---- Starting over ---- */

/* Makes DIR/corrupt-N of the first N that is free. */
static int make_aside(const struct datadir *dir, char aside[PATH_BYTES])
{
    for (unsigned n = 1;; n++) {
        snprintf(aside, PATH_BYTES, "%s/corrupt-%u", dir->path, n);
        if (mkdir(aside, 0700) == 0)
            return 0;
        if (errno != EEXIST)
            return -errno;
    }
}

static int set_aside(const struct datadir *dir, const char *aside)
{
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        char from[PATH_BYTES], to[PATH_BYTES];
        path_in(dir, parts[i], from);
        snprintf(to, sizeof(to), "%s/%s", aside, parts[i]);
        if (rename(from, to) < 0 && errno != ENOENT)
            return -errno;
    }
    return 0;
}

/* By a link: the identity that is saved next is a file of its own. */
static int keep_identity(const struct datadir *dir, const char *aside)
{
    char from[PATH_BYTES], to[PATH_BYTES];
    path_in(dir, "identity", from);
    snprintf(to, sizeof(to), "%s/identity", aside);
    return link(from, to) < 0 ? -errno : file_sync_dir(aside);
}

int datadir_start_over(struct datadir *dir, uint64_t incarnation, char aside[PATH_BYTES])
{
    int status = make_aside(dir, aside);
    if (status == 0)
        status = set_aside(dir, aside);
    if (status == 0)
        status = keep_identity(dir, aside);
    if (status == 0)
        status = file_sync_dir(dir->path);
    if (status < 0)
        return status;
    dir->identity.id = incarnation;
    dir->identity.cluster = 0;
    dir->state = DATADIR_JOINING;
    dir->boot = 1;
    return datadir_save(dir);
}
