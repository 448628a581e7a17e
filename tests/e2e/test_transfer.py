# SPDX-License-Identifier: MIT
"""Members that need what the others' logs no longer hold: snapshots travel, and are installed."""
import glob
import mmap
import os
import re
import shutil
import time

import pytest

from cluster import PATIENCE_S
from test_snapshots import newest, put_many
from writers import Writer, Writers

# A snapshot after so many entries, and as many kept behind it; ten times as many for one that has
# just gone silent.
OFTEN = ["-o", "snapshot=200"]
LEFT_BEHIND = 2500


def fill(leader, pad=1000, without=None):
    """More than a log keeps, then the leader cuts its own, though a member is not there."""
    put_many(leader, LEFT_BEHIND, pad="x" * pad)
    leader.write(".raft/snapshot", "\n")
    if without:  # a leader waits a while for one who may be back at once
        leader.wait(f"silence of {without.name}", lambda s: silent_ms(s, without) > 4200)
    leader.write("after", "the cut")


def silent_ms(status, node):
    return int(re.search(r"contact_ms=(-?\d+)", status[f"member.{node.name}"])[1])


def filled(node):
    return node.read(f"k{LEFT_BEHIND - 1}").startswith(f"v{LEFT_BEHIND - 1}x")


def received(node):
    """Bytes of the snapshot that is coming in; 0: none is."""
    try:
        return sum(os.path.getsize(path) for path in glob.glob(f"{node.data}/snapshots/incoming*"))
    except OSError:  # whole now, and renamed
        return 0


def wait_received(node, enough):
    end = time.monotonic() + PATIENCE_S
    while received(node) < enough:
        assert time.monotonic() < end, (received(node), node.lines)
        assert node.process.poll() is None, node.lines


def starts(node):
    """From where on and from whom the node says that it receives: (index, name, byte), …"""
    said = [re.search(r"receives the snapshot of entry (\d+) from (.+), from byte (\d+) ", line)
            for line in node.lines]
    return [(int(m[1]), m[2], int(m[3])) for m in said if m]


def check_shown(node):
    """What .status and .raft/snapshot say of the newest snapshot is there."""
    shown = newest(node)
    assert node.status()["snapshot_index"] == shown["index"]
    assert os.path.getsize(shown["file"]) == int(shown["bytes"])
    assert not glob.glob(f"{node.data}/snapshots/incoming*")


def test_a_new_node_joins_while_others_write(cluster):
    cluster.start(3, OFTEN)
    fill(cluster.leader())
    with Writers(cluster) as writers:
        writers.wait_progress()
        new = cluster.add()
        new.start(join=cluster.nodes[0].address, options=OFTEN)
        new.hear("is installed")
        cluster.wait_whole()
        writers.wait_progress()
    assert filled(new)
    check_shown(new)
    for node in cluster.nodes:  # and it starts on what it has now
        node.kill()
    for node in cluster.nodes:
        node.restart()
    cluster.wait_whole()
    cluster.wait_equal()


def test_one_that_was_away_and_one_that_lost_its_disk(cluster):
    cluster.start(3, OFTEN)
    leader = cluster.leader()
    away, wiped = cluster.others(leader)
    away.kill()
    fill(leader, without=away)
    away.restart()
    away.hear("is installed")
    cluster.wait_whole()
    cluster.wait_equal()
    assert filled(away)
    check_shown(away)
    wiped.kill()
    shutil.rmtree(wiped.data)
    wiped.start(join=leader.address, options=OFTEN)
    wiped.hear("is installed")
    cluster.wait_whole()
    cluster.wait_equal()
    assert filled(wiped)


def test_receiver_and_sender_die(cluster):
    cluster.start(3, OFTEN)
    fill(cluster.leader(), pad=8000)
    one, two = cluster.add(), cluster.add()
    one.spawn(join=cluster.nodes[0].address, options=OFTEN)
    wait_received(one, 4 << 20)
    one.kill()
    assert starts(one)[0][2] == 0
    had = received(one)
    one.restart()
    one.hear("is installed")
    index, _, byte = starts(one)[0]
    assert 0 < byte <= had  # what had come was not sent again
    assert f"the snapshot of entry {index} is installed" in "\n".join(one.lines)

    two.spawn(join=cluster.nodes[0].address, options=OFTEN)
    wait_received(two, 1 << 20)
    sender = cluster.leader()
    sender.kill()
    two.hear("is installed")
    sender.restart()
    cluster.wait_whole()
    cluster.wait_equal()
    for node in one, two:
        assert filled(node)
        check_shown(node)


