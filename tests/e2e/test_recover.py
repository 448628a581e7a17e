# SPDX-License-Identifier: MIT
"""A lost majority: the survivor becomes a cluster of its own, and only when told so."""
import os
import subprocess

import pytest

from cluster import RAFTFS, Cluster


def recover(node, *options):
    return subprocess.run([RAFTFS, "--recover", "-data", node.data, *options],
                          capture_output=True, text=True)


def start_alone(node):
    node.spawn()
    node.hear("serves")
    node.wait("to lead alone", lambda s: s["state"] == "leader" and s["quorum"] == "yes 1/1")


def test_the_survivor_goes_on(three):
    one, two, three_ = three.nodes
    for i in range(50):
        two.write(f"k{i}", f"v{i}")
    three.wait_equal()
    cluster = one.status()["cluster"]
    for node in three.nodes:
        node.kill()
    r = recover(three_)
    assert r.returncode == 0 and "cluster of its own" in r.stderr, r
    assert "is gone" in r.stderr and f"-join {three_.address}" in r.stderr
    start_alone(three_)
    assert three_.status()["cluster"] != cluster
    for i in range(50):
        assert three_.read(f"k{i}") == f"v{i}"
    three_.write("new", "value")

    # The lost ones turn up: they form the old cluster, and nothing of it gets in here.
    one.restart()
    two.restart()
    one.wait("the old cluster", lambda s: s["quorum"].startswith("yes 2/3"))
    one.write("old", "value")
    assert not os.path.exists(three_.path("old"))
    assert three_.status()["quorum"] == "yes 1/1"
    three_.write("new", "value again")  # nor does it stop here
    one.stop()
    two.stop()

    # With empty directories they come back.
    for node in one, two:
        node.data += ".new"
        node.start(join=three_.address)
    three.wait_whole()
    assert one.read("new") == "value again"
    three.wait_equal()


def test_twice_is_harmless_and_survives_a_restart(three):
    one = three.nodes[0]
    one.write("k", "v")
    for node in three.nodes:
        node.kill()
    for _ in range(2):
        assert recover(one, "-id", one.name).returncode == 0
    for _ in range(2):
        start_alone(one)
        assert one.read("k") == "v"
        one.kill()


def test_a_running_node_is_left_alone(three):
    r = recover(three.nodes[0])
    assert r.returncode == 1 and "in use" in r.stderr
    three.wait_whole()


@pytest.mark.needs_no_mount
def test_what_is_no_survivor_is_refused(top):
    node = Cluster(top).add()
    r = recover(node)
    assert r.returncode == 1 and "no node's data directory" in r.stderr
    assert not os.path.exists(node.data)
    for argv in ["--recover"], ["--recover", "-data", node.data, node.mount]:
        r = subprocess.run([RAFTFS, *argv], capture_output=True, text=True)
        assert r.returncode == 2 and "-data" in r.stderr


def test_another_name_is_refused(cluster):
    cluster.start(1)
    node = cluster.nodes[0]
    node.stop()
    r = recover(node, "-id", "other")
    assert r.returncode == 1 and "belongs to node node1" in r.stderr
