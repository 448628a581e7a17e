# SPDX-License-Identifier: MIT
"""A member whose data was lost and that is started without -join must not become a second cluster."""
import errno
import os
import shutil

from cluster import Node, free_port
from orders import fails_with, order


def wipe(node):
    node.kill()
    shutil.rmtree(node.data)


def claims(node):
    """What it says of the cluster that claims it: one line, and no other riddles about it."""
    lines = [line for line in node.lines if "cluster" in line]
    assert len(lines) == 1, lines
    assert f"says that {node.name} is a member of its cluster" in lines[0], lines
    return lines[0]


def found_heard(victim):
    """
    Wiped and started while the others dial it; its exit status. It listens for a second: on a
    machine that stands still for longer it may have to be tried again.
    """
    for _ in range(10):
        wipe(victim)
        victim.spawn()
        victim.hear("cluster")
        if not any("serves" in line for line in victim.lines):
            return victim.reap()
    raise AssertionError(victim.lines)


def it_ends_and_names_join(three, victim):
    addresses = [n.address for n in three.others(victim)]
    assert found_heard(victim) == 1
    line = claims(victim)
    assert any(line.endswith(f"start this node with -join {a}") for a in addresses), line
    victim.start(join=line.rsplit(" ", 1)[1])
    three.wait_whole()
    assert victim.read("k") == "v"


def found_unheard(victim, others):
    """Wiped and started while nobody can tell it whose member it is."""
    wipe(victim)
    for other in others:
        other.pause()
    victim.start()
    victim.write("mine", "x")
    for other in others:
        other.resume()
    victim.hear("takes no more changes")


def it_stops_taking_changes_when_it_hears_later(three, victim):
    others = three.others(victim)
    found_unheard(victim, others)
    assert "an empty -data directory and -join" in claims(victim)
    for change in (lambda: victim.write("mine", "y"), lambda: victim.write("new", "y"),
                   lambda: os.mkdir(victim.path("dir")), lambda: os.unlink(victim.path("mine")),
                   lambda: order(victim, "node9", "127.0.0.1:9 voter")):
        fails_with(errno.EROFS, change)
    r = victim.shell("echo y > mine")
    assert r.returncode == 1 and "Read-only file system" in r.stderr
    assert victim.read("mine") == "x"
    assert victim.status()["quorum"] == "yes 1/1"
    # Whoever wants to join it is told where to go.
    late = Node(three.top, "late", f"127.0.0.1:{free_port()}")
    late.spawn(join=victim.address)
    assert late.reap() == 1
    assert any("join" in line and any(o.address in line for o in others) for line in late.lines)
    # Back where it belongs, with nothing of what it took meanwhile.
    wipe(victim)
    victim.start(join=others[0].address)
    three.wait_whole()
    assert victim.read("k") == "v" and "mine" not in os.listdir(victim.mount)


def test_it_is_told(three):
    three.nodes[0].write("k", "v")
    it_ends_and_names_join(three, three.leader())
    it_stops_taking_changes_when_it_hears_later(three, three.others(three.leader())[0])
    three.wait_equal()
