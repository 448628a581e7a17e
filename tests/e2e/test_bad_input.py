# SPDX-License-Identifier: MIT
"""Each mistake gets one line that says what to do, and exit status 1, or 2 for wrong usage."""
import os
import random
import shutil
import socket
import sqlite3
import subprocess

import pytest

from cluster import PATIENCE_S, RAFTFS, Node, free_port


def fails(argv, status, *words, lines=1):
    r = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S)
    assert r.returncode == status, (argv, r)
    for word in words:
        assert word in r.stderr, r.stderr
    assert r.stderr.count("\n") == lines, r.stderr
    return r.stderr


@pytest.mark.needs_no_mount
@pytest.mark.parametrize("options, word", [
    (["-nonsense"], "nonsense"),
    (["--timeout=3"], "timeout"),
    (["-addr", "nowhere"], "HOST:PORT"),
    (["-addr", "127.0.0.1:99999"], "HOST:PORT"),
    (["-join", "nowhere"], "HOST:PORT"),
    (["-id", ""], "-id"),
    (["-id", "a/b"], "-id"),
    (["-id", "n" * 100], "-id"),
    (["-o", "timeout=soon"], "timeout"),
    (["-o", "consistency=maybe"], "consistency"),
    (["-o", "spin=maybe"], "spin"),
    (["-o", "nonsense"], "nonsense"),
    (["-o", "allow_other,special"], "special"),
    (["-o", "max_read=many"], "max_read=many"),
    (["-data", ""], "-data"),
])
def test_wrong_usage(top, options, word):
    os.mkdir(f"{top}/mount")
    fails([RAFTFS, "-data", f"{top}/data", *options, f"{top}/mount"], 2, word)
    assert not os.path.exists(f"{top}/data")


@pytest.mark.needs_no_mount
def test_no_or_two_mount_points(top):
    fails([RAFTFS], 2, "MOUNTPOINT")
    fails([RAFTFS, top, top], 2)


def test_a_mount_point_that_is_none(top):
    fails([RAFTFS, "-data", f"{top}/data", f"{top}/missing"], 1, f"{top}/missing")
    with open(f"{top}/file", "w"):
        pass
    fails([RAFTFS, "-data", f"{top}/data", f"{top}/file"], 1, f"{top}/file")


def test_data_beneath_the_mount_point(top):
    os.mkdir(f"{top}/mount")
    fails([RAFTFS, "-data", f"{top}/mount/data", f"{top}/mount"], 1, "-data")


def test_what_the_kernel_does_not_mount(cluster):
    node = cluster.add()
    fails(node.argv(options=["-o", "rootcontext=nonsense"]), 1, node.mount, "mount options")


def test_a_founder_votes(cluster):
    node = cluster.add()
    fails(node.argv(options=["-nonvoter"]), 1, "-join")
    node.start()
    node.wait("its own vote", lambda s: s["state"] == "leader")


def test_an_address_in_use(cluster):
    cluster.start(1)
    other = Node(cluster.top, "other", cluster.nodes[0].address)
    fails(other.argv(), 1, "cannot listen", cluster.nodes[0].address, "-addr")


def test_a_data_directory_in_use(cluster):
    cluster.start(1)
    other = Node(cluster.top, cluster.nodes[0].name, f"127.0.0.1:{free_port()}")
    other.mount = f"{cluster.top}/elsewhere"
    os.mkdir(other.mount)
    fails(other.argv(), 1, "in use by another raftfs", "-data")


def test_another_nodes_data_directory(cluster):
    cluster.start(1)
    node = cluster.nodes[0]
    node.stop()
    other = Node(cluster.top, "other", f"127.0.0.1:{free_port()}")
    other.data = node.data
    fails(other.argv(), 1, f"belongs to node {node.name}", "-id")


def test_a_name_that_is_taken(three):
    other = Node(three.top + "/x", "node2", f"127.0.0.1:{free_port()}")
    fails(other.argv(join=three.nodes[0].address), 1, "node2 is taken", "-id")
    three.nodes[0].write("k", "v")


