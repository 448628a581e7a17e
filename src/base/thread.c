/* SPDX-License-Identifier: MIT */
#include "base/thread.h"

#include <string.h>

#include "base/report.h"

void thread_start(pthread_t *thread, const char *name, void *(*run)(void *arg), void *arg)
{
    int error = pthread_create(thread, NULL, run, arg);
    if (error)
        report_fatal("cannot start the thread '%s': %s; raise the limit of threads (ulimit -u, or "
                     "the service's TasksMax)",
                     name, strerror(error));
    pthread_setname_np(*thread, name);
}
