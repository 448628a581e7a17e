/* SPDX-License-Identifier: MIT */
/* main.c - command line -> configuration -> node. */
#include <stdio.h>
#include <string.h>

#include "background.h"
#include "base/memory.h"
#include "base/report.h"
#include "fuse/mount.h"
#include "node/node.h"
#include "node/recover.h"
#include "node/restore.h"
#include "options.h"

static void on_serving(void *ctx)
{
    (void)ctx;
    background_serving();
}

static int fail(const char *why, int status)
{
    report_error("%s", why);
    return status;
}

static int run(const struct options *options, char why[NODE_WHY_BYTES])
{
    if (mount_check_options(options->node.fuse_options, why) < 0)
        return fail(why, OPTIONS_USAGE);
    if (mount_prepare(options->node.mountpoint, why) < 0)
        return fail(why, OPTIONS_FAILED);
    report_set_node(options->node.name);
    int status = options->foreground ? 0 : background_start();
    if (status < 0)
        return fail(strerror(-status), OPTIONS_FAILED);
    return node_run(&options->node, on_serving, NULL, why) < 0 ? fail(why, OPTIONS_FAILED) : 0;
}

int main(int argc, char **argv)
{
    struct options options;
    char why[NODE_WHY_BYTES] = "";
    memory_init();
    int status = options_parse(&options, argc, argv);
    if (status != OPTIONS_RUN)
        return status == OPTIONS_DONE ? 0 : status;
    if (options.recover)
        status = node_recover(options.node.data_dir, options.node.name, why);
    else if (options.restore)
        status = node_restore(options.restore, &options.node, why);
    else
        return run(&options, why);
    return status < 0 ? fail(why, OPTIONS_FAILED) : 0;
}
