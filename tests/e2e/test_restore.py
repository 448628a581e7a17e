# SPDX-License-Identifier: MIT
"""A new cluster out of a copy of a snapshot file."""
import os
import shutil
import sqlite3
import subprocess

import pytest

from cluster import RAFTFS, Cluster

# As README has it.
QUERY = """SELECT CAST(name AS TEXT), CAST(data AS TEXT)
    FROM dentry JOIN chunk USING (ino) WHERE parent = 1 AND n = 0"""


def restore(node, path, *options):
    return subprocess.run([RAFTFS, "--restore", path, "-id", node.name, "-addr", node.address,
                           "-data", node.data, *options], capture_output=True, text=True)


def backup(cluster, path):
    """A copy of what a node holds now; the first of its lines is the snapshot's file."""
    node = cluster.nodes[1]
    assert node.shell("echo > .raft/snapshot").returncode == 0
    lines = dict(line.split(": ", 1) for line in node.read(".raft/snapshot").splitlines())
    shutil.copy(lines["file"], path)


def test_a_backup_becomes_a_new_cluster(three, top):
    one = three.nodes[0]
    for i in range(40):
        one.write(f"k{i}", f"v{i}")
    one.shell("mkdir d; echo deep > d/f; ln -s d/f l; rm k39")
    backup(three, f"{top}/backup.db")
    one.write("k0", "later")
    with sqlite3.connect(f"{top}/backup.db") as db:
        assert dict(db.execute(QUERY))["k7"] == "v7"

    new = Cluster(f"{top}/new")
    try:
        first = new.add("new1")
        r = restore(first, f"{top}/backup.db")
        assert r.returncode == 0 and f"-join {first.address}" in r.stderr, r
        first.start()
        first.wait_quorum(1)
        for i in range(39):
            assert first.read(f"k{i}") == f"v{i}"
        assert first.read("l") == "deep\n" and not os.path.exists(first.path("k39"))
        assert first.status()["cluster"] != one.status()["cluster"]
        assert os.listdir(first.path(".raft/members")) == ["new1"]

        # It grows, and goes on, beside the cluster that it comes from.
        for name in "new2", "node1":
            new.add(name).start(join=first.address)
        new.wait_whole()
        new.nodes[1].write("k0", "newer")
        assert first.read("k0") == "newer" and one.read("k0") == "later"
        for node in new.nodes:
            node.kill()
        for node in new.nodes:
            node.respawn()
        for node in new.nodes:
            node.hear("serves")
        new.wait_whole()
        new.wait_equal()
        three.wait_whole()
    finally:
        new.close()


def test_a_snapshot_of_what_was_restored_and_nothing_else(cluster, top):
    """Taken before the first configuration is: the next node is brought up by it all the same."""
    cluster.start(1)
    node = cluster.nodes[0]
    node.write("k", "v")
    assert node.shell("echo > .raft/snapshot").returncode == 0
    lines = dict(line.split(": ", 1) for line in node.read(".raft/snapshot").splitlines())
    new = Cluster(f"{top}/new")
    try:
        first = new.add("new1")
        assert restore(first, lines["file"]).returncode == 0
        first.start(options=["-o", "snapshot=1"])
        first.wait_quorum(1)
        new.add("new2").start(join=first.address, options=["-o", "snapshot=1"])
        new.wait_whole()
        assert new.nodes[1].read("k") == "v"
        new.nodes[1].write("k", "newer")
        assert first.read("k") == "newer"
        new.wait_equal()
    finally:
        new.close()


@pytest.mark.needs_no_mount
def test_what_is_no_snapshot_is_refused(top):
    node = Cluster(top).add()
    for content in None, b"", b"not a database" * 1000:
        path = f"{top}/file"
        if content is not None:
            with open(path, "wb") as f:
                f.write(content)
        r = restore(node, path)
        assert r.returncode == 1 and path in r.stderr, r
        assert os.listdir(node.data) == ["lock"]
    for argv in ([], ["-data", node.data, node.mount], ["-data", node.data, "--recover"]):
        r = subprocess.run([RAFTFS, "--restore", "f", *argv], capture_output=True, text=True)
        assert r.returncode == 2 and "-data" in r.stderr


def test_damage_and_other_directories_are_refused(cluster):
    cluster.start(2)
    node = cluster.nodes[0]
    node.write("k", "value" * 10000)
    path = f"{cluster.top}/backup.db"
    backup(cluster, path)
    for data in node.data, cluster.top:  # in use; full of other things
        other = Cluster(f"{cluster.top}/x").add()
        other.data = data
        before = sorted(os.listdir(data))
        r = restore(other, path)
        assert r.returncode == 1 and "-data" in r.stderr, r
        assert [n for n in sorted(os.listdir(data)) if n != "lock"] == \
               [n for n in before if n not in ("lock", "x")] + (["x"] if data != node.data else [])
    with open(path, "r+b") as f:
        f.seek(os.path.getsize(path) - 3000)
        f.write(b"?")
    other.data = f"{cluster.top}/fresh"
    r = restore(other, path)
    assert r.returncode == 1 and "damaged" in r.stderr, r
    assert os.listdir(other.data) == ["lock"]
