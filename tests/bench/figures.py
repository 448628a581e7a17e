#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""figures.py - what figures mean: read from raftfs-bench's lines of JSON, compared, told.

  figures.py short         one line from standard input, in short
  figures.py compare DIR   the figures of DIR/*.jsonl with their bars; DIR/compare.json gets the
                           same. Exit status 1 when a bar is missed or was not measured.

A figure that was measured in several rounds counts with the median of them.
"""
import glob
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


# Of all processes of a run: of the largest or busiest one, or added up.
OF_PROCESSES = {
    "rss_mb": lambda all: max(p["rss_bytes"] for p in all) / 1e6,
    "cpu_percent": lambda all: max(p["cpu_percent"] for p in all),
    "cpu_us_per_op": lambda all: sum(p["cpu_us_per_op"] for p in all),
}


def field_of(figure, field):
    if field in OF_PROCESSES:
        return OF_PROCESSES[field](figure["processes"])
    return figure["value"] if "value" in figure else figure[field]


class Figures:
    """All rounds of all figures, by name, from every .jsonl file of a folder."""

    def __init__(self, folder):
        self.rounds, self.machines = {}, {}
        for path in sorted(glob.glob(os.path.join(folder, "*.jsonl"))):
            with open(path) as lines:
                for figure in map(json.loads, lines):
                    if figure["name"] == "machine":
                        self.machines[os.path.basename(path)[:-len(".jsonl")]] = figure
                    else:
                        self.rounds.setdefault(figure["name"], []).append(figure)

    def get(self, name, field="value"):
        """The median of the rounds; None when there are none."""
        rounds = self.rounds.get(name)
        return statistics.median(field_of(f, field) for f in rounds) if rounds else None

    def worst(self, name, field="value"):
        return max(field_of(f, field) for f in self.rounds[name])


class Bar:
    """A figure, and what it must not exceed (or fall below): so many times a peer's, or fixed."""

    def __init__(self, f, what, unit, figure, factor, peer=None, basis="fixed", least=False):
        self.what, self.unit, self.factor, self.basis, self.least = what, unit, factor, basis, least
        self.figure = f.get(*figure)
        self.peer = f.get(*peer) if peer else None
        if peer:
            self.limit = None if self.peer is None else factor * self.peer
        else:
            self.limit = factor

    def measured(self):
        return self.figure is not None and self.limit is not None

    def passed(self):
        if not self.measured():
            return False
        return self.figure >= self.limit if self.least else self.figure <= self.limit

    def verdict(self):
        return "pass" if self.passed() else "MISS" if self.measured() else "----"

    def ratio(self):
        """To the peer, or to the fixed bar."""
        to = self.limit if self.peer is None else self.peer
        return self.figure / to if self.measured() and to else None

    def as_json(self):
        return {"what": self.what, "unit": self.unit, "figure": self.figure, "bar": self.limit,
                "bar_is": self.factor, "of": self.basis, "peer": self.peer,
                "at": "least" if self.least else "most", "ratio": self.ratio(),
                "measured": self.measured(), "passed": self.passed()}

    def as_text(self):
        of = "" if self.peer is None else f"{number(self.factor)} x {self.basis}"
        return f"{self.verdict()}  {self.what:58} {number(self.figure):>9} " \
               f"{'>=' if self.least else '<='} {number(self.limit):>9} {self.unit:8} " \
               f"{number(self.ratio()):>6}  {of}"


def number(n):
    if n is None:
        return "-"
    return f"{n:.0f}" if n >= 100 or n == int(n) else f"{n:.3g}"


ETCD_PUT, ETCD_GET = ("etcd-put", "p50_us"), ("etcd-get-follower", "p50_us")

BARS = (
    ("overwrite 16 B, one client, leader, p50", "us", ("raftfs-put", "p50_us"), 0.45, ETCD_PUT,
     "etcd's put"),
    ("the same", "us", ("raftfs-put", "p50_us"), 1, ("bindfs-put", "p50_us"), "bindfs with fsync"),
    ("a new key each time, p50", "us", ("raftfs-put-new", "p50_us"), 0.55, ETCD_PUT, "etcd's put"),
    ("overwrite through a follower, p50", "us", ("raftfs-put-follower", "p50_us"), 0.75, ETCD_PUT,
     "etcd's put"),
    ("overwrite on the leader, p99", "us", ("raftfs-put", "p99_us"), 1, ("etcd-put", "p99_us"),
     "etcd's p99"),
    ("64 writers, distinct keys", "writes/s", ("raftfs-put-64", "ops_per_s"), 1.5,
     ("etcd-put-64", "ops_per_s"), "etcd's", True),
    ("linearizable open+read+close on a follower, p50", "us", ("raftfs-get-follower", "p50_us"),
     1.2, ETCD_GET, "etcd's linearizable read"),
    ("the same with consistency=local, p50", "us", ("raftfs-get-local", "p50_us"), 0.35, ETCD_GET,
     "etcd's linearizable read"),
    ("stat of a cached path, consistency=local, p50", "us", ("raftfs-stat-local", "p50_us"), 5,
     ("ext4-stat", "p50_us"), "a local file's"),
    ("replication lag, mean", "us", ("raftfs-lag", "mean_us"), 1, ("etcd-lag", "mean_us"),
     "etcd's"),
    ("kill -9 of the leader to the next write", "s", ("raftfs-failover", "seconds"), 0.3),
    ("its network pulled, the same", "s", ("raftfs-pulled", "seconds"), 1.5),
    ("false elections under load, every core busy", "", ("false-elections",), 0),
    ("restart with 10,000 keys until the mount serves", "s", ("raftfs-restart", "seconds"), 0.5),
    ("resident memory with 10,000 small keys, largest node", "MB", ("raftfs-idle", "rss_mb"), 40),
    ("64 MiB file in 128 KiB writes", "MiB/s", ("raftfs-file", "mib_per_s"), 0.25,
     ("bindfs-file", "mib_per_s"), "bindfs with fsync", True),
    ("idle CPU, busiest node", "%", ("raftfs-idle", "cpu_percent"), 0.5),
)


def bars(f):
    return [Bar(f, *bar) for bar in BARS]


AIMS = """
put, p50 {put:.0f} us = libraft's put {libraft:.0f} + an empty FUSE write {fuse:.0f} + {rest:.0f}
an empty filesystem that has libraft put each write: {floor:.0f} us, put is {to_floor:.2f} times that
p99 of it is {tail:.1f} x its p50
64 writers: {many:.0f}/s, libraft's {libraft_many:.0f}/s; over all three mounts {all:.0f}/s
"""


def aims(f):
    """How far a write is from what its parts cost alone; empty when one was not measured."""
    names = "raftfs-put", "libraft-put", "fuse-noflush", "fuse-libraft-put", "raftfs-put-64", \
        "libraft-put-64", "raftfs-put-64-all"
    if not all(name in f.rounds for name in names):
        return ""
    put, libraft, fuse, floor = (f.get(name, "p50_us") for name in names[:4])
    many, libraft_many, at_all = (f.get(name, "ops_per_s") for name in names[4:])
    return AIMS.format(put=put, libraft=libraft, fuse=fuse, rest=put - libraft - fuse,
                       floor=floor, to_floor=put / floor,
                       tail=f.get("raftfs-put", "p99_us") / put, many=many,
                       libraft_many=libraft_many, all=at_all)


def all_figures(f):
    """Medians of everything that was measured by the bench, a line each."""
    for name, rounds in f.rounds.items():
        if "value" not in rounds[0]:
            yield name, len(rounds), {field: f.get(name, field) for field in (
                "ops_per_s", "mean_us", "p50_us", "p95_us", "p99_us", "max_us", "mib_per_s")}


def compare(folder):
    f = Figures(folder)
    judged = bars(f)
    print(f"{'figure':22} {'rounds':>6} {'ops/s':>9} {'mean':>9} {'p50':>9} {'p95':>9} {'p99':>9} "
          f"{'max':>9} us  (medians of the rounds)")
    for name, rounds, m in all_figures(f):
        print(f"{name:22} {rounds:6} {m['ops_per_s']:9.0f}" + "".join(
            f" {m[k]:9.0f}" for k in ("mean_us", "p50_us", "p95_us", "p99_us", "max_us")))
    print()
    for bar in judged:
        print(bar.as_text())
    print(aims(f))
    passed = sum(bar.passed() for bar in judged)
    unknown = sum(not bar.measured() for bar in judged)
    print(f"{passed} of {len(judged)} bars passed" +
          (f", {unknown} not measured" if unknown else ""))
    with open(os.path.join(folder, "compare.json"), "w") as file:
        json.dump({"bars": [bar.as_json() for bar in judged],
                   "figures": {name: dict(m, rounds=n) for name, n, m in all_figures(f)}},
                  file, indent=1)
        file.write("\n")
    return 0 if passed == len(judged) else 1


def main(argv):
    if argv[1:] == ["short"]:
        print(short(json.loads(sys.stdin.readline())))
        return 0
    if len(argv) == 3 and argv[1] == "compare":
        return compare(argv[2])
    sys.stderr.write(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv))