def test_an_unreachable_join_target_is_reported_and_tried_again(cluster):
    first, second = cluster.add(), cluster.add()
    second.spawn(join=first.address)
    second.hear(f"{first.address} cannot be reached")
    first.start()
    second.hear("is a member now")


def test_a_missing_store_or_log_is_not_made_anew(cluster):
    cluster.start(1)
    node = cluster.nodes[0]
    node.write("k", "v")
    node.stop()
    os.rename(f"{node.data}/store.db", f"{node.data}/away")
    fails(node.argv(), 1, "store.db", lines=2)  # what is damaged, and why it ends
    os.rename(f"{node.data}/away", f"{node.data}/store.db")
    os.rename(f"{node.data}/log", f"{node.data}/away")
    fails(node.argv(), 1, "log", lines=2)
    shutil.rmtree(f"{node.data}/log", ignore_errors=True)
    os.rename(f"{node.data}/away", f"{node.data}/log")
    node.restart()
    assert node.read("k") == "v"


def test_a_store_of_another_directory(cluster):
    cluster.start(2)
    a, b = cluster.nodes
    b.stop()
    a.stop()
    os.rename(f"{b.data}/store.db", f"{b.data}/away")
    shutil.copy(f"{a.data}/store.db", f"{b.data}/store.db")
    fails(b.argv(), 1, "store.db", "another data directory")


def test_a_store_that_sqlite3_opens(cluster):
    cluster.start(1)
    node = cluster.nodes[0]
    node.write("k", "v")
    shell = sqlite3.connect(f"{node.data}/store.db", timeout=0)
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        shell.execute("SELECT * FROM meta")
    node.write("k", "w")
    node.stop()
    assert shell.execute("SELECT count(*) FROM meta").fetchall() == [(1,)]
    fails(node.argv(), 1, "store.db is open in another process")
    shell.close()
    node.restart()
    assert node.read("k") == "w"


def test_random_bytes_on_the_port(three):
    host, port = three.nodes[0].address.split(":")
    dice = random.Random(7)
    for i in range(200):
        with socket.create_connection((host, int(port)), PATIENCE_S) as s:
            try:
                s.sendall(dice.randbytes(dice.randrange(1, 4000)))
                s.shutdown(socket.SHUT_WR)
                s.settimeout(PATIENCE_S)
                while s.recv(4096):
                    pass
            except OSError:
                pass  # closed on us: just what we want
    three.nodes[1].write("k", "v")
    assert three.nodes[0].read("k") == "v"


def test_many_silent_connections(three):
    host, port = three.nodes[0].address.split(":")
    silent = [socket.create_connection((host, int(port)), PATIENCE_S) for _ in range(300)]
    three.nodes[1].write("k", "v")
    assert three.nodes[0].read("k") == "v"
    for s in silent:
        s.close()


def test_two_clusters_do_not_mix(top):
    from cluster import Cluster
    one, two = Cluster(f"{top}/one"), Cluster(f"{top}/two")
    try:
        one.start(2)
        two.start(1)
        # A node of the first cluster comes up where a node of the second one listened.
        lone = two.nodes[0]
        lone.stop()
        moved = one.nodes[1]
        moved.kill()
        stranger = Node(f"{top}/two", "node2", moved.address)
        two.nodes.append(stranger)
        lone.restart()
        stranger.start(join=lone.address)
        two.wait_whole()
        assert two.leader().name == "node1"
        one.nodes[0].wait("the loss of its member", lambda s: s["quorum"] == "no 1/2")
        stranger.write("k", "still takes changes")
    finally:
        two.close()
        one.close()


def test_a_founder_that_others_know_is_told_to_join(three):
    node = three.nodes[2]
    node.kill()
    shutil.rmtree(node.data)
    fails(node.argv(), 1, "-join 127.0.0.1:")
    node.start(join=three.nodes[0].address)
    node.wait("membership", lambda s: s["quorum"].startswith("yes"))
    assert os.listdir(node.mount) == os.listdir(three.nodes[0].mount)
