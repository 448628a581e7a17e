# SPDX-License-Identifier: MIT
"""A disk that changed what it was given: the node sets it aside and takes its own place anew."""
import errno
import glob
import os
import shutil

import pytest

from cluster import until_done
from orders import fails_with
from writers import Writers


def flip(path, offset):
    with open(path, "r+b") as f:
        f.seek(offset)
        byte = f.read(1)[0]
        f.seek(offset)
        f.write(bytes([byte ^ 0x40]))


def damage_log(node):
    """In its first record, which no torn write can explain."""
    flip(sorted(glob.glob(f"{node.data}/log/*.seg"))[0], 4096 + 64)


def lose_log(node):
    shutil.rmtree(f"{node.data}/log")


def damage_store(node):
    flip(f"{node.data}/store.db", 100)


def lose_store(node):
    for path in glob.glob(f"{node.data}/store.db*"):
        os.unlink(path)


def fill(cluster):
    for i in range(60):
        cluster.nodes[i % len(cluster.nodes)].write(f"k{i}", f"v{i}" * 100)
    cluster.wait_equal()


def has_everything(node):
    for i in range(60):
        assert until_done(lambda i=i: node.read(f"k{i}")) == f"v{i}" * 100


def incarnation(node, of="identity"):
    with open(f"{node.data}/{of}") as f:
        return next(line for line in f if line.startswith("incarnation"))


@pytest.mark.parametrize("damage", [damage_log, lose_log, damage_store, lose_store])
def test_a_damaged_node_starts_over(three, damage):
    fill(three)
    node = three.leader() if damage is damage_log else three.others(three.leader())[0]
    before = incarnation(node)
    with Writers(three) as writers:
        writers.wait_progress()
        if damage is damage_store:
            node.stop()  # nothing is left in SQLite's own log, which would cover it
        else:
            node.kill()
        damage(node)
        node.restart()
        writers.wait_progress()
    node.hear("set aside in")
    three.wait_whole()
    has_everything(node)
    assert incarnation(node) != before == incarnation(node, "corrupt-1/identity")
    assert len(os.listdir(node.path(".raft/members"))) == 3
    node.kill()
    node.restart()  # it is a member as any other
    three.wait_equal()


def damage_value(node, value):
    """A page that holds nothing else, and that nobody reads until somebody asks for this value."""
    path = f"{node.data}/store.db"
    with open(path, "rb") as f:
        pages = iter(lambda: f.read(4096), b"")
        page = next(k for k, page in enumerate(pages) if page.count(value.encode()) > 1500)
    flip(path, 4096 * page + 2000)


def test_damage_is_met_while_it_runs(three):
    fill(three)
    node = three.others(three.leader())[0]
    node.write("large", "v7" * 20000)
    node.stop()
    damage_value(node, "v7")
    node.restart()
    three.wait_whole()
    fails_with(errno.EUCLEAN, node.read, "large")
    node.hear("set aside in")
    node.hear("is a member now")
    three.wait_whole()
    has_everything(node)
    assert node.read("large") == "v7" * 20000
    three.wait_equal()


def test_what_is_all_that_is_left_is_left_alone(cluster):
    cluster.start(1)
    node = cluster.nodes[0]
    node.write("k7", "v7" * 20000)  # most of which has pages of its own
    node.write("k8", "v8")
    node.stop()
    damage_value(node, "v7")
    node.restart()
    fails_with(errno.EUCLEAN, node.read, "k7")
    assert {"k7", "k8"} < set(os.listdir(node.mount))  # what can be had, can be had
    node.stop()
    damage_log(node)
    files = sorted(os.listdir(node.data))
    node.respawn()
    assert node.reap() == 1
    assert any("there is no other member" in line and "--restore" in line for line in node.lines)
    assert sorted(os.listdir(node.data)) == files


def test_without_a_majority_of_the_others_nothing_is_touched(three):
    fill(three)
    one, two, other = three.nodes
    for node in three.nodes:
        node.kill()
    for node in one, two:
        damage_log(node)
    other.restart()
    for node in one, two:
        node.respawn()
    for node in one, two:
        assert node.reap() == 1
        assert any("--recover" in line and "Nothing was changed" in line for line in node.lines)
        assert not os.path.exists(f"{node.data}/corrupt-1")
    # What can be undone, is: with one of them mended the others are a majority again.
    damage_log(one)
    one.restart()
    two.restart()
    two.hear("set aside in")
    three.wait_whole()
    three.wait_equal()
    has_everything(two)


@pytest.mark.parametrize("what", ["log", "store.db"])
def test_files_of_another_directory_are_refused(three, what):
    one, two, _ = three.nodes
    one.stop()
    two.stop()
    os.rename(f"{one.data}/{what}", f"{one.data}/{what}.own")
    copy = shutil.copytree if what == "log" else shutil.copy
    copy(f"{two.data}/{what}", f"{one.data}/{what}")
    one.respawn()
    assert one.reap() == 1
    assert any("another data directory" in line and "put the right" in line for line in one.lines)
    assert not os.path.exists(f"{one.data}/corrupt-1")
    (shutil.rmtree if what == "log" else os.unlink)(f"{one.data}/{what}")
    os.rename(f"{one.data}/{what}.own", f"{one.data}/{what}")
    one.restart()
    two.restart()
    three.wait_whole()


def test_a_directory_without_identity_is_not_taken_for_empty(cluster):
    cluster.start(1)
    node = cluster.nodes[0]
    node.write("k", "v")
    node.stop()
    os.rename(f"{node.data}/identity", f"{node.data}/lost")
    node.respawn()
    assert node.reap() == 1
    assert any("no identity" in line for line in node.lines)
    os.rename(f"{node.data}/lost", f"{node.data}/identity")
    node.restart()
    assert node.read("k") == "v"
