# SPDX-License-Identifier: MIT
"""Members that need what the others' logs no longer hold: snapshots travel, and are installed."""
from test_snapshots import put_many
from writers import Writers

# A snapshot after a thousand entries, and as many kept behind it.
OFTEN = ["-o", "snapshot=1000"]


def fill(cluster, count=4000, pad=1000):
    """More than any log keeps."""
    put_many(cluster.nodes[0], count, pad="x" * pad)


def test_a_new_node_joins_by_snapshot_while_others_write(cluster):
    cluster.start(3, OFTEN)
    fill(cluster)
    with Writers(cluster) as writers:
        writers.wait_progress()
        new = cluster.add()
        new.start(join=cluster.nodes[0].address, options=OFTEN)
        new.hear("is installed")
        cluster.wait_whole()
        writers.wait_progress()
    assert new.read("k3999").startswith("v3999x")
