# SPDX-License-Identifier: MIT
"""writers.py - clients that write all the time, and forgive no error."""
import errno
import os
import threading

WRITERS_A_NODE = 2
MOUNT_GONE = {errno.ENOTCONN, errno.ECONNABORTED}


class Writer(threading.Thread):
    """Writes 1, 2, 3… to a key of its own, until told to stop. No error is forgiven."""

    def __init__(self, node, key):
        super().__init__(daemon=True)
        self.node, self.key = node, key
        self.stop = threading.Event()
        self.done = 0
        self.failed = None

    def run(self):
        try:
            while not self.stop.is_set():
                self.write(str(self.done + 1))
        except BaseException as e:  # shown by whoever joins
            self.failed = e

    def write(self, value):
        """One write; again when its node was stopped before it began."""
        try:
            root = self.node.open_root()
        except OSError:
            self.stop.wait(0.01)  # its node is down: no event says when it is up
            return
        try:
            self.node.write(self.key, value, root)
            self.done += 1
        except OSError as e:
            if e.errno not in MOUNT_GONE:
                raise
        finally:
            os.close(root)

    def wait_progress(self, count):
        want = self.done + count
        while self.done < want and self.failed is None:
            self.join(0.01)


class Writers:
    def __init__(self, cluster, nodes=None):
        self.cluster = cluster
        self.all = [Writer(node, f"{node.name}.{i}")
                    for node in nodes or cluster.nodes for i in range(WRITERS_A_NODE)]

    def __enter__(self):
        for w in self.all:
            w.start()
        return self

    def __exit__(self, *_):
        for w in self.all:
            w.stop.set()
        for w in self.all:
            w.join()
            assert w.failed is None, (w.key, w.failed)
        self.cluster.wait_equal()
        for w in self.all:
            assert w.done > 0
            for node in self.cluster.nodes:
                assert node.read(w.key) == str(w.done)

    def wait_progress(self, count=3):
        for w in self.all:
            w.wait_progress(count)
