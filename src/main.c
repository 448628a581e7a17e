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

static int fail(const char *why)
{
    report_error("%s", why);
    return OPTIONS_FAILED;
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
        return node_recover(options.node.data_dir, options.node.name, why) < 0 ? fail(why) : 0;
    if (options.restore)
        return node_restore(options.restore, &options.node, why) < 0 ? fail(why) : 0;
    if (mount_prepare(options.node.mountpoint, why) < 0)
        return fail(why);
    report_set_node(options.node.name);
    if (!options.foreground && (status = background_start()) < 0)
        return fail(strerror(-status));
    return node_run(&options.node, on_serving, NULL, why) < 0 ? fail(why) : 0;
}
