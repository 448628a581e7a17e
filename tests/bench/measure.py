#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""measure.py - a cluster of three on this machine in figures: RAFTFS=…/raftfs tests/bench/measure.py

Each figure stands beside the machine's own: fdatasync of 4 KiB into a file written before, and a
round trip between two processes over loopback TCP. Absolute times on a shared machine are noise;
ratios in one run are not.
"""
import os
import resource
import socket
import statistics
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))
from cluster import Cluster, write_until_done  # noqa: E402


def timed(function, count):
    """Microseconds of each of `count` calls."""
    times = []
    for i in range(count):
        start = time.perf_counter_ns()
        function(i)
        times.append((time.perf_counter_ns() - start) / 1000)
    return times


def show(what, times):
    times = sorted(times)
    at = lambda q: times[min(int(len(times) * q), len(times) - 1)]  # noqa: E731
    print(f"{what:46} p50 {at(.5):8.0f}  p95 {at(.95):8.0f}  p99 {at(.99):8.0f}  "
          f"max {times[-1]:8.0f} us")


def disk(top):
    with open(f"{top}/probe", "wb") as f:
        f.write(bytes(1 << 20))
        f.flush()
        os.fsync(f.fileno())
        block = os.urandom(4096)

        def sync(i):
            os.pwrite(f.fileno(), block, i % 256 * 4096)
            os.fdatasync(f.fileno())
        show("fdatasync of 4 KiB", timed(sync, 500))


def loopback():
    a = socket.create_server(("127.0.0.1", 0))
    child = os.fork()
    if child == 0:
        s = socket.create_connection(a.getsockname())
        while data := s.recv(64):
            s.sendall(data)
        os._exit(0)
    s, _ = a.accept()
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ping(_):
        s.sendall(b"x" * 64)
        s.recv(64)
    show("TCP round trip", timed(ping, 1000))
    s.close()
    os.waitpid(child, 0)


def writes(cluster):
    leader = cluster.leader()
    follower = cluster.others(leader)[0]
    for who, node in ("leader", leader), ("follower", follower):
        node.write("key", "0")
        show(f"write of a small value, {who}", timed(lambda i: node.write("key", str(i)), 1000))
        show(f"creation of a key, {who}", timed(lambda i: node.write(f"{who}{i}", "v"), 300))
        show(f"read, {who}", timed(lambda i: node.read("key"), 1000))


def lag(cluster):
    """From a write's return on the leader until a follower's replica has it, asking nobody."""
    leader = cluster.leader()
    follower = cluster.others(leader)[0]
    times = []
    for i in range(300):
        leader.write("lag", str(i))
        start = time.perf_counter_ns()
        while follower.read(".raft/local/lag") != str(i):
            pass
        times.append((time.perf_counter_ns() - start) / 1000)
    show(f"replication lag (mean {statistics.mean(times):.0f} us)", times)


def failover(cluster):
    times = []
    for i in range(10):
        leader = cluster.leader()
        other = cluster.others(leader)[0]
        start = time.perf_counter_ns()
        leader.kill()
        write_until_done(other, "failover", str(i))
        times.append((time.perf_counter_ns() - start) / 1000)
        leader.restart()
        cluster.wait_whole()
    show("kill -9 of the leader until the next write", times)


def many_writers(cluster):
    count, seconds = 64, 5
    done = [0] * count
    stop = threading.Event()

    def write(k):
        node = cluster.nodes[k % len(cluster.nodes)]
        while not stop.is_set():
            node.write(f"w{k}", str(done[k]))
            done[k] += 1
    threads = [threading.Thread(target=write, args=(k,)) for k in range(count)]
    for t in threads:
        t.start()
    time.sleep(seconds)
    stop.set()
    for t in threads:
        t.join()
    print(f"{count} writers on three nodes: {sum(done) / seconds:.0f} writes/s")


def idle(cluster):
    def cpu_s(node):
        with open(f"/proc/{node.process.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    before = [cpu_s(n) for n in cluster.nodes]
    seconds = 20
    time.sleep(seconds)
    for node, was in zip(cluster.nodes, before):
        with open(f"/proc/{node.process.pid}/status") as f:
            rss = next(line for line in f if line.startswith("VmRSS")).split()[1]
        role = node.status()["state"]
        print(f"idle {role:9} {100 * (cpu_s(node) - was) / seconds:5.2f} % of a core, "
              f"{int(rss) / 1024:.0f} MiB resident")


def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    with tempfile.TemporaryDirectory(prefix="raftfs-bench-") as top:
        disk(top)
        loopback()
        cluster = Cluster(top)
        try:
            start = time.perf_counter()
            cluster.start(3)
            print(f"three commands until all three see a quorum: "
                  f"{time.perf_counter() - start:.2f} s")
            for part in writes, lag, many_writers, failover, idle:
                part(cluster)
        finally:
            cluster.close()


if __name__ == "__main__":
    main()
