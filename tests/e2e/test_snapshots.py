# SPDX-License-Identifier: MIT
"""Snapshots: by themselves, on demand, readable by sqlite3; a restart afterwards."""
import os
import sqlite3
import threading

from cluster import PATIENCE_S

WRITERS = 16

# As README shows it.
KEYS_AND_VALUES = """SELECT CAST(name AS TEXT), CAST(data AS TEXT)
                     FROM dentry JOIN chunk USING (ino) WHERE parent = 1 AND n = 0"""


def put_many(node, count, pad=""):
    """Keys k0, k1, … with values v0, v1, …, several at a time."""
    failed = []

    def put(first):
        try:
            for i in range(first, count, WRITERS):
                node.write(f"k{i}", f"v{i}{pad}")
        except OSError as e:
            failed.append(e)

    threads = [threading.Thread(target=put, args=(i,)) for i in range(WRITERS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed, failed


def files(node):
    return sorted(os.listdir(f"{node.data}/snapshots"))


def newest(node):
    return dict(line.split(": ", 1) for line in node.read(".raft/snapshot").splitlines())


def content(path):
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return dict(db.execute(KEYS_AND_VALUES))
    finally:
        db.close()


def test_ten_thousand_writes_a_snapshot_and_a_restart(three):
    put_many(three.nodes[0], 10000)
    for node in three.nodes:
        status = node.wait("a snapshot", lambda s: int(s["snapshot_index"]) > 0)
        assert int(status["snapshot_index"]) >= 10000
        assert files(node) == [f"{newest(node)['term']}-{status['snapshot_index']}.db"]
    for node in three.nodes[1:]:
        before = newest(node)
        node.kill()
        node.restart()
        assert newest(node) == before
    three.wait_whole()
    three.wait_equal()
    reader = three.nodes[2]
    for i in range(10000):
        with open(reader.path(f".raft/local/k{i}")) as f:
            assert f.read() == f"v{i}"


def test_an_option_says_how_often_and_two_are_kept(cluster):
    cluster.start(3, ["-o", "snapshot=100"])

    def taken():
        return [int(node.status()["snapshot_index"]) for node in cluster.nodes]

    for _ in range(3):
        before = taken()
        for _ in range(10):  # once the log has grown by as much as the last one takes
            put_many(cluster.nodes[0], 200, pad="x" * 2000)
            cluster.wait_equal()
            if all(now > then for now, then in zip(taken(), before)):
                break
        assert all(now > then for now, then in zip(taken(), before)), (before, taken())
    for node in cluster.nodes:
        assert len(files(node)) == 2
        assert os.path.basename(newest(node)["file"]) in files(node)


def test_a_snapshot_on_demand_is_a_database(three):
    node = three.nodes[1]
    assert node.read(".raft/snapshot") == ""
    put_many(node, 100)
    r = node.shell("echo > .raft/snapshot && cat .raft/snapshot")
    assert r.returncode == 0, r.stderr
    shown = newest(node)
    assert list(shown) == ["index", "term", "bytes", "file", "time"]
    assert int(shown["index"]) >= 100
    assert os.path.getsize(shown["file"]) == int(shown["bytes"])
    assert content(shown["file"]) == {f"k{i}": f"v{i}" for i in range(100)}
    assert files(node) == [os.path.basename(shown["file"])]  # nothing was left beside it
    assert node.status()["snapshot_index"] == shown["index"]
    assert files(three.nodes[0]) == []  # each node's own


def test_with_zero_only_on_demand(cluster):
    cluster.start(1, ["-o", "snapshot=0"])
    node = cluster.nodes[0]
    put_many(node, 300)
    node.write(".raft/snapshot", "\n")
    assert int(newest(node)["index"]) >= 300


def test_stopping_does_not_wait_for_a_snapshot(cluster):
    cluster.start(1)
    node = cluster.nodes[0]
    put_many(node, 300)
    done = []

    def ask():
        try:
            while True:
                node.write(".raft/snapshot", "\n")
        except OSError as e:
            done.append(e)

    thread = threading.Thread(target=ask)
    thread.start()
    node.wait("a snapshot", lambda s: int(s["snapshot_index"]) > 0)
    node.stop()
    thread.join(PATIENCE_S)
    assert done
    node.restart()
    assert node.read("k299") == "v299"
