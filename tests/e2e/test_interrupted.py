# SPDX-License-Identifier: MIT
"""Changes of members that kill -9 interrupts, at moments told by what a node has said or shows."""
import errno
import glob
import os

import pytest

from cluster import until_done
from orders import hears_that_it_is_out, member
from test_damage import damage_log


def names(cluster):
    return sorted(node.name for node in cluster.nodes)


def comes_out_right(cluster):
    """All are voters, nobody else is a member, and all have the same."""
    cluster.wait_whole()
    for node in cluster.nodes:
        node.wait("the right members", lambda s: names(cluster) == sorted(
            k[7:] for k in s if k.startswith("member.")))
        assert until_done(lambda node=node: node.read("k")) == "v"
    until_done(lambda: cluster.nodes[0].write("after", "all"))
    cluster.wait_equal()


def strike(cluster, victim, joiner):
    node = cluster.leader() if victim == "leader" else joiner
    node.kill()
    node.restart()


@pytest.mark.parametrize("victim", ["leader", "joiner"])
@pytest.mark.parametrize("moment", ["it asks", "it is a member"])
def test_joining(three, victim, moment):
    three.nodes[0].write("k", "v")
    joiner = three.add()
    joiner.spawn(join=",".join(n.address for n in three.nodes[:3]))
    joiner.hear("serves" if moment == "it asks" else "is a member now")
    old = three.nodes[:3]
    three.nodes = old if victim == "leader" else three.nodes
    strike(three, victim, joiner)
    three.nodes = old + [joiner]
    comes_out_right(three)


@pytest.mark.parametrize("victim", ["leader", "successor"])
def test_replacing(three, victim):
    three.nodes[0].write("k", "v")
    wiped = three.others(three.leader())[0]
    wiped.kill()
    wiped.data += ".new"
    wiped.start(join=",".join(n.address for n in three.nodes if n is not wiped))
    all_nodes = list(three.nodes)
    three.nodes = [n for n in all_nodes if n is not wiped] if victim == "leader" else all_nodes
    strike(three, victim, wiped)
    three.nodes = all_nodes
    comes_out_right(three)


@pytest.mark.parametrize("moment", ["asks the other members", "set aside in", "serves"])
def test_starting_over(three, moment):
    three.nodes[0].write("k", "v")
    node = three.others(three.leader())[0]
    node.kill()
    damage_log(node)
    node.respawn()
    node.hear(moment)
    node.kill()
    node.restart()
    comes_out_right(three)
    assert len(glob.glob(f"{node.data}/corrupt-*")) == 1


def test_removing_while_the_leader_dies(three):
    three.nodes[0].write("k", "v")
    for _ in range(2):
        three.add().start(join=three.nodes[0].address)
    three.wait_whole()
    leader = three.leader()
    gone, asked, *_ = three.others(leader)
    script = f"rm {member(asked, gone.name)}"
    rm = asked.shell(f"({script}) & kill -9 {leader.process.pid}; wait")
    assert rm.returncode == 0
    leader.reap()
    leader.restart()

    def remove():
        try:
            os.unlink(member(asked, gone.name))
        except OSError as e:
            if e.errno != errno.ENOENT:  # it was carried out the first time
                raise
    until_done(remove)
    three.nodes.remove(gone)
    hears_that_it_is_out(gone)
    comes_out_right(three)
