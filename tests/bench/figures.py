#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""figures.py - what figures mean: read from raftfs-bench's lines of JSON, compared, told.

  figures.py short               one line from standard input, in short
  figures.py compare FILE DIR    FILE's figures with their bars; DIR/compare.json and compare.md
                                 get the same. Exit status 1 when a bar is missed.

A figure that was measured in several rounds counts with the median of them.
"""
import collections
import json
import os
import statistics
import sys


def short(f):
    if "value" in f:
        return f"{f['name']:28} {f['value']}"
    text = f"{f['name']:28}"
    if f["ops"] > 1:
        text += f" {f['ops_per_s']:9.0f}/s  mean {f['mean_us']:8.0f}  p50 {f['p50_us']:8.0f}" \
                f"  p99 {f['p99_us']:8.0f} us"
    elif f["ops"] == 1:
        text += f" {f['seconds']:9.3f} s"
    if f["command"].startswith("file"):
        text += f"  {f['mib_per_s']:.0f} MiB/s"
    for p in f.get("processes", []):
        text += f"\n{'':28} pid {p['pid']:7}: "
        if f["ops"] > 1:
            text += f"{p['cpu_us_per_op']:.0f} us of CPU an operation, "
        text += f"{p['cpu_percent']:.2f} % of a core, {p['rss_bytes'] / 1e6:.1f} MB"
    if "disk_bytes_per_op" in f:
        text += f"\n{'':28} disk: {f['disk_bytes_per_op']:.0f} bytes written an operation"
    if f["errors"] and f["command"] != "failover":
        text += f"  {f['errors']} FAILED"
    return text


class Figures:
    """All rounds of all figures, by name."""

    def __init__(self, path):
        self.rounds = collections.defaultdict(list)
        with open(path) as lines:
            for line in lines:
                figure = json.loads(line)
                self.rounds[figure["name"]].append(figure)

    def __contains__(self, name):
        return name in self.rounds

    def median(self, name, field):
        return statistics.median(f[field] for f in self.rounds[name])

    def worst_process(self, name, field):
        """Of the processes of one run; the median of its rounds."""
        return statistics.median(max(p[field] for p in f["processes"]) for f in self.rounds[name])


class Bar:
    """A figure, what it must not exceed (or fall below), and what that is made of."""

    def __init__(self, what, unit, figure, limit, basis, least=False):
        self.what, self.unit, self.basis, self.least = what, unit, basis, least
        self.figure, self.limit = figure, limit

    def passed(self):
        return self.figure >= self.limit if self.least else self.figure <= self.limit

    def ratio(self):
        return self.figure / self.limit if self.limit else None

    def as_json(self):
        return {"what": self.what, "unit": self.unit, "figure": self.figure, "bar": self.limit,
                "bar_is": self.basis, "at": "least" if self.least else "most",
                "ratio": self.ratio(), "passed": self.passed()}

    def as_text(self):
        ratio = f"{self.ratio():6.2f}" if self.limit else "     -"
        return f"{'pass' if self.passed() else 'MISS'}  {self.what:58} {number(self.figure):>9} " \
               f"{'>=' if self.least else '<='} {number(self.limit):>9} {self.unit:8} " \
               f"{ratio}  {self.basis}"


def number(n):
    return f"{n:.0f}" if n >= 100 or n == int(n) else f"{n:.3g}"


def bars(f):
    """Each bar, from the figures of compare.sh."""
    def p50(name):
        return f.median(name, "p50_us")

    def most(what, figure, factor, peer, basis, unit="us"):
        return Bar(what, unit, figure, factor * peer, f"{factor} x {basis}" if factor != 1 else basis)

    etcd, etcd_get = p50("etcd-put"), p50("etcd-get-follower")
    yield most("overwrite 16 B, one client, leader, p50", p50("raftfs-put"), 0.45, etcd, "etcd's put")
    yield most("the same", p50("raftfs-put"), 1, p50("bindfs-put"), "bindfs with fsync")
    yield most("a new key each time, p50", p50("raftfs-put-new"), 0.55, etcd, "etcd's put")
    yield most("overwrite through a follower, p50", p50("raftfs-put-follower"), 0.75, etcd,
               "etcd's put")
    yield most("overwrite on the leader, p99", f.median("raftfs-put", "p99_us"), 1,
               f.median("etcd-put", "p99_us"), "etcd's p99")
    yield Bar("64 writers, distinct keys", "writes/s", f.median("raftfs-put-64", "ops_per_s"),
              1.5 * f.median("etcd-put-64", "ops_per_s"), "1.5 x etcd's", least=True)
    yield most("linearizable open+read+close on a follower, p50", p50("raftfs-get-follower"), 1.2,
               etcd_get, "etcd's linearizable read")
    yield most("the same with consistency=local, p50", p50("raftfs-get-local"), 0.35, etcd_get,
               "etcd's linearizable read")
    yield most("stat of a cached path, consistency=local, p50", p50("raftfs-stat-local"), 5,
               p50("ext4-stat"), "a local file's")
    yield most("replication lag, mean", f.median("raftfs-lag", "mean_us"), 1,
               f.median("etcd-lag", "mean_us"), "etcd's")
    yield most("kill -9 of the leader to the next write", f.median("raftfs-failover", "seconds"), 1,
               0.3, "fixed", "s")
    yield most("its network pulled, the same", f.median("raftfs-pulled", "seconds"), 1, 1.5,
               "fixed", "s")
    yield most("false elections under load, every core busy", f.median("false-elections", "value"),
               1, 0, "fixed", "")
    yield most("restart with 10,000 keys until the mount serves",
               f.median("raftfs-restart", "seconds"), 1, 0.5, "fixed", "s")
    yield most("resident memory with 10,000 small keys, largest node",
               f.worst_process("raftfs-idle", "rss_bytes") / 1e6, 1, 40, "fixed", "MB")
    yield Bar("64 MiB file in 128 KiB writes", "MiB/s", f.median("raftfs-file", "mib_per_s"),
              0.25 * f.median("bindfs-file", "mib_per_s"), "0.25 x bindfs with fsync", least=True)
    yield most("idle CPU, busiest node", f.worst_process("raftfs-idle", "cpu_percent"), 1, 0.5,
               "fixed", "%")


AIMS = """
put, p50 {put:.0f} us = libraft's put {libraft:.0f} + an empty FUSE write {fuse:.0f} + {rest:.0f}
p99 of it is {tail:.1f} x its p50
64 writers: {many:.0f}/s, libraft's {libraft_many:.0f}/s; over all three mounts {all:.0f}/s
"""


def aims(f):
    put, libraft, fuse = (f.median(n, "p50_us") for n in ("raftfs-put", "libraft-put", "fuse-noflush"))
    return AIMS.format(put=put, libraft=libraft, fuse=fuse, rest=put - libraft - fuse,
                       tail=f.median("raftfs-put", "p99_us") / put,
                       many=f.median("raftfs-put-64", "ops_per_s"),
                       libraft_many=f.median("libraft-put-64", "ops_per_s"),
                       all=f.median("raftfs-put-64-all", "ops_per_s"))


def all_figures(f):
    """Medians of everything that was measured, a line each."""
    for name, rounds in f.rounds.items():
        if "value" in rounds[0]:
            continue
        fields = ("ops_per_s", "mean_us", "p50_us", "p95_us", "p99_us", "max_us", "mib_per_s")
        yield name, len(rounds), {field: f.median(name, field) for field in fields}


PEERS = (
    ("raftfs", "raftfs-put", "raftfs-put-64", "raftfs-get-follower", "raftfs-lag"),
    ("etcd", "etcd-put", "etcd-put-64", "etcd-get-follower", "etcd-lag"),
    ("libraft, no FUSE, a map in memory", "libraft-put", "libraft-put-64", None, None),
    ("bindfs on ext4, fsync, one machine", "bindfs-put", None, None, None),
    ("ext4, fsync, one machine", "ext4-put", None, None, None),
)

MARKDOWN = """## Beside others

