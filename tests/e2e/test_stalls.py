# SPDX-License-Identifier: MIT
"""A disk that stands still under one node holds up nobody else; one that fails to sync ends it."""
import errno

import pytest
from cluster import write_until_done
from faults import FaultyDisk, skip_under_asan
from writers import Writers


def start(cluster, paths="", options=()):
    """Three nodes and their disks, by the nodes' names."""
    skip_under_asan()
    disks = {}
    for _ in range(3):
        node = cluster.add()
        disks[node.name] = FaultyDisk(node, paths)
    cluster.start_all(options)
    return disks


def test_the_leaders_disk_stalls(cluster):
    """Somebody else leads; nobody else's writes fail; the node says so, and then catches up."""
    disks = start(cluster)
    old = cluster.leader()
    others = cluster.others(old)
    with Writers(cluster, others) as writers:
        writers.wait_progress()
        with disks[old.name].stall():
            disks[old.name].wait_stalled()
            for node in others:
                node.wait("another leader", lambda s: s["leader"] not in ("-", old.name))
            writers.wait_progress(20)
            old.hear("stands still")
            assert cluster.leader() is not old
        old.hear("moves again")


def test_a_followers_disk_stalls(cluster):
    """Its heartbeats go on, so nothing happens: the same leader, the same term."""
    disks = start(cluster)
    leader = cluster.leader()
    slow = cluster.others(leader)[0]
    term = leader.status()["term"]
    with Writers(cluster, cluster.others(slow)) as writers:
        writers.wait_progress()
        with disks[slow.name].stall():
            disks[slow.name].wait_stalled()
            writers.wait_progress(20)
            slow.hear("stands still")
            writers.wait_progress(20)
            assert slow.leader() == leader.name
        slow.hear("moves again")
    assert cluster.leader() is leader
    assert leader.status()["term"] == term


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_sync_fails(cluster, role):
    """What the disk holds is unknown: the process ends and says so; back, it has everything."""
    disks = start(cluster, "log/0")  # the segments in use
    leader = cluster.leader()
    victim = leader if role == "leader" else cluster.others(leader)[0]
    with Writers(cluster, cluster.others(victim)) as writers:
        writers.wait_progress()
        disks[victim.name].fail_once()
        assert victim.reap() == 1
        assert any("a sync fails in" in line and "mend it and start this node again" in line
                   for line in victim.lines), victim.lines
        writers.wait_progress()
        victim.restart()
        writers.wait_progress()


def test_a_majority_stalls(cluster):
    """As without a quorum: changes time out, `.status` answers; all is well when the disks move."""
    disks = start(cluster, options=["-o", "timeout=1"])
    leader = cluster.leader()
    other = cluster.others(leader)[0]
    with disks[leader.name].stall(), disks[other.name].stall():
        for node in cluster.nodes:
            with pytest.raises(OSError) as e:
                node.write("key", node.name)
            assert e.value.errno in (errno.EROFS, errno.ETIMEDOUT)
            assert node.status()["id"] == node.name
    for node in cluster.nodes:
        write_until_done(node, "key", node.name)
    cluster.wait_equal()
