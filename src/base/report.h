/* SPDX-License-Identifier: MIT */
/*
 * report.h - what the daemon says to its operator.
 *
 * One line per event on standard error, and to syslog once the daemon has gone to the background.
 * A line says which object, what happened and what to do. Any thread.
 */
#ifndef RAFTFS_BASE_REPORT_H
#define RAFTFS_BASE_REPORT_H

/* Prefixes every line with this node's name; call before the first thread starts. */
void report_set_node(const char *name);

/* From now on also to syslog(3): standard error is about to become /dev/null. */
void report_to_syslog(void);

void report_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void report_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void report_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Reports and ends the process with status 1, without running exit handlers. */
void report_fatal(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