One run of `tests/bench/compare.sh`, everything in turn on one machine; medians of the rounds, times in
microseconds. Clients talk to the leader except where it says follower. etcd is driven through its gRPC
interface by a client in C that costs next to nothing; libraft by a small server of our own.

| | overwrite, p50 | p99 | 64 clients, /s | linearizable read, follower | lag, mean |
| --- | ---: | ---: | ---: | ---: | ---: |
{peers}

The machine's limits in the same run: fdatasync of 4 KiB {sync1} with one writer and {sync3} with three;
a round trip over loopback {tcp}; open, write and close on an empty FUSE filesystem {fuse}, without FLUSH
{noflush}; stat of a cached path {stat:.1f}.

| figure | measured | | bar | | which is | |
| --- | ---: | --- | ---: | --- | --- | --- |
{bars}
"""


def as_markdown(f, judged):
    def cell(name, field):
        return number(f.median(name, field)) if name else ""
    peers = [f"| {who} | {cell(put, 'p50_us')} | {cell(put, 'p99_us')} | {cell(many, 'ops_per_s')} "
             f"| {cell(get, 'p50_us')} | {cell(lag, 'mean_us')} |"
             for who, put, many, get, lag in PEERS]
    bars = [f"| {bar.what} | {number(bar.figure)} | {'>=' if bar.least else '<='} "
            f"| {number(bar.limit)} | {bar.unit} | {bar.basis} "
            f"| {'pass' if bar.passed() else '**missed**'} |" for bar in judged]
    return MARKDOWN.format(
        peers="\n".join(peers), bars="\n".join(bars), stat=f.median("ext4-stat", "p50_us"),
        **{key: cell(name, "p50_us") for key, name in (
            ("sync1", "fdatasync-1"), ("sync3", "fdatasync-3"), ("tcp", "tcp"), ("fuse", "fuse"),
            ("noflush", "fuse-noflush"))})


def compare(path, folder):
    f = Figures(path)
    judged = list(bars(f))
    print(f"{'figure':22} {'rounds':>6} {'ops/s':>9} {'mean':>9} {'p50':>9} {'p95':>9} {'p99':>9} "
          f"{'max':>9} us  (medians of the rounds)")
    for name, rounds, m in all_figures(f):
        print(f"{name:22} {rounds:6} {m['ops_per_s']:9.0f}" + "".join(
            f" {m[k]:9.0f}" for k in ("mean_us", "p50_us", "p95_us", "p99_us", "max_us")))
    print()
    for bar in judged:
        print(bar.as_text())
    print(aims(f))
    missed = sum(not bar.passed() for bar in judged)
    print(f"{len(judged) - missed} of {len(judged)} bars passed")
    with open(os.path.join(folder, "compare.md"), "w") as file:
        file.write(as_markdown(f, judged))
    with open(os.path.join(folder, "compare.json"), "w") as file:
        json.dump({"bars": [bar.as_json() for bar in judged],
                   "figures": {name: dict(m, rounds=n) for name, n, m in all_figures(f)}},
                  file, indent=1)
        file.write("\n")
    return 1 if missed else 0


def main(argv):
    if argv[1:] == ["short"]:
        print(short(json.loads(sys.stdin.readline())))
        return 0
    if len(argv) == 4 and argv[1] == "compare":
        return compare(argv[2], argv[3])
    sys.stderr.write(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv))
