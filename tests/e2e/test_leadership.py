# SPDX-License-Identifier: MIT
"""Handing leadership over: by name, and by stopping the leader. No client notices."""
import errno
import os

import pytest

from writers import Writers


def order(node, name):
    node.write(".leader", name + "\n")


def test_leadership_goes_to_whom_is_named(three):
    for target in three.nodes * 2:
        for asked in three.nodes:
            order(asked, target.name)
            assert asked.leader() == target.name
        assert three.leader() is target


def test_who_cannot_lead_is_refused(three):
    learner = three.add()
    learner.start(join=three.nodes[0].address, options=["-nonvoter"])
    learner.wait("the cluster", lambda s: s["leader"] != "-" and f"member.{learner.name}" in s)
    for name in "nobody", learner.name, "":
        with pytest.raises(OSError) as e:
            order(three.nodes[1], name)
        assert e.value.errno == errno.EINVAL
    r = three.nodes[1].shell("echo nobody > .leader")
    assert r.returncode == 1 and "Invalid argument" in r.stderr
    order(learner, "node3")  # whoever may not lead may ask
    assert learner.leader() == "node3"


def test_without_a_quorum_it_times_out(cluster):
    cluster.start(3, ["-o", "timeout=1"])
    one, *others = cluster.nodes
    for node in others:
        node.kill()
    with pytest.raises(OSError) as e:
        order(one, others[0].name)
    assert e.value.errno == errno.ETIMEDOUT


def test_transfers_under_load_fail_no_write(three):
    with Writers(three) as writers:
        for i in range(12):
            leader = three.leader()
            target = three.others(leader)[i % 2]
            order(three.nodes[i % 3], target.name)
            writers.wait_progress()


def test_a_rolling_restart_under_load_fails_no_write(three):
    with Writers(three) as writers:
        for _ in range(2):
            for node in three.nodes:
                node.stop()
                node.restart()
                three.wait_whole()
                writers.wait_progress()


def test_members_are_listed(three):
    for node in three.nodes:
        assert sorted(os.listdir(node.path(".raft/members"))) == ["node1", "node2", "node3"]
        for member in three.nodes:
            assert node.read(f".raft/members/{member.name}") == f"{member.address} voter\n"
