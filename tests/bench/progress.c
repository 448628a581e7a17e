/* SPDX-License-Identifier: MIT */
#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { WIDTH = 32 };

struct progress progress_start(const struct options *o)
{
    return (struct progress){.name = o->name, .shown = isatty(STDERR_FILENO) == 1};
}

void progress_show(const struct progress *p, double done, const char *text)
{
    char bar[WIDTH + 1];
    if (!p->shown)
        return;
    int full = done >= 1 ? WIDTH : (int)(done * WIDTH);
    memset(bar, '#', (size_t)full);
    memset(bar + full, '.', (size_t)(WIDTH - full));
    bar[WIDTH] = '\0';
    fprintf(stderr, "\r%-32.32s [%s] %3.0f %% %s\033[K", p->name, bar, done >= 1 ? 100 : done * 100,
            text);
}

void progress_end(const struct progress *p)
{
    if (p->shown)
        fprintf(stderr, "\r\033[K");
}
