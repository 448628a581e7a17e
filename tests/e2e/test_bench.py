# SPDX-License-Identifier: MIT
"""raftfs-bench measures what it says: every command once, tiny, on a cluster of one or of three."""
import errno
import json
import os
import select
import signal
import socketserver
import struct
import subprocess
import threading

import pytest

from cluster import PATIENCE_S, RAFTFS, free_port

BENCH = os.path.join(os.path.dirname(os.path.abspath(RAFTFS)), "../tests/bench/raftfs-bench")


def bench(*argv, status=0):
    r = subprocess.run([BENCH, "--json", *map(str, argv)], capture_output=True, text=True,
                       timeout=PATIENCE_S)
    assert r.returncode == status, (argv, r.stdout, r.stderr)
    return json.loads(r.stdout) if status == 0 else r.stderr


def stop(pid):
    """SIGTERM for a process that is not ours, and its end."""
    fd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGTERM)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    assert poll.poll(PATIENCE_S * 1000), f"{pid} does not end"
    os.close(fd)


@pytest.fixture
def one(cluster):
    cluster.start(1)
    return cluster.nodes[0]


def check_times(figure, count):
    assert (figure["ops"], figure["errors"]) == (count, 0)
    assert 0 < figure["p50_us"] <= figure["p95_us"] <= figure["p99_us"] <= figure["max_us"]
    assert 0 < figure["mean_us"] <= figure["max_us"]
    assert figure["seconds"] * 1e6 >= figure["max_us"]


def test_operations_on_files(one, top):
    mount = one.mount
    samples = f"{top}/samples"
    figure = bench("put", mount, "-n", 50, "-c", 4, "-w", 2, "-b", 10, "--name", "a name",
                   "--pids", one.process.pid, "--disk", top, "--samples", samples)
    check_times(figure, 50)
    assert (figure["name"], figure["clients"], figure["value_bytes"]) == ("a name", 4, 10)
    assert figure["processes"][0]["cpu_us_per_op"] > 0
    assert figure["processes"][0]["rss_bytes"] > 1e6
    with open(samples) as f:
        assert len(f.readlines()) == 50
    assert [one.read(f"own-{i}") for i in (0, 3)] == ["14........", "13........"]

    check_times(bench("put", "--new", mount, "-n", 20, "-w", 0), 20)
    assert sum(name.startswith("new-") for name in os.listdir(mount)) == 20
    check_times(bench("fill", "--keys", 30, "-c", 4, mount), 30)
    assert sum(name.startswith("k") for name in os.listdir(mount)) == 30
    for command in "get", "stat":
        check_times(bench(command, mount, "-n", 20, "--keys", 30), 20)
    check_times(bench("get", "--local", "--keys", 30, mount, "-n", 20), 20)
    for i in range(2):
        os.mkdir(f"{mount}/d{i}")
    check_times(bench("fill", "--keys", 9, "--from", 4, "--dirs", 2, mount), 5)
    assert sorted(os.listdir(f"{mount}/d0")) == ["k0000004", "k0000006", "k0000008"]
    assert sorted(os.listdir(f"{mount}/d1")) == ["k0000005", "k0000007"]
    check_times(bench("list", "--dirs", 2, mount, "-n", 2, "-w", 0), 2)
    bench("list", "--dirs", 3, mount, "-n", 2, status=1)
    for command in "list", "create", "rename", "remove":
        check_times(bench(command, mount, "-n", 10, "-w", 1), 10)
    figure = bench("file-write", mount, "-b", 4096, "--file-bytes", 100000)
    assert figure["ops"] == 25 and os.path.getsize(f"{mount}/large") == 100000
    assert bench("file-read", mount, "-b", 100000, "--file-bytes", 100000)["mib_per_s"] > 0
    assert bench("put", mount, "-t", 0.2, "-c", 2)["ops"] > 0


def test_what_happens_to_a_cluster(three):
    first, second, third = three.nodes
    check_times(bench("lag", first.mount, second.mount, "-n", 10), 10)
    leader = three.leader()
    figure = bench("failover", "--kill", leader.process.pid,
                   *[n.mount for n in three.others(leader)])
    assert figure["ops"] == 1 and figure["seconds"] > 0
    assert leader.reap() == -signal.SIGKILL
    figure = bench("restart", leader.mount, "--", *leader.start_argv)
    try:
        assert figure["ops"] == 1
        leader.wait_quorum(3)
    finally:
        stop(figure["started_pid"])


