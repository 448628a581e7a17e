#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""election.py PID NAME MOUNT... - kills the leader and writes down what the others then go through.

A thread for each mount sleeps until .status says that something has changed (POLLPRI), and keeps
the state, the term and the leader that it then shows. Ends a second after all of them agree on
another leader than NAME. Prints a line for each change, times in milliseconds from the kill:
ms, node, state, term, leader. A last line gives the kill itself, in seconds of CLOCK_MONOTONIC.
"""
import os
import select
import signal
import sys
import threading
import time

GIVE_UP_S = 30
SETTLED_S = 1


class Watcher(threading.Thread):
    def __init__(self, mount, stop):
        super().__init__()
        self.node = os.path.basename(mount)
        self.fd = os.open(f"{mount}/.status", os.O_RDONLY)
        self.stop = stop
        self.seen = []  # (monotonic seconds, state, term, leader)
        self.look()

    def look(self):
        lines = os.pread(self.fd, 65536, 0).decode().splitlines()
        status = dict(line.split(": ", 1) for line in lines if ": " in line)
        now = status["state"], int(status["term"]), status["leader"].strip("-")
        if not self.seen or self.seen[-1][1:] != now:
            self.seen.append((time.monotonic(), *now))

    def run(self):
        poll = select.poll()
        poll.register(self.fd, select.POLLPRI | select.POLLERR)
        while not self.stop.is_set():
            poll.poll(10)
            self.look()

    def leader(self):
        return self.seen[-1][3]


def main(argv):
    if len(argv) < 4:
        sys.stderr.write(__doc__)
        return 2
    pid, killed, mounts = int(argv[1]), argv[2], argv[3:]
    stop = threading.Event()
    watchers = [Watcher(mount, stop) for mount in mounts]
    for w in watchers:
        w.start()
    time.sleep(SETTLED_S)
    kill_s = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    agreed = False
    while not agreed and time.monotonic() < kill_s + GIVE_UP_S:
        time.sleep(0.01)
        leaders = {w.leader() for w in watchers}
        agreed = len(leaders) == 1 and not leaders & {"", killed}
    time.sleep(SETTLED_S)
    stop.set()
    for w in watchers:
        w.join()
    changes = sorted((t, w.node, state, term, leader)
                     for w in watchers for t, state, term, leader in w.seen)
    for t, node, state, term, leader in changes:
        print(f"{(t - kill_s) * 1000:.3f}\t{node}\t{state}\t{term}\t{leader or '-'}")
    print(f"kill\t{kill_s:.6f}")
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