@pytest.mark.parametrize("consistency", ["linearizable", "local"])
def test_files_that_are_open_meanwhile(cluster, consistency):
    """…on a node that stands still and is left behind; its own writer sees no error either."""
    cluster.start(3, [*OFTEN, "-o", "timeout=60", "-o", f"consistency={consistency}"])
    leader = cluster.leader()
    lags = cluster.others(leader)[0]
    size = 2 << 20  # beyond what is read in one version
    for name in "small", "gone", "written", "mapped", "replaced":
        leader.write(name, f"old {name}")
    leader.write("large", "a" * size)
    cluster.wait_equal()

    def fd(name, flags=os.O_RDONLY):
        return os.open(lags.path(name), flags)

    fds = {name: fd(name) for name in ("small", "gone", "large", "replaced")}
    fds |= {name: fd(name, os.O_RDWR) for name in ("written", "mapped")}
    for name, f in fds.items():
        assert os.pread(f, 5, 0) == (b"aaaaa" if name == "large" else f"old {name}".encode()[:5])
    shown = mmap.mmap(fds["mapped"], 10)
    assert shown[:] == b"old mapped"
    writer = Writer(lags, "its own")
    writer.start()
    writer.wait_progress(3)
    lags.pause()
    for name in "small", "written", "mapped":
        leader.write(name, f"new {name}")
    os.unlink(leader.path("gone"))
    leader.write("other", "new replaced")
    os.rename(leader.path("other"), leader.path("replaced"))
    f = os.open(leader.path("large"), os.O_WRONLY)
    os.pwrite(f, b"b" * 5, 0)
    os.close(f)
    fill(leader, without=lags)
    lags.resume()
    lags.hear("is installed")
    writer.wait_progress(3)
    writer.stop.set()
    writer.join()
    assert writer.failed is None, writer.failed
    cluster.wait_equal()
    assert leader.read("its own") == str(writer.done)

    def shows(condition):
        """At once; a local view and a mapping a moment later, when the kernel has been told."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert consistency == "local" and time.monotonic() < end

    shows(lambda: os.pread(fds["small"], 64, 0) == b"new small")
    shows(lambda: os.pread(fds["written"], 64, 0) == b"new written")
    shows(lambda: os.pread(fds["large"], 7, 0) == b"bbbbbaa")
    shows(lambda: not os.path.exists(lags.path("gone")))
    shows(lambda: lags.read("replaced") == "new replaced")
    end = time.monotonic() + PATIENCE_S
    while shown[:] != b"new mapped":
        assert time.monotonic() < end
    for name in "gone", "replaced":  # no name leads to these any more
        assert os.pread(fds[name], 64, 0) == f"old {name}".encode()
        assert os.fstat(fds[name]).st_nlink == 0
    os.pwrite(fds["written"], b"own", 0)
    cluster.wait_equal()
    assert leader.read("written") == "own written"
    shown.close()
    for f in fds.values():
        os.close(f)
    assert filled(lags)


def begins_to_install(node):
    """Waits until the node installs what it has received; False: it did so before it started."""
    end = time.monotonic() + PATIENCE_S
    node.hear("serves")
    while time.monotonic() < end:
        with node.heard:
            if any("takes the store's place" in line for line in node.lines):
                return True
            node.heard.wait(0.02)
        if int(node.status()["applied_index"]) >= LEFT_BEHIND:
            return False
    raise AssertionError(node.lines)


def test_kill_at_any_moment(cluster):
    cluster.start(3, OFTEN)
    fill(cluster.leader(), pad=4000)
    new = cluster.add()
    new.spawn(join=cluster.nodes[0].address, options=OFTEN)
    for part in range(1, 5):  # while it comes
        wait_received(new, part << 20)
        new.kill()
        new.respawn()
    kills = 0
    while begins_to_install(new):  # while it is put in the store's place
        with new.heard:
            new.heard.wait(0.06 * kills)
        new.kill()
        new.respawn()
        kills += 1
    assert kills > 0
    cluster.wait_whole()
    cluster.wait_equal()
    assert filled(new)
    check_shown(new)