def test_the_limits_of_the_machine(top):
    for target in f"disk:{top}", "tcp:", "fuse:", "fuse:noflush", "fuse:uncached":
        check_times(bench("put", target, "-n", 20, "-c", 2), 20)
    for target in "fuse:", "fuse:uncached":
        check_times(bench("get", target, "-n", 20), 20)
    assert "fuse:wrong cannot be used" in bench("put", "fuse:wrong", status=1)


class LibraftServer(socketserver.ThreadingTCPServer):
    """Answers as libraft-server's leader does; the tests do not install libraft itself."""
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), LibraftClient)
        self.puts, self.refuses = [], False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def target(self, prefix):
        return f"{prefix}{free_port()},{self.server_address[1]}"


class LibraftClient(socketserver.StreamRequestHandler):
    def handle(self):
        while sizes := self.rfile.read(8):
            key, value = (self.rfile.read(n).decode() for n in struct.unpack("=II", sizes))
            self.server.puts.append((key, value))
            refused = self.server.refuses and key != "leader"
            self.wfile.write(struct.pack("=i", -errno.EAGAIN if refused else 0))


def test_each_write_waits_for_libraft():
    with LibraftServer() as server:
        check_times(bench("put", server.target("raft:"), "-n", 5, "-w", 0, "-b", 3), 5)
        values = ["?", "...", *(f"{i}.." for i in range(5))]  # "?" is the search for the leader
        assert [value for _, value in server.puts] == values
        server.puts.clear()
        check_times(bench("put", server.target("fuse:libraft:"), "-n", 5, "-w", 0, "-b", 3), 5)
        assert [value for _, value in server.puts] == values
        server.refuses = True
        assert "unavailable" in bench("put", server.target("fuse:libraft:"), status=1)
        server.shutdown()


def test_what_cannot_be_measured_is_an_error(top):
    assert "no-such" in bench("put", f"{top}/no-such", status=1)
    assert "has no list" in bench("list", "tcp:", status=1)
    assert "--keys" in bench("fill", top, status=2)
    assert "targets" in bench("put", status=2)
    for number in "x", "-1", "":
        assert "number" in bench("put", top, "-n", number, status=2)


# Peers for which raftfs just passes each bar with the figures of test_a_missed_bar_is_told.
NAMES = ("fdatasync-1 fdatasync-3 tcp fuse fuse-noflush fuse-uncached fuse-libraft-put ext4-stat "
         "ext4-put bindfs-put bindfs-file etcd-put etcd-put-64 etcd-get-follower etcd-lag "
         "libraft-put libraft-put-64 raftfs-put raftfs-put-new raftfs-put-follower raftfs-put-64 "
         "raftfs-put-64-all raftfs-get-follower raftfs-get-local raftfs-stat-local raftfs-lag "
         "raftfs-file raftfs-failover raftfs-pulled raftfs-restart raftfs-idle").split()


def write_figures(path, **changed):
    """Every figure of a comparison; etcd takes 1000 us and does 1000 a second, raftfs 300 and 2000."""
    with open(path, "w") as f:
        for name in NAMES:
            raftfs = name.startswith("raftfs")
            us, rate = (300, 2000) if raftfs else (1000, 1000)
            figure = {"name": name, "ops_per_s": rate, "mib_per_s": rate, "seconds": 0.1}
            figure |= dict.fromkeys(("mean_us", "p50_us", "p95_us", "p99_us", "max_us"), us)
            figure["processes"] = [{"cpu_percent": 0.1, "rss_bytes": 3e7}] * 3
            for value in changed.get(name.replace("-", "_"), [{}]):
                f.write(json.dumps(figure | value) + "\n")
        f.write('{"name":"false-elections","value":0}\n')


BENCH_SCRIPTS = os.path.join(os.path.dirname(__file__), "../bench")


def run_script(name, *argv, **options):
    return subprocess.run([f"{BENCH_SCRIPTS}/{name}", *argv], capture_output=True, text=True,
                          timeout=PATIENCE_S, **options)


def compare(top, **changed):
    write_figures(f"{top}/figures.jsonl", **changed)
    r = run_script("figures.py", "compare", top)
    with open(f"{top}/compare.json") as f:
        return r.returncode, r.stdout, json.load(f)


