# SPDX-License-Identifier: MIT
"""Changing the cluster through .raft/members, from any node, while others write."""
import errno
import os

import pytest

from cluster import free_port, until_done
from orders import fails_with, hears_that_it_is_out, member, order
from writers import Writers


def test_a_follower_is_removed(three):
    leader = three.leader()
    asked, gone = three.others(leader)
    os.unlink(member(asked, gone.name))
    assert gone.name not in os.listdir(asked.path(".raft/members"))
    hears_that_it_is_out(gone)
    three.nodes.remove(gone)
    three.wait_whole()
    asked.write("k", "v")
    three.wait_equal()
    # Its place is taken by a new one of its name, with a new directory.
    gone.data += ".new"
    gone.start(join=leader.address)
    three.nodes.append(gone)
    three.wait_whole()
    assert gone.read("k") == "v"


@pytest.mark.parametrize("through", ["itself", "another"])
def test_the_leader_is_removed(three, through):
    gone = three.leader()
    one, two = three.others(gone)
    three.nodes.remove(gone)
    with Writers(three) as writers:
        writers.wait_progress()
        os.unlink(member(gone if through == "itself" else one, gone.name))
        hears_that_it_is_out(gone)
        three.wait_whole()
        writers.wait_progress()
    assert one.leader() in (one.name, two.name)


def test_a_node_removes_itself(three):
    gone = three.others(three.leader())[0]
    os.unlink(member(gone, gone.name))
    hears_that_it_is_out(gone)


def test_roles_change(three):
    leader = three.leader()
    asked, changed = three.others(leader)
    order(asked, changed.name, "nonvoter")
    assert asked.read(f".raft/members/{changed.name}") == f"{changed.address} nonvoter\n"
    changed.wait("to be a learner", lambda s: s["state"] == "learner")
    leader.wait("two voters", lambda s: s["quorum"] == "yes 2/2")
    fails_with(errno.EINVAL, order, asked, ".." + "/../.leader", changed.name)
    order(changed, changed.name, "voter")  # it may ask for itself
    changed.wait("to vote", lambda s: s["state"] == "follower")
    leader.wait("three voters", lambda s: s["quorum"] == "yes 3/3")
    order(asked, leader.name, "nonvoter")
    asked.wait("another leader", lambda s: s["leader"] not in ("-", leader.name))
    leader.wait("to be a learner", lambda s: s["state"] == "learner")
    order(asked, leader.name, f"{leader.address} voter")
    three.wait_whole()
    order(asked, leader.name, "voter")  # it is so already
    three.wait_equal()


def test_what_makes_no_sense_is_refused(three):
    asked = three.nodes[1]
    for text in "", "boss", "voter nonvoter", "voter voter", "nowhere", "host:0", "a:1 b:2":
        fails_with(errno.EINVAL, order, asked, "node3", text)
    fails_with(errno.ENOENT, os.unlink, member(asked, "nobody"))
    r = asked.shell("echo boss > .raft/members/node3")
    assert r.returncode == 1 and "Invalid argument" in r.stderr
    three.wait_whole()


def test_what_would_lose_the_quorum_is_refused(three):
    leader = three.leader()
    alive, dead = three.others(leader)
    dead.kill()
    # Two of three answer. Without `alive` it would be one of two.
    for asked in leader, alive:
        fails_with(errno.EBUSY, until_no_contact, asked, leader, alive.name)
    fails_with(errno.EBUSY, order, leader, alive.name, "nonvoter")
    os.unlink(member(alive, dead.name))
    leader.wait("two of two", lambda s: s["quorum"] == "yes 2/2")
    os.unlink(member(leader, alive.name))
    hears_that_it_is_out(alive)
    fails_with(errno.EBUSY, os.unlink, member(leader, leader.name))
    fails_with(errno.EBUSY, order, leader, leader.name, "nonvoter")
    leader.write("k", "alone")
    assert leader.read("k") == "alone"


def until_no_contact(asked, leader, name):
    """Removes the member once the leader has missed the dead one for long enough."""
    leader.wait("silence", lambda s: any(
        int(v.rsplit("contact_ms=", 1)[1]) > 1500 for k, v in s.items() if k.startswith("member.")))
    os.unlink(member(asked, name))


def test_without_a_quorum_it_times_out(cluster):
    cluster.start(3, ["-o", "timeout=1"])
    one, *others = cluster.nodes
    for node in others:
        node.kill()
    fails_with(errno.ETIMEDOUT, os.unlink, member(one, others[0].name))
    fails_with(errno.ETIMEDOUT, order, one, others[1].name, "nonvoter")


def test_an_address_changes_at_a_restart(three):
    moved = three.others(three.leader())[0]
    moved.stop()
    moved.address = f"127.0.0.1:{free_port()}"
    moved.spawn()
    moved.hear("serves")
    for node in three.nodes:
        node.wait("the new address", lambda s: s[f"member.{moved.name}"].startswith(moved.address))
    three.wait_whole()
    three.wait_equal()


def test_an_address_is_changed_for_a_node_that_is_down(three):
    moved = three.others(three.leader())[0]
    asked = three.others(moved)[0]
    moved.kill()
    moved.address = f"127.0.0.1:{free_port()}"
    order(asked, moved.name, moved.address)
    assert asked.read(f".raft/members/{moved.name}") == f"{moved.address} voter\n"
    moved.spawn()
    moved.hear("serves")
    three.wait_whole()


def test_growing_and_shrinking_under_load(cluster):
    cluster.start(1)
    with Writers(cluster) as writers:
        for size in range(2, 6):
            cluster.add().start(join=cluster.nodes[0].address)
            cluster.wait_whole()
            assert len(cluster.nodes) == size
            writers.wait_progress()
        while len(cluster.nodes) > 1:
            gone = cluster.nodes.pop()
            until_done(lambda: os.unlink(member(cluster.nodes[0], gone.name)))
            hears_that_it_is_out(gone)
            cluster.wait_whole()
            writers.wait_progress()
