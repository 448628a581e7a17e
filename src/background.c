/* SPDX-License-Identifier: MIT */
#include "background.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/report.h"

static int parent_pipe = -1;

/* One byte means "serves"; end of file, that the child has gone, with its own exit status. */
static void wait_for_child(int fd, pid_t child)
{
    char byte;
    ssize_t n;
    do
        n = read(fd, &byte, 1);
    while (n < 0 && errno == EINTR);
    if (n == 1)
        _exit(0);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status))
        report_error("ended by signal %d (%s) before it served", WTERMSIG(status),
                     strsignal(WTERMSIG(status)));
    _exit(WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1);
}

int background_start(void)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    pid_t child = fork();
    if (child < 0)
        return -errno;
    if (child > 0) {
        close(ends[1]);
        wait_for_child(ends[0], child);
    }
    close(ends[0]);
    parent_pipe = ends[1];
    setsid();
    return chdir("/") < 0 ? -errno : 0;
}

void background_serving(void)
{
    if (parent_pipe < 0)
        return;
    report_to_syslog();
    int null = open("/dev/null", O_RDWR);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        if (null > STDERR_FILENO)
            close(null);
    }
    if (write(parent_pipe, "", 1) < 0)
        report_warn("whoever started this node has gone");
    close(parent_pipe);
    parent_pipe = -1;
}
