# SPDX-License-Identifier: MIT
"""
Large files that are cut off or removed: that is done at once, as far as anybody can see, and nobody
else waits while their content is freed.
"""
import os
import sqlite3
import time

import pytest

from cluster import PATIENCE_S
from writers import Writers

MIB = 1 << 20
BLOCK = 1044480  # what one command takes
BIG_MIB = 24


@pytest.fixture
def patient(cluster):
    """Three nodes for which no disk is too slow."""
    cluster.start(3, options=("-o", f"timeout={PATIENCE_S}"))
    return cluster


def write_big(node, key):
    fd = os.open(node.path(key), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        for _ in range(BIG_MIB * MIB // BLOCK):
            os.write(fd, b"x" * BLOCK)
    finally:
        os.close(fd)


def count_in_snapshot(node, query):
    """A number from what the node's replica holds now."""
    node.write(".raft/snapshot", "now\n")
    name = dict(line.split(": ", 1) for line in node.read(".raft/snapshot").splitlines())
    path = f"{node.data}/snapshots/{name['term']}-{name['index']}.db"
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return db.execute(query).fetchone()[0]
    finally:
        db.close()


def wait_freed(node):
    end = time.monotonic() + PATIENCE_S
    while count_in_snapshot(node, "SELECT count(*) FROM content WHERE NOT live"):
        assert time.monotonic() < end, f"{node.name} does not free it"


def test_nobody_waits_for_what_is_freed(patient):
    leader = patient.leader()
    follower, killed = patient.others(leader)
    write_big(leader, "cut")
    write_big(follower, "removed")
    with Writers(patient, [leader, follower]) as writers:
        assert leader.shell("echo small > cut").returncode == 0
        killed.kill()
        os.unlink(follower.path("removed"))
        writers.wait_progress(20)
        assert follower.read("cut") == "small\n"
        os.truncate(follower.path("cut"), 4 * MIB)
        with open(leader.path("cut"), "r+b") as f:
            f.seek(2 * MIB)
            f.write(b"again")
        killed.restart()
        patient.wait_whole()
        writers.wait_progress(20)
    want = b"small\n".ljust(2 * MIB, b"\0") + b"again"
    for node in patient.nodes:
        with open(node.path("cut"), "rb") as f:
            assert f.read() == want.ljust(4 * MIB, b"\0")
        assert not os.path.exists(node.path("removed"))
        wait_freed(node)
    patient.wait_equal()


def test_a_file_rewritten_again_and_again_takes_no_more_room(patient):
    node = patient.leader()
    store = os.path.join(node.data, "store.db")
    write_big(node, "key")
    for _ in range(4):
        write_big(node, "key")
        os.unlink(node.path("key"))
    write_big(node, "key")
    patient.wait_equal()
    patient.close()
    assert os.path.getsize(store) < 4 * BIG_MIB * MIB
