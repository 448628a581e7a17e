# SPDX-License-Identifier: MIT
"""Concurrent reads and writes over three mounts, with nodes killed, paused and cut off."""
import errno
import os
import random
import threading
import time

import pytest

from cluster import write_until_done
from linearizable import Op, violation, violation_by_trial

KEYS = 3
CLIENTS_A_NODE = 2
FAULTS = 12
FAULT_S = 0.7  # how long one lasts: longer than an election
NOTHING_HAPPENED = {errno.EROFS, errno.EINTR}
MOUNT_GONE = {errno.ENOTCONN, errno.ECONNABORTED}


# ---- The checker itself ------------------------------------------------------------------------

def w(value, call, ret):
    return Op("write", value, call, ret)


def r(value, call, ret):
    return Op("read", value, call, ret)


@pytest.mark.needs_no_mount
@pytest.mark.parametrize("ops", [
    [w("a", 0, 1), r("a", 2, 3)],
    [w("a", 0, 4), r("0", 1, 2), r("a", 2.5, 3)],
    [w("a", 0, None), r("0", 1, 2), r("a", 3, 4)],
    [w("a", 0, None), w("b", 1, 2), r("b", 3, 4), r("a", 5, 6)],
    [w("a", 0, 9), w("b", 0, 9), r("b", 1, 2), r("a", 3, 4)],
])
def test_the_checker_accepts(ops):
    assert violation(ops, "0") is None


@pytest.mark.needs_no_mount
@pytest.mark.parametrize("ops", [
    [w("a", 0, 1), r("0", 2, 3)],                                 # stale
    [w("a", 0, None), r("a", 1, 2), r("0", 3, 4)],                # went back
    [w("a", 0, 1), w("b", 2, 3), r("b", 4, 5), r("a", 6, 7)],     # went back
    [w("a", 0, 9), w("b", 0, 9), r("a", 1, 2), r("b", 3, 4), r("a", 5, 6)],
    [r("x", 0, 1)],                                               # out of nowhere
    [w("a", 0, None), w("b", 0, 1), r("a", 2, 3), r("b", 4, 5), r("a", 6, 7)],
])
def test_the_checker_refuses(ops):
    assert violation(ops, "0") is not None


@pytest.mark.needs_no_mount
def test_the_checker_agrees_with_trying_all_orders():
    dice = random.Random(1)
    verdicts = set()
    for _ in range(1500):
        ops, values = [], ["0", "a", "b"]
        for value in values[1:]:
            call = dice.randrange(10)
            ops.append(w(value, call, dice.choice([None, call + dice.randrange(1, 6) + 0.5])))
        for _ in range(3):
            call = dice.randrange(10) + 0.1
            ops.append(r(dice.choice(values), call, call + dice.randrange(1, 5)))
        fast = violation(ops, "0") is None
        assert fast == (violation_by_trial(ops, "0") is None), ops
        verdicts.add(fast)
    assert verdicts == {True, False}


# ---- The cluster -------------------------------------------------------------------------------

class Client(threading.Thread):
    """Reads and writes keys of its node, one operation after the other, and keeps the history."""

    def __init__(self, node, number, history, stop, epoch):
        super().__init__(daemon=True)
        self.node, self.number, self.history = node, number, history
        self.stop, self.epoch = stop, epoch
        self.dice = random.Random(number)
        self.failed = None
        self.root = None
        self.held = {}  # by key: a descriptor to open anew

    def run(self):
        try:
            count = 0
            while not self.stop.is_set():
                count += 1
                self.operate(f"e{self.epoch[0]}.k{self.dice.randrange(KEYS)}", count)
        except BaseException as e:  # shown by the test, which joins
            self.failed = e

    def operate(self, key, count):
        if not self.open_root():
            return
        op = Op("read", None, time.monotonic(), who=self.node.name)
        try:
            if self.dice.random() < 0.5:
                op.value = self.read(key)
            else:
                # Length tells nothing, and pieces of two values make none.
                op.kind, op.value = "write", f"{self.number}:{count}:" + "x" * (count % 500)
                self.node.write(key, op.value, self.root)
            op.ret = time.monotonic()
        except OSError as e:
            if e.errno in MOUNT_GONE:
                self.close_all()
            if op.kind == "read" or e.errno in NOTHING_HAPPENED:
                return
        self.history.append((key, op))

    def read(self, key):
        """By its name, or anew by a descriptor that looked at it long before the call."""
        if self.dice.random() < 0.5:
            return self.node.read(key, self.root)
        if key not in self.held:
            flags = self.dice.choice([os.O_PATH, os.O_RDONLY])
            self.held[key] = os.open(key, flags, dir_fd=self.root)
        with open(f"/proc/self/fd/{self.held[key]}", encoding="ascii") as f:
            if self.dice.random() < 0.5:
                os.fstat(self.held[key])
            return f.read()

    def close_all(self):
        for fd in [self.root, *self.held.values()]:
            os.close(fd)
        self.root, self.held = None, {}

    def open_root(self):
        if self.root is None:
            try:
                self.root = self.node.open_root()
            except OSError:
                time.sleep(0.01)  # its node is down: no event says when it is up
        return self.root is not None


