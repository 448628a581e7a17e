# SPDX-License-Identifier: MIT
"""Forming, replicating, failing over, restarting."""
import os
import signal
import subprocess
import time

import pytest

from cluster import PATIENCE_S, RAFTFS, Node, free_port, write_until_done


# Only ever added to, before the members.
STATUS_KEYS = ["id", "address", "cluster", "version", "state", "term", "leader", "quorum",
               "elections", "commit_index", "applied_index", "last_index", "snapshot_index", "keys",
               "bytes", "fingerprint", "uptime_ms"]


def test_three_commands_form_a_cluster(three):
    leaders = {node.leader() for node in three.nodes}
    assert leaders == {three.leader().name}
    states = sorted(node.status()["state"] for node in three.nodes)
    assert states == ["follower", "follower", "leader"]
    for node in three.nodes:
        s = node.status()
        assert list(s) == STATUS_KEYS + [f"member.{member.name}" for member in three.nodes]
        assert s["id"] == node.name and s["address"] == node.address
        for member in three.nodes:
            assert s[f"member.{member.name}"].startswith(f"{member.address} voter match=")
    assert len({node.status()["cluster"] for node in three.nodes}) == 1


@pytest.mark.parametrize("options", [[], ["-o", "spin=off,lease=off"]])
def test_a_write_on_any_node_is_read_on_all(cluster, options):
    cluster.start(3, options=options)
    for i, writer in enumerate(cluster.nodes):
        writer.write(f"key{i}", f"value {i}\n")
        for reader in cluster.nodes:
            assert reader.read(f"key{i}") == f"value {i}\n"
            assert f"key{i}" in os.listdir(reader.mount)
    cluster.wait_equal()


def test_the_leader_dies_and_comes_back(three):
    for round_ in range(3):
        leader = three.leader()
        leader.kill()
        for node in three.others(leader):
            write_until_done(node, f"{round_}.{node.name}", "after")
        new = three.leader()
        assert new is not leader
        leader.restart()
        assert leader.read(f"{round_}.{new.name}") == "after"
        three.wait_whole()
    three.wait_equal()


def test_what_was_acknowledged_survives_kill_9_of_all(three):
    for i in range(100):
        three.nodes[i % 3].write(f"k{i}", str(i))
    for node in three.nodes:
        node.kill()
    for node in three.nodes:
        node.respawn()
    for node in three.nodes:
        node.hear("serves")
    three.wait_whole()
    for i in range(100):
        assert three.nodes[(i + 1) % 3].read(f"k{i}") == str(i)
    three.wait_equal()


def test_a_founder_goes_on_alone_and_after_a_restart(cluster):
    cluster.start(1)
    node = cluster.nodes[0]
    node.write("k", "v")
    node.kill()
    node.restart()
    write_until_done(node, "l", "w")
    assert node.read("k") == "v" and node.read("l") == "w"
    node.stop()
    node.restart()
    assert node.read("l") == "w"


def test_sigterm_unmounts_and_exits_0(three):
    node = three.nodes[1]
    three.leader().write("k", "v")
    assert node.read("k") == "v"
    node.stop()
    assert not os.path.ismount(node.mount)
    assert os.listdir(node.mount) == []
    node.restart()
    three.wait_whole()


def test_files_open_at_the_end_are_not_connected(three):
    node = three.leader()
    node.write("k", "v")
    files = [os.open(node.path(name), os.O_RDONLY) for name in ("k", ".status")]
    node.process.send_signal(signal.SIGINT)
    assert node.reap() == 0, node.lines
    for fd in files:
        with pytest.raises(OSError, match="not connected"):
            os.read(fd, 1)
        os.close(fd)
    successor = three.others(node)[0]
    successor.wait("another leader", lambda s: s["leader"] not in ("-", node.name))


def test_umount_stops_the_node(three):
    node = three.nodes[2]
    subprocess.run(["umount", node.mount], check=True)
    assert node.reap() == 0


def test_options_with_two_dashes_and_a_mount_point_behind_a_symlink(cluster):
    first, node = cluster.add(), cluster.add()
    first.start()
    os.symlink(node.name, f"{cluster.top}/link")
    argv = [RAFTFS, f"--id={node.name}", "--addr", node.address, "--data", node.data, "--nonvoter",
            f"--join={first.address}", "-o", "special=hidden,timeout=9", f"{cluster.top}/link/."]
    r = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S)
    assert r.returncode == 0 and r.stderr == "", r
    node.wait("membership", lambda s: s["quorum"] == "yes 1/1" and s["state"] == "learner")
    first.write("k", "v")
    assert os.listdir(node.mount) == ["k"] and node.read(".raft/local/k") == "v"
    # The same directory by another name: it is in use, and its own data may not lie beneath it.
    for data, word in ((f"{cluster.top}/other", "mounted already"),
                       (f"{node.mount}/data", "beneath")):
        r = subprocess.run([RAFTFS, "-f", "-data", data, f"{cluster.top}/link"],
                           capture_output=True, text=True, timeout=PATIENCE_S)
        assert r.returncode == 1 and word in r.stderr and r.stderr.count("\n") == 1, r
    subprocess.run(["umount", node.mount], check=True)
    subprocess.run(["flock", "-w", str(PATIENCE_S), f"{node.data}/lock", "true"], check=True)