@pytest.mark.needs_no_mount
def test_a_missed_bar_is_told(top):
    status, text, figures = compare(top)
    assert (status, text.count("pass  "), text.count("MISS  ")) == (0, 17, 0), text
    assert all(bar["passed"] for bar in figures["bars"])
    # The median of the rounds counts: one bad round does not miss a bar, two do.
    status, text, _ = compare(top, raftfs_put_new=[{"p50_us": 551}, {}, {}])
    assert status == 0, text
    status, text, _ = compare(top, raftfs_put_new=[{"p50_us": 551}, {"p50_us": 551}, {}])
    assert status == 1 and "MISS  a new key" in text
    status, text, _ = compare(top, raftfs_put_64=[{"ops_per_s": 1499}])
    assert status == 1 and "MISS  64 writers" in text
    # What was not measured is no pass.
    status, text, figures = compare(top, raftfs_put_new=[])
    assert status == 1 and "16 of 17 bars passed, 1 not measured" in text
    assert [bar["what"] for bar in figures["bars"] if not bar["measured"]] == \
        ["a new key each time, p50"]


def write_series(top, part, *figures):
    with open(f"{top}/{part}.jsonl", "w") as f:
        f.write('{"name":"machine","date":"2000-01-01","cores":2,"cpu":"abacus","linux":"6.1",'
                '"memory_bytes":4e9,"disk":"/dev/sda (ext4)","commit":"abc","raftfs":"1.0",'
                '"peers":"etcd 3"}\n')
        for name, us in figures:
            figure = dict.fromkeys(("mean_us", "p50_us", "p95_us", "p99_us", "max_us"), us)
            figure |= {"name": name, "ops_per_s": 1e6 / us, "seconds": us / 1e6, "mib_per_s": 1,
                       "busy_cores": us / 1000, "disk_bytes_per_op": 4096}
            figure["processes"] = [{"cpu_us_per_op": us, "cpu_percent": 1, "rss_bytes": 3e7}] * 3
            f.write(json.dumps(figure) + "\n")


@pytest.fixture
def no_plots(top):
    """An environment in which gnuplot draws nothing: it is not among what the tests install."""
    os.mkdir(f"{top}/bin")
    with open(f"{top}/bin/gnuplot", "w") as f:
        f.write("#!/bin/sh\ncat >/dev/null\n")
    os.chmod(f"{top}/bin/gnuplot", 0o755)
    return dict(os.environ, PATH=f"{top}/bin:{os.environ['PATH']}")


@pytest.mark.needs_no_mount
def test_the_page_is_made_of_what_was_measured(top, no_plots):
    def page():
        r = run_script("performance.py", top, env=no_plots)
        assert r.returncode == 0, r.stderr
        return r.stdout
    text = page()
    for part in "keys", "values", "members", "writers", "snapshots":
        assert f"`tests/bench/publish.sh {part}` does it" in text
    assert "0 of 17 are met" in text and text.count("not measured") == 17

    write_figures(f"{top}/side-by-side.jsonl", raftfs_put=[{"p50_us": 450}],
                  raftfs_put_new=[{"p50_us": 551}])
    write_series(top, "writers", ("writers-1", 1000), ("writers-64", 500), ("writers-8", 1900))
    write_series(top, "members", *((f"members-{n}-put{many}", 100 * n)
                                   for n in (1, 7) for many in ("", "-64")))
    text = page()
    assert "2 cores of abacus" in text and "16 of 17 are met" in text
    assert "| overwrite 16 B, one client, leader, p50 | 450 us | etcd's put: 1000 | 0.45 |" in text
    assert "| ≤ 0.45 | pass |" in text and "| ≤ 1 | pass |" in text
    assert "first, takes 0.45 times as long, and the first two bars below ask for 0.45 and 1 times " \
        "as long" in " ".join(text.split())
    rows = [line.split("|")[1].strip() for line in text.split("## Writers")[1].splitlines()
            if line.startswith("|")][2:]
    assert rows == ["1", "8", "64"]  # by number, however they were measured
    assert "most, 2,000 writes/s, came with 64 writers" in " ".join(text.split())
    assert "The cores are not full then" in " ".join(text.split())
    assert "with 7 members a write uses 7 times the CPU" in " ".join(text.split())
