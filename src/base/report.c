/* SPDX-License-Identifier: MIT */
#include "base/report.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <syslog.h>
#include <unistd.h>

enum { LINE_BYTES = 1024 };

static char node_name[80];
static bool syslog_open;

void report_set_node(const char *name)
{
    snprintf(node_name, sizeof(node_name), " %s", name);
}

void report_to_syslog(void)
{
    openlog("raftfs", LOG_PID, LOG_DAEMON);
    syslog_open = true;
}

/* One write(2) a line, so that lines of several threads and nodes never mix. */
static void say(int priority, const char *format, va_list args)
{
    char text[LINE_BYTES], line[LINE_BYTES + 128];
    vsnprintf(text, sizeof(text), format, args);
    int n = snprintf(line, sizeof(line), "raftfs%s: %s%s\n", node_name,
                     priority == LOG_WARNING ? "warning: " : "", text);
    if (write(STDERR_FILENO, line, (size_t)n) < 0)
        return; /* nobody is left to tell */
    if (syslog_open)
        syslog(priority, "%s: %s", node_name, text);
}

void report_info(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(LOG_INFO, format, args);
    va_end(args);
}

void report_warn(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(LOG_WARNING, format, args);
    va_end(args);
}

void report_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(LOG_ERR, format, args);
    va_end(args);
}

void report_fatal(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(LOG_CRIT, format, args);
    va_end(args);
    _exit(1);
}
