# SPDX-License-Identifier: MIT
"""
The kernel keeps the root's attributes, each node takes them back as changes are applied there: at
once for whoever made the change, soon for the others.
"""
import os
import tempfile
import time

import pytest

from cluster import PATIENCE_S, Cluster, Timeout

ROUNDS = 30


@pytest.fixture(scope="module")
def three():
    with tempfile.TemporaryDirectory(prefix="raftfs-e2e-") as top:
        cluster = Cluster(top)
        cluster.start(3)
        yield cluster
        cluster.close()


def look(node):
    return os.stat(node.mount)


class Root:
    """The root of one node, which must show each change as soon as it has returned."""

    def __init__(self, node):
        self.node, self.last = node, look(node)

    def changed(self, links=0, mode=None):
        now = look(self.node)
        assert now.st_ctime_ns > self.last.st_ctime_ns
        assert now.st_nlink == self.last.st_nlink + links
        assert mode is None or now.st_mode & 0o7777 == mode
        self.last = now


def test_own_changes_at_once(three):
    for node in three.nodes:
        root = Root(node)
        for k in range(ROUNDS):
            os.mkdir(node.path("d"))
            root.changed(links=1)
            new = os.open(node.path("new"), os.O_WRONLY | os.O_CREAT)
            look(node)
            os.write(new, b"created with the first write")
            root.changed()
            os.close(new)
            os.close(os.open(node.path("excl"), os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            root.changed()
            os.rename(node.path("new"), node.path("d/new"))
            root.changed()
            os.unlink(node.path("excl"))
            root.changed()
            os.unlink(node.path("d/new"))
            os.rmdir(node.path("d"))
            root.changed(links=-1)
            os.chmod(node.mount, 0o750 + k % 8)
            root.changed(mode=0o750 + k % 8)
            os.chown(node.mount, k, k)
            root.changed()
            os.utime(node.mount, ns=(k, k))
            root.changed()
            assert root.last.st_mtime_ns == k and root.last.st_uid == k
    os.chown(three.nodes[0].mount, os.geteuid(), os.getegid())
    os.chmod(three.nodes[0].mount, 0o755)


def test_changes_of_others_soon(three):
    a, b, c = three.nodes
    for k in range(ROUNDS):
        before = [look(n) for n in (b, c)]
        os.mkdir(a.path(f"d{k}"))
        for node, was in zip((b, c), before):
            end = time.monotonic() + PATIENCE_S
            while look(node).st_nlink != was.st_nlink + 1:
                time.sleep(0.001)  # what the kernel will show is not announced by anything
                if time.monotonic() > end:
                    raise Timeout("the kernel keeps what is no longer so")
            assert look(node).st_mtime_ns > was.st_mtime_ns
