# SPDX-License-Identifier: MIT
"""Another incarnation under a member's name: a successor, or somebody who must choose another."""
import pytest

from cluster import Node, free_port
from writers import Writers


def member_names(node):
    return sorted(key[7:] for key in node.status() if key.startswith("member."))


@pytest.mark.parametrize("who", ["follower", "leader"])
@pytest.mark.parametrize("address", ["the same address", "another address"])
def test_a_wiped_node_takes_its_own_place(three, who, address):
    three.nodes[0].write("k", "v")
    leader = three.leader()
    node = leader if who == "leader" else three.others(leader)[0]
    other = three.others(node)[0]
    with Writers(three) as writers:
        writers.wait_progress()
        node.kill()
        node.data += ".new"
        if address == "another address":
            node.address = f"127.0.0.1:{free_port()}"
        node.start(join=other.address)
        writers.wait_progress()
    other.wait("three voters", lambda s: s["quorum"] == "yes 3/3"
               and s[f"member.{node.name}"].startswith(f"{node.address} voter "))
    assert member_names(other) == ["node1", "node2", "node3"]
    assert node.read("k") == "v"
    three.wait_equal()


def test_twice_wiped_on_its_way_back(three):
    node = three.others(three.leader())[0]
    other = three.others(node)[0]
    for i in range(3):
        node.kill()
        node.data += ".new"
        node.spawn(join=other.address)
        node.hear("serves" if i == 2 else "raftfs")
    node.wait("to vote", lambda s: s["state"] == "follower")
    three.wait_whole()
    assert member_names(other) == ["node1", "node2", "node3"]
    three.wait_equal()


def test_a_nonvoter_stays_one(three):
    node = three.add()
    node.start(join=three.nodes[0].address, options=["-nonvoter"])
    node.wait("to be a learner", lambda s: s["state"] == "learner" and s["quorum"] == "yes 3/3")
    node.kill()
    node.data += ".new"
    node.start(join=three.nodes[1].address, options=["-nonvoter"])
    node.wait("to be a learner again", lambda s: s["state"] == "learner" and "member.node4" in s)
    assert member_names(three.nodes[0]) == ["node1", "node2", "node3", "node4"]
    three.wait_equal()


def test_a_name_that_is_taken_is_refused(three):
    twin = Node(three.top, "twin", f"127.0.0.1:{free_port()}")
    twin.name = "node2"
    twin.spawn(join=three.nodes[0].address)
    assert twin.reap() == 1
    assert any("the name node2 is taken" in line and "-id" in line for line in twin.lines)
    three.wait_whole()
