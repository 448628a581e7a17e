/* SPDX-License-Identifier: MIT */
/* options.h - the command line, turned into what a node needs. */
#ifndef RAFTFS_OPTIONS_H
#define RAFTFS_OPTIONS_H

#include <stdbool.h>

#include "node/node.h"

enum { OPTIONS_RUN = 0, OPTIONS_FAILED = 1, OPTIONS_USAGE = 2, OPTIONS_DONE = 3 };

struct options {
    struct node_options node; /* paths are absolute; its strings live as long as this */
    bool foreground;
    bool recover;        /* then only data_dir and perhaps the name are set */
    const char *restore; /* a snapshot file, or NULL; then there is no mount point */
};

/*
 * OPTIONS_RUN: go on. OPTIONS_DONE: --help or --version was answered. OPTIONS_USAGE,
 * OPTIONS_FAILED: one line on standard error has said why; the value is the exit status. Once a
 * process.
 */
int options_parse(struct options *options, int argc, char **argv);

#endif