def test_the_daemon_goes_to_the_background_when_it_serves(cluster):
    node = cluster.add()
    argv = [a for a in node.argv() if a != "-f"]
    subprocess.run(argv, check=True, timeout=PATIENCE_S)
    assert node.status()["id"] == node.name
    subprocess.run(["umount", node.mount], check=True)
    # It has gone when its data directory is free; flock(1) waits for that.
    subprocess.run(["flock", "-w", str(PATIENCE_S), f"{node.data}/lock", "true"], check=True)


def test_a_background_start_that_fails_says_so(cluster):
    cluster.start(1)
    other = Node(cluster.top, "other", cluster.nodes[0].address)
    argv = [a for a in other.argv() if a != "-f"]
    r = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S)
    assert r.returncode == 1
    assert "cannot listen" in r.stderr and "-addr" in r.stderr


def test_a_dead_mount_point_is_recovered_and_a_live_one_refused(cluster):
    cluster.start(1)
    node = cluster.nodes[0]
    node.kill()
    try:
        os.statvfs(node.mount)
        raise AssertionError("the mount point is not dead")
    except OSError as e:
        assert e.strerror == "Transport endpoint is not connected"
    node.restart()
    other = Node(cluster.top, "other", "127.0.0.1:1")
    other.mount = node.mount
    r = subprocess.run(other.argv(), capture_output=True, text=True, timeout=PATIENCE_S)
    assert r.returncode == 1 and node.mount in r.stderr, r.stderr


# statfs(2), by which a daemon looks at its mount point first.
STATFS = {"x86_64": "137", "aarch64": "44"}[os.uname().machine]


def test_a_mount_point_whose_daemon_dies_while_it_is_looked_at(cluster):
    cluster.start(1)
    node = cluster.nodes[0]
    node.pause()
    other = Node(cluster.top, "other", f"127.0.0.1:{free_port()}")
    other.mount = node.mount
    other.spawn()
    end = time.monotonic() + PATIENCE_S
    while calls(other.process.pid) != STATFS:
        assert time.monotonic() < end and other.process.poll() is None, other.lines
        time.sleep(0.01)
    node.kill()
    cluster.nodes[0] = other
    other.hear("serves")
    other.stop()


def calls(pid):
    """The number of the system call that the process waits in."""
    with open(f"/proc/{pid}/syscall") as f:
        return f.read().split()[0]


def test_members_join_while_writes_go_on(cluster):
    cluster.start(1)
    first = cluster.nodes[0]
    script = "i=0; while [ ! -e stop ]; do i=$((i+1)); echo $i > counter || exit 1; done; echo $i"
    writer = subprocess.Popen(["bash", "-c", script], cwd=first.mount, stdout=subprocess.PIPE,
                              text=True)
    for _ in range(2):
        cluster.add().start(join=first.address)
    cluster.wait_whole()
    first.write("stop", "")
    count = writer.communicate(timeout=PATIENCE_S)[0].strip()
    assert writer.returncode == 0
    for node in cluster.nodes:
        assert node.read("counter").strip() == count


def test_joining_through_a_follower(three):
    follower = next(n for n in three.nodes if n is not three.leader())
    late = three.add()
    late.start(join=follower.address)
    three.wait_whole()
    late.write("k", "from the fourth")
    assert three.nodes[0].read("k") == "from the fourth"


def test_a_joining_node_waits_for_its_cluster(cluster):
    first = cluster.add()
    second = cluster.add()
    second.start(join=first.address)
    assert second.status()["quorum"].startswith("no ")
    second.stop()
    second.start()  # it never founds, and says what it needs
    second.hear("-join")
    assert second.status()["state"] == "learner" and second.leader() == ""
    second.stop()
    second.start(join=first.address)
    first.start()
    cluster.wait_whole()
    second.write("k", "v")
    assert first.read("k") == "v"


def test_an_idle_cluster_writes_nothing(three):
    three.wait_equal()

    def files():
        """What a write to any file of the data directories would change."""
        found = []
        for node in three.nodes:
            for dir_, _, names in os.walk(node.data):
                for name in names:
                    st = os.stat(f"{dir_}/{name}")
                    found.append((dir_, name, st.st_mtime_ns, st.st_size))
        return sorted(found)

    before = files()
    uptime = int(three.nodes[0].status()["uptime_ms"])
    three.nodes[0].wait("two seconds", lambda s: int(s["uptime_ms"]) > uptime + 2000)
    assert files() == before


@pytest.mark.needs_no_mount
def test_help_and_version():
    r = subprocess.run([RAFTFS, "--help"], capture_output=True, text=True)
    assert r.returncode == 0 and "-join" in r.stdout
    r = subprocess.run([RAFTFS, "-version"], capture_output=True, text=True)
    assert r.returncode == 0 and r.stdout.startswith("raftfs ")
