# SPDX-License-Identifier: MIT
"""
One change after the other: each is applied at once and saved later. Whatever is killed meanwhile,
what was acknowledged is there, and what never was committed is nowhere.
"""
import errno
import sqlite3
import threading

from cluster import PATIENCE_S, until_done, write_until_done

ROUNDS = 4
KILLS = 6
SNAPSHOTS = 5
GONE = {errno.EROFS, errno.ETIMEDOUT, errno.ENOTCONN, errno.ECONNABORTED}


class LoneWriter(threading.Thread):
    """One change after the other, whatever becomes of them."""

    def __init__(self, node, key):
        super().__init__(daemon=True)
        self.node, self.key = node, key
        self.stop = threading.Event()
        self.done = 0
        self.failed = None
        self.start()

    def run(self):
        while not self.stop.is_set() and not self.failed:
            try:
                self.node.write(self.key, f"{self.done + 1:06} " + "x" * (self.done % 2000))
                self.done += 1
            except OSError as e:
                self.failed = e

    def wait_progress(self, count=10):
        want = self.done + count
        while self.done < want and self.is_alive():
            self.join(0.001)

    def end(self):
        self.join(PATIENCE_S)
        assert not self.is_alive()
        assert self.failed is None or self.failed.errno in GONE, self.failed


def cut_off_while_it_writes(cluster, key):
    """The leader, whose others stand still and so do not get its last change, and its writer."""
    cluster.wait_whole()
    leader = cluster.leader()
    writer = LoneWriter(leader, key)
    writer.wait_progress()
    for node in cluster.others(leader):
        node.pause()
    writer.stop.set()
    return leader, writer


def let_others_go_on(cluster, leader, key):
    others = cluster.others(leader)
    for node in others:
        node.resume()
    others[0].wait("another leader", lambda s: s["leader"] not in ("-", leader.name))
    write_until_done(others[0], key, "new leader")


def check_replaced(cluster, old, key):
    assert until_done(lambda: old.read(key)) == "new leader"  # it may have to find the new one
    cluster.wait_equal()


def test_another_leaders_change_takes_its_place(cluster):
    cluster.start(3, ["-o", "timeout=1"])
    for i in range(ROUNDS):
        old, writer = cut_off_while_it_writes(cluster, f"key{i}")
        old.pause()
        let_others_go_on(cluster, old, f"other{i}")
        old.resume()
        writer.end()
        check_replaced(cluster, old, f"other{i}")


def test_it_is_in_no_snapshot_and_gone_after_kill_9(cluster):
    cluster.start(3, ["-o", "timeout=1"])
    for i in range(ROUNDS):
        old, writer = cut_off_while_it_writes(cluster, f"key{i}")
        write_until_done(old, ".raft/snapshot", "\n")
        status = old.status()
        assert 0 < int(status["snapshot_index"]) <= int(status["applied_index"])
        old.kill()
        writer.end()
        let_others_go_on(cluster, old, f"other{i}")
        old.restart()
        check_replaced(cluster, old, f"other{i}")


def check_acknowledged(cluster, key, done):
    """It is everywhere, or the one after it, of which its writer was not told any more."""
    cluster.wait_equal()
    values = {until_done(lambda node=node: node.read(key)) for node in cluster.nodes}
    assert len(values) == 1
    assert int(values.pop().split(" ")[0]) in (done, done + 1)


def test_what_a_killed_node_had_not_saved_it_applies_again(cluster):
    cluster.start(3)
    for i in range(KILLS):
        cluster.wait_whole()
        node = cluster.nodes[i % 3]
        writer = LoneWriter(node, f"key{i}")
        writer.wait_progress(20 + i)
        node.kill()
        writer.end()
        node.restart()
        check_acknowledged(cluster, writer.key, writer.done)


def test_all_nodes_may_be_killed_at_once(cluster):
    cluster.start(3)
    for i in range(ROUNDS):
        cluster.wait_whole()
        writer = LoneWriter(cluster.nodes[i % 3], f"key{i}")
        writer.wait_progress(20 + i)
        for node in cluster.nodes:
            node.process.kill()
        for node in cluster.nodes:
            node.reap()
        writer.end()
        for node in cluster.nodes:
            node.respawn()
        for node in cluster.nodes:
            node.hear("serves")
        check_acknowledged(cluster, writer.key, writer.done)


def value_in_snapshot(node, key):
    name = dict(line.split(": ", 1) for line in node.read(".raft/snapshot").splitlines())
    path = f"{node.data}/snapshots/{name['term']}-{name['index']}.db"
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        found = db.execute("SELECT CAST(data AS TEXT) FROM dentry JOIN chunk USING (ino) "
                           "WHERE parent = 1 AND n = 0 AND CAST(name AS TEXT) = ?", (key,))
        return found.fetchone()[0]
    finally:
        db.close()


def test_a_snapshot_holds_what_was_just_written(cluster):
    cluster.start(3)
    for i in range(SNAPSHOTS):
        node = cluster.nodes[i % 3]
        node.write("key", f"value {i}")
        node.write(".raft/snapshot", "\n")
        assert value_in_snapshot(node, "key") == f"value {i}"
