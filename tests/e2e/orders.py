# SPDX-License-Identifier: MIT
"""orders.py - what an operator writes to .raft/members, and what comes of it."""
import pytest


def member(node, name):
    return node.path(f".raft/members/{name}")


def order(node, name, text):
    with open(member(node, name), "w") as f:
        f.write(text + "\n")


def fails_with(number, function, *args):
    with pytest.raises(OSError) as e:
        function(*args)
    assert e.value.errno == number, e.value


def hears_that_it_is_out(node):
    """The process ends with 1, says why, and its directory remembers."""
    status = node.reap()
    assert status == 1, node.lines
    assert any("was removed from its cluster" in line for line in node.lines), node.lines
    node.respawn()
    assert node.reap() == 1
    assert any("was removed from its cluster" in line and "-join" in line
               for line in node.lines), node.lines
