# SPDX-License-Identifier: MIT
"""faults.py - a node whose disk stands still, or fails to sync, when a test says so.

tests/faults/disk_faults.c, loaded into that node's process, asks for files in a directory that
belongs to the test.
"""
import contextlib
import os
import time

import pytest
from cluster import PATIENCE_S, RAFTFS, Timeout

MODULE = os.path.abspath(f"{os.path.dirname(RAFTFS)}/../tests/faults/disk_faults.so")


def skip_under_asan():
    with open(RAFTFS, "rb") as f:
        if b"libasan.so" in f.read():
            pytest.skip("nothing can be loaded before ASan's runtime")


class FaultyDisk:
    """Of a node that has not been started yet; only files whose path begins so are concerned."""

    def __init__(self, node, paths=""):
        assert os.path.exists(MODULE), f"{MODULE} is not built"
        self.switches = f"{node.data}.faults"
        os.makedirs(self.switches)
        node.environment = {"LD_PRELOAD": MODULE, "DISK_FAULTS": self.switches,
                            "DISK_FAULTS_PATHS": f"{os.path.realpath(node.data)}/{paths}"}

    def make(self, switch):
        with open(f"{self.switches}/{switch}", "x"):
            pass

    def remove(self, switch):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self.switches}/{switch}")

    def fail_once(self):
        self.make("fail")

    @contextlib.contextmanager
    def stall(self):
        """From its next sync on, until the end."""
        self.make("stall")
        try:
            yield
        finally:
            self.remove("stall")
            self.remove("stalled")

    def wait_stalled(self):
        """Until a sync has been caught."""
        end = time.monotonic() + PATIENCE_S
        while not os.path.exists(f"{self.switches}/stalled"):
            if time.monotonic() > end:
                raise Timeout("nothing is synced")
            time.sleep(0.001)