def kill(cluster, node, dice):
    node.kill()
    time.sleep(FAULT_S)
    node.restart()


def kill_all(cluster, node, dice):
    for n in cluster.nodes:
        n.kill()
    for n in cluster.nodes:
        n.respawn()
    for n in cluster.nodes:
        n.hear("serves")


def pause(cluster, node, dice):
    node.pause()
    time.sleep(FAULT_S)
    node.resume()


def cut(cluster, node, dice):
    cluster.cut(node)
    time.sleep(2 * FAULT_S)
    cluster.mend(node)


def cut_two(cluster, node, dice):
    other = dice.choice(cluster.others(node))
    cluster.cut(node)
    cluster.cut(other)
    time.sleep(FAULT_S)
    cluster.mend(node)
    cluster.mend(other)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_histories_are_linearizable(cluster, seed):
    dice = random.Random(seed)
    cluster.add_namespaces(3)
    cluster.start_all(["-o", "timeout=2"])
    history, stop, epoch = [], threading.Event(), [0]

    def new_keys(number):
        for k in range(KEYS):
            write_until_done(cluster.nodes[0], f"e{number}.k{k}", "0")
        epoch[0] = number

    new_keys(0)
    clients = [Client(node, 10 * i + c, history, stop, epoch)
               for i, node in enumerate(cluster.nodes) for c in range(CLIENTS_A_NODE)]
    for client in clients:
        client.start()
    for fault in range(1, FAULTS + 1):
        victim = dice.choice(cluster.nodes + [cluster.leader()] * 2)
        dice.choice([kill, kill, pause, cut, cut_two, kill_all])(cluster, victim, dice)
        cluster.wait_whole()
        new_keys(fault)  # so that unknown outcomes do not pile up on one key
    stop.set()
    for client in clients:
        client.join()
        assert client.failed is None, client.failed

    by_key = {}
    for key, op in history:
        by_key.setdefault(key, []).append(op)
    for key, ops in by_key.items():
        bad = violation(ops, "0")
        assert bad is None, f"{key}: {bad}"
    done = sum(op.ret is not None for _, op in history)
    unknown = len(history) - done
    print(f"seed {seed}: {done} operations, {unknown} of unknown outcome, {len(by_key)} keys")
    assert done > 1000
    cluster.wait_equal()
    for key in by_key:
        assert len({node.read(key) for node in cluster.nodes}) == 1


# ---- Descriptors that looked before -------------------------------------------------------------

def test_a_look_is_no_older_than_its_call(cluster):
    """What each thread did last is a look at the file as it was before the write that it must see."""
    cluster.start(3)
    writer = cluster.leader()
    writer.write("f", "none")
    os.mkdir(writer.path("d"))
    for node in cluster.others(writer):
        path_only = os.open(node.path("f"), os.O_PATH)
        readable = os.open(node.path("f"), os.O_RDONLY)
        directory = os.open(node.path("d"), os.O_RDONLY)
        for k in range(100):
            value = f"{node.name} {k} " + "x" * (k % 7)
            for fd in (path_only, readable):
                os.fstat(fd)
                writer.write("f", value + str(fd))
                with open(f"/proc/self/fd/{fd}", encoding="ascii") as f:
                    assert f.read() == value + str(fd)
            os.fstat(path_only)
            writer.write("f", value)
            assert os.fstat(path_only).st_size == len(value)
            assert node.read("f") == value
            os.fstat(directory)
            writer.write(f"d/{value}", "x")
            os.stat(value, dir_fd=directory)
            os.fstat(directory)
            os.unlink(writer.path(f"d/{value}"))
            assert os.listdir(directory) == []
            with pytest.raises(FileNotFoundError):
                os.stat(value, dir_fd=directory)
        for fd in (path_only, readable, directory):
            os.close(fd)
