# SPDX-License-Identifier: MIT
"""test_disks.py - full disks: writes hear ENOSPC, reads and removals go on, room brings all back."""
import contextlib
import errno
import os
import time

import pytest
from cluster import PATIENCE_S, run, until_done

MIB = 1024 * 1024
DISK_MIB = 80
LEFT_MIB = 12  # less than the log's next segment takes, more than the store needs


class SmallDisk:
    """A file system of a node's own, in memory, for its data directory."""

    def __init__(self, node):
        self.path = node.data
        os.makedirs(self.path, exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", self.path)

    def fill(self):
        s = os.statvfs(self.path)
        with open(f"{self.path}/filler", "wb") as f:
            os.posix_fallocate(f.fileno(), 0, s.f_bavail * s.f_frsize - LEFT_MIB * MIB)

    def make_room(self):
        if os.path.exists(f"{self.path}/filler"):
            os.unlink(f"{self.path}/filler")

    def close(self):
        run("umount", "-l", self.path, check=False)


@contextlib.contextmanager
def small_disks(cluster, nodes):
    """These nodes, which have not been started yet, get small disks."""
    disks = [SmallDisk(node) for node in nodes]
    try:
        yield disks
    finally:
        cluster.close()
        for disk in disks:
            disk.close()


@pytest.fixture
def small(cluster):
    """Three nodes with small disks of their own."""
    nodes = [cluster.add() for _ in range(3)]
    with small_disks(cluster, nodes) as disks:
        cluster.start_all()
        yield cluster, disks


@pytest.fixture
def one_small(cluster):
    """Three nodes, of which the last has a small disk, and the first leads."""
    first, second, last = [cluster.add() for _ in range(3)]
    with small_disks(cluster, [last]) as disks:
        first.start()
        second.start(join=first.address)
        last.start(join=first.address, options=["-o", "timeout=1"])
        cluster.wait_whole()
        first.write(".leader", first.name)
        yield cluster, disks[0]


def write_until_full(node):
    """Overwrites one file: the log grows, the state does not."""
    for i in range(64):
        try:
            node.write("big", "x" * MIB)
        except OSError as e:
            assert e.errno == errno.ENOSPC, e
            return
    raise AssertionError("64 MiB were written to a full disk")


def until_room(operation):
    """Again while disks are full or leadership moves."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return until_done(operation)
        except OSError as e:
            if e.errno != errno.ENOSPC or time.monotonic() > end:
                raise
        time.sleep(0.05)


def check_full(cluster, disks, full):
    leader = cluster.leader()
    for node in cluster.nodes:
        node.write("kept", "before\n")
    for i in full:
        disks[i].fill()
    write_until_full(leader)
    for node in cluster.nodes:
        assert node.read("kept") == "before\n"
        with pytest.raises(OSError) as refused:
            node.write("new", "value\n")
        assert refused.value.errno == errno.ENOSPC
    os.unlink(leader.path("kept"))
    for node in cluster.nodes:
        assert not os.path.exists(node.path("kept"))
    for i in full:
        disks[i].make_room()
    for node in cluster.nodes:
        until_room(lambda node=node: node.write("new", f"{node.name}\n"))


def test_a_majority_is_full(small):
    cluster, disks = small
    check_full(cluster, disks, range(3))
    cluster.wait_equal()


def test_one_of_three_is_full(small):
    """Whoever it is, writes go on: a leader hands over, a follower lags until there is room."""
    cluster, disks = small
    full = cluster.leader()
    disks[cluster.nodes.index(full)].fill()
    for i in range(12):
        until_room(lambda i=i: cluster.others(full)[0].write("big", f"{i}" * MIB))
    for disk in disks:
        disk.make_room()
    cluster.wait_equal()


def lag(node, leader):
    return int(leader.status()["commit_index"]) - int(node.status()["applied_index"])


def test_a_follower_is_full(one_small):
    """The others go on; it falls behind, says so, shows what it has, and catches up by itself."""
    cluster, disk = one_small
    leader, other, full = cluster.nodes
    leader.write("kept", "before\n")
    assert full.read("kept") == "before\n"
    term = leader.status()["term"]
    disk.fill()
    for i in range(64):
        if any("no room in" in line for line in full.lines):
            break
        (leader, other)[i % 2].write("big", "x" * MIB)
    full.hear("Make room; it goes on by itself")
    for node in leader, other:
        node.write("new", f"{node.name}\n")
    os.unlink(other.path("kept"))
    assert leader.read("new") == f"{other.name}\n"
    assert not os.path.exists(leader.path("kept"))

    assert lag(full, leader) > 0
    assert full.leader() == leader.name
    assert full.read(".raft/local/kept") == "before\n"
    assert not os.path.exists(full.path(".raft/local/new"))
    with pytest.raises(OSError) as refused:
        full.read("new")
    assert refused.value.errno == errno.ETIMEDOUT
    assert (leader.status()["term"], leader.leader()) == (term, leader.name)

    disk.make_room()
    full.hear("there is room again")
    cluster.wait_equal()
    assert full.read("new") == f"{other.name}\n"
    assert not os.path.exists(full.path("kept"))
