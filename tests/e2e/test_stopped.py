# SPDX-License-Identifier: MIT
"""A process that is stopped for a while and goes on does not take its own absence for silence."""
import time

STOPPED_S = 1.5  # longer than any election timer, unless the machine has been slow
TIMES = 10


def elections(node):
    """Leaders that it has seen take office: one more each time that it gave one up."""
    return int(node.status()["elections"])


def test_a_stopped_follower_gives_nobody_up(three):
    """It finds its timer run out, and the heartbeats still unread; not even it doubts the leader."""
    leader = three.leader()
    term = leader.status()["term"]
    for i in range(TIMES):
        node = three.others(leader)[i % 2]
        before = elections(node)
        node.pause()
        time.sleep(STOPPED_S)
        node.resume()
        leader.wait("contact", lambda s, node=node: contact_ms(s, node) < 100)
        assert elections(node) == before
    assert three.leader() is leader
    assert leader.status()["term"] == term


def contact_ms(status, node):
    return int(status[f"member.{node.name}"].split("contact_ms=")[1])
