# SPDX-License-Identifier: MIT
"""Members that are added by creating .raft/members/NAME."""
import errno
import os
import socket
import threading

from cluster import free_port
from orders import fails_with, member, order


def waits_for_nobody(node, options=()):
    """A joining node whose -join leads nowhere."""
    node.start(join=f"127.0.0.1:{free_port()}", options=options)
    assert node.status()["quorum"].startswith("no ")


def test_members_are_added_by_orders(cluster):
    cluster.start(1)
    first = cluster.nodes[0]
    first.write("k", "v")
    for name, asked, options, text in (
            ("node2", "node1", (), "ADDRESS"),
            ("node3", "node2", (), "ADDRESS voter"),
            ("node4", "node1", (), "nonvoter ADDRESS"),
            ("node5", "node3", ("-nonvoter",), "ADDRESS")):
        new = cluster.add(name)
        waits_for_nobody(new, options)
        asked = next(n for n in cluster.nodes if n.name == asked)
        text = text.replace("ADDRESS", new.address)
        if name == "node2":
            r = asked.shell(f"echo {text} > .raft/members/{name}")
            assert r.returncode == 0, r
        else:
            order(asked, name, text)
        role = "nonvoter" if "nonvoter" in text or options else "voter"
        first.wait(f"{name} to be a {role}",
                   lambda s: s[f"member.{name}"].startswith(f"{new.address} {role} "))
        if "voter" in text.split():
            assert asked.read(f".raft/members/{name}") == f"{new.address} voter\n"
        assert new.read("k") == "v"
        order(asked, name, text)  # it is so already
    first.wait_quorum(3)
    cluster.wait_equal()
    # It is one as any other: it comes back by itself.
    new = cluster.nodes[1]
    new.kill()
    new.restart()
    first.wait_quorum(3)


def test_the_order_may_come_before_its_node(cluster):
    cluster.start(1, ["-o", "timeout=60"])
    new = cluster.add()
    writes = threading.Thread(target=order, args=(cluster.nodes[0], new.name, new.address))
    writes.start()
    waits_for_nobody(new)
    writes.join()
    cluster.wait_whole()


def test_who_cannot_be_added_is_not(cluster):
    cluster.start(2, ["-o", "timeout=1"])
    one, two = cluster.nodes
    new = cluster.add("node3")
    before = sorted(os.listdir(one.path(".raft/members")))

    def refused(number, name, text, said):
        fails_with(number, order, one, name, text)
        one.hear(said)
        assert sorted(os.listdir(one.path(".raft/members"))) == before

    refused(errno.EHOSTUNREACH, "node3", new.address, f"{new.address} cannot be reached")
    refused(errno.EINVAL, "node3", "voter", "needs an address")
    refused(errno.EINVAL, "node 3", new.address, "needs an address")
    refused(errno.EINVAL, "x" * 64, new.address, "needs an address")
    refused(errno.EADDRINUSE, "node3", two.address, "here is node2, not node3")
    waits_for_nobody(new)
    refused(errno.EADDRINUSE, "other", new.address, "here is node3, not other")
    new.stop()
    new.data += ".founder"
    new.start()
    refused(errno.EADDRINUSE, "node3", new.address, "belongs to another cluster already")
    fails_with(errno.EEXIST, os.open, member(one, "node2"), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    with socket.socket() as silent:  # takes connections, and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        refused(errno.EHOSTUNREACH, "node4", address, "node4 stays as it is")
    two.kill()
    new.stop()
    new.data += ".empty"
    waits_for_nobody(new)
    fails_with(errno.ETIMEDOUT, order, one, "node3", new.address)
