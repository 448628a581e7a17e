# SPDX-License-Identifier: MIT
"""A leader carries a lone change out before it is committed; nothing is left of one that never is."""
import errno
import threading

from cluster import PATIENCE_S, until_done, write_until_done

ROUNDS = 4
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
                self.node.write(self.key, "old leader" * (1 + self.done % 2000))
                self.done += 1
            except OSError as e:
                self.failed = e

    def wait_progress(self):
        want = self.done + 10
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
