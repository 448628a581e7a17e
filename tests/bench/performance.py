#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""performance.py DIR - docs/performance.md, to standard output, from the figures in DIR/*.jsonl.

Tables, plots (SVG, into DIR) and what bounds each. What was not measured is said to be missing.
Sentences with numbers are made from the figures; those without hold whatever the figures are.
"""
import os
import re
import subprocess
import sys
import tempfile
import textwrap

import figures
from figures import number

HERE = os.path.dirname(os.path.abspath(__file__))

HEAD = """# Performance

What raftfs does beside its peers and beside what this machine can do at best, and what an operation
costs as keys, values, members and writers grow. All of it is measured by `tests/bench/publish.sh`, which
wrote this page; the figures it was made of lie in [performance/](performance/) as lines of JSON.

{machines}

All nodes and all clients share that machine, so only ratios carry over to another. Clients run in a
closed loop: each does one operation after the other, as a shell or a program that uses files does. A
percentile is of single operations; a figure that was measured in several rounds is their median. Times
are in microseconds unless a unit is given."""

HOW = """## How to repeat it

    tests/bench/publish.sh                 # everything, and this page: half an hour on a quiet machine
    tests/bench/publish.sh writers         # one part, and the page made anew
    tests/bench/publish.sh page            # the page alone

The parts are {parts}. They need root, /dev/fuse and Debian's packages of the peers: each says which are
missing. `raftfs-bench --help` is the tool that takes each figure."""

PARTS = {
    "side-by-side": "beside peers, in turn", "killed": "failover by kill -9",
    "pulled": "failover by a cut network", "ten-thousand": "restart, memory, idling",
    "busy": "false elections", "writers": "1 to 1,000", "members": "1 to 7",
    "values": "16 B to 1 MiB", "keys": "1,000 to 1,000,000", "snapshots": "what they cost",
    "report": "docs/report/",
}


def missing(part):
    return f"Not measured here: `tests/bench/publish.sh {part}` does it."


def whole(n):
    return "-" if n is None else f"{n:,.0f}"


def digits(n, unit=1.0, places=2):
    return "-" if n is None else f"{n / unit:.{places}f}"


def table(head, rows, align=None):
    align = align or ["---:"] * len(head)
    lines = [head, align, *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def times(a, b):
    """a as a multiple of b."""
    return "-" if not a or not b else f"{a / b:.2g}" if a / b < 10 else f"{a / b:,.0f}"


def plot_rows(before, rows, after):
    """A function of plots.sh, with a file of the rows among its arguments."""
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as data:
        for row in rows:
            data.write("\t".join("nan" if cell is None else str(cell) for cell in row) + "\n")
        data.flush()
        subprocess.run([os.path.join(HERE, "plots.sh"), *before, data.name, *after], check=True)


def plot(path, title, x, y, rows, curves, log=False):
    """Rows' first column against those of `curves` (number: name)."""
    plot_rows(["plot_curves", *(["-y"] if log else []), path, title, x, y], rows,
              [f"{column}:{name}" for column, name in curves.items()])


def machines(f):
    """One sentence, or one for each tree that parts were measured with."""
    by_tree = {}
    for part, m in f.machines.items():
        by_tree.setdefault((m["date"], m["commit"]), (m, []))[1].append(part)
    texts = []
    for (date, commit), (m, parts) in sorted(by_tree.items()):
        which = "Measured" if len(by_tree) == 1 else f"Measured ({', '.join(parts)})"
        texts.append(f"{which} on {date}, raftfs {m['raftfs']} of commit {commit}: {m['cores']} cores "
                     f"of {m['cpu']}, {m['memory_bytes'] / 1e9:.0f} GB of memory, Linux {m['linux']}, "
                     f"disk {m['disk']}. Peers: {m['peers']}.")
    return "\n\n".join(texts)


# ---- Beside others ------------------------------------------------------------------------------

PEERS = (
    ("raftfs", "raftfs"), ("etcd", "etcd"), ("libraft, no FUSE, a map in memory", "libraft"),
    ("bindfs on ext4, one machine", "bindfs"), ("ext4, one machine", "ext4"),
)

PEER_FIGURES = (
    ("overwrite, p50, us", "put", "p50_us"), ("the same, p99", "put", "p99_us"),
    ("a new key, p50, us", "put-new", "p50_us"),
    ("overwrite through a follower, p50, us", "put-follower", "p50_us"),
    ("64 writers, writes/s", "put-64", "ops_per_s"),
    ("linearizable read on a follower, p50, us", "get-follower", "p50_us"),
    ("replication lag, mean, us", "lag", "mean_us"),
    ("64 MiB file in 128 KiB writes, MiB/s", "file", "mib_per_s"),
    ("kill -9 of the leader to the next write, s", "failover", "seconds"),
    ("restart with 10,000 keys, s", "restart", "seconds"),
    ("resident memory then, largest node, MB", "idle", "rss_mb"),
    ("idle CPU then, busiest node, %", "idle", "cpu_percent"),
)

LIMITS = (
    ("fdatasync of 4 KiB, one writer", "fdatasync-1", "a write on one disk"),
    ("the same, three at once", "fdatasync-3", "three nodes on one disk"),
    ("a round trip of 64 B over loopback TCP", "tcp", "a message and its answer"),
    ("open, write, close on an empty FUSE filesystem", "fuse", "any filesystem in user space"),
    ("the same without FLUSH", "fuse-noflush", "raftfs, which needs none"),
    ("the same with nothing cached", "fuse-uncached", "raftfs's calls: LOOKUP, GETATTR, OPEN, WRITE"),
    ("the same, each WRITE a libraft put", "fuse-libraft-put", "such a mount on a Raft cluster"),
    ("open, read, close on an empty FUSE filesystem", "fuse-get", "a read that asks nobody"),
    ("stat of a cached path on ext4", "ext4-stat", "the kernel alone"),
)


def peers(f):
    rows = [[what, *(number(f.get(f"{name}-{figure}", field)) for _, name in PEERS)]
            for what, figure, field in PEER_FIGURES]
    return table(["", *(who for who, _ in PEERS)], rows, ["---"] + ["---:"] * len(PEERS))


PLOTTED = (("overwrite", "put"), ("new key", "put-new"), ("overwrite, follower", "put-follower"),
           ("read, follower", "get-follower"))


def plot_peers(f, folder):
    """Against the one peer that does all of it."""
    rows = [[what, *(f.get(f"{name}-{figure}", "p50_us") for name in ("raftfs", "etcd"))]
            for what, figure in PLOTTED]
    if any(None in row for row in rows):
        return ""
    plot_rows(["plot_bars", f"{folder}/peers.svg", "One client, p50", "microseconds"], rows,
              ["raftfs", "etcd"])
    return "\n\n![One client of raftfs and of etcd](performance/peers.svg)"


def limits(f):
    return table(["limit of this machine", "p50, us", "bounds"],
                 [[what, number(f.get(name, "p50_us")), of] for what, name, of in LIMITS],
                 ["---", "---:", "---"])


def verdict(bar):
    return "pass" if bar.passed() else "**missed**" if bar.measured() else "not measured"


def bar_row(bar):
    sign = "≥" if bar.least else "≤"
    is_fixed = bar.basis == "fixed"
    bar_is = f"{sign} {number(bar.factor)} {bar.unit if is_fixed else ''}".strip()
    return [bar.what, f"{number(bar.figure)} {bar.unit}".strip(),
            "" if is_fixed else f"{bar.basis}: {number(bar.peer)}",
            "" if is_fixed else digits(bar.ratio()), bar_is, verdict(bar)]


def floor(f, judged):
    """What the first bars ask for, beside the least that such a write can cost here."""
    floor_us, put = (f.get(name, "p50_us") for name in ("fuse-libraft-put", "raftfs-put"))
    limits_us = [bar.limit for bar in judged[:2]]
    if None in (floor_us, put, *limits_us):
        return ""
    return f""" An empty filesystem that is asked as often as raftfs and has libraft put each write takes
{number(floor_us)} us, with threads that sleep whenever they wait: raftfs, whose threads look out for a
moment first, takes {times(put, floor_us)} times as long, and the first two bars below ask for
{times(limits_us[0], floor_us)} and {times(limits_us[1], floor_us)} times as long."""


def parts_of_a_write(f, judged):
    put, libraft, fuse = (f.get(n, "p50_us") for n in ("raftfs-put", "libraft-put", "fuse-noflush"))
    if None in (put, libraft, fuse):
        return ""
    return f"""
Where a write's time goes: libraft, which replicates to disks but has no filesystem above it, takes
{number(libraft)} us for a put, and FUSE alone {number(fuse)} us. raftfs, which does both, takes
{number(put)} us: {times(put, libraft + fuse)} times their sum.{floor(f, judged)}
"""


def of_events(f):
    """How often what happens once was made to happen."""
    def count(name):
        return len(f.rounds.get(name, []))
    def slowest(name):
        return f"{number(f.worst(name, 'seconds'))} s"
    if not count("raftfs-failover") or not count("raftfs-pulled"):
        return ""
    minutes = f.get("busy-minutes")
    busy = "" if minutes is None else f" False elections are those of {number(minutes)} minutes in " \
        "which 64 writers write through all mounts and a process burns on each core."
    return f"\n\nA leader was killed {count('raftfs-failover')} times (slowest " \
           f"{slowest('raftfs-failover')}) and cut off from its network {count('raftfs-pulled')} " \
           f"times (slowest {slowest('raftfs-pulled')}), etcd's was killed " \
           f"{count('etcd-failover')} times.{busy}"


def beside(f, folder):
    judged = figures.bars(f)
    passed = sum(bar.passed() for bar in judged)
    rows = table(["figure", "measured", "beside", "ratio", "bar", ""], map(bar_row, judged),
                 ["---", "---:", "---:", "---:", "---", "---"])
    return f"""## Beside others

Everything in turn on one machine, rounds: {len(f.rounds.get("raftfs-put", []))}. Clients talk to the leader except where it says
follower; values have 16 bytes. etcd is driven through its gRPC interface by a client in C that costs
next to nothing, each client on a connection of its own; libraft by a small server of our own. For a
filesystem a write is open, write, close, and a read open, read, close; bindfs and ext4 need an fsync as
well for what a raftfs write promises without. A restart ends when the mount serves, etcd's when it
answers a read of its own state; etcd's failover is seen by etcdctl, whose start is in it.

{peers(f)}{plot_peers(f, folder)}

{limits(f)}
{parts_of_a_write(f, judged)}
### Bars

What raftfs has set itself: {passed} of {len(judged)} are met. The ratio is the figure to the peer's, and
the bar what it may be; a bar with a unit is fixed.

{rows}{of_events(f)}"""


# ---- As things grow -----------------------------------------------------------------------------

def series(f, part, marker):
    """The sizes that a part has figures of: those of names PART-SIZE-marker."""
    pattern = re.compile(rf"{part}-(\d+){marker}$")
    return sorted(int(m[1]) for m in map(pattern.match, f.rounds) if m)


def column(f, part, sizes, figure, field="value"):
    return [f.get(f"{part}-{n}{figure}", field) for n in sizes]


def by_keys(f, folder):
    sizes = series(f, "keys", "-restart")
    if not sizes:
        return missing("keys")
    def of(figure, field="value"):
        return column(f, "keys", sizes, figure, field)
    put, new, get, stat = (of(name, "p50_us") for name in ("-put", "-new", "-get", "-stat"))
    listing, restart, snapshot = of("-list", "seconds"), of("-restart", "seconds"), of("-snapshot")
    rss = of("-use", "rss_mb")
    rows = list(zip(map(whole, sizes), map(whole, put), map(whole, of("-put", "p99_us")),
                    map(whole, new), map(whole, get), map(whole, stat),
                    map(whole, of("-put", "cpu_us_per_op")),
                    (digits(n, 1000, 1) for n in of("-put", "disk_bytes_per_op")), map(whole, rss),
                    map(digits, listing), map(digits, snapshot), map(digits, restart)))
    plot(f"{folder}/keys.svg", "An operation as keys grow, p50", "keys", "microseconds",
         list(zip(sizes, put, new, get, stat)),
         {2: "overwrite", 3: "new key", 4: "read on a follower", 5: "stat on a follower"})
    few = "" if sizes[-1] >= 1000000 else \
        f"\nMaking keys was ended at {whole(sizes[-1])}, by its time limit or as asked.\n"
    head = ["keys", "overwrite", "p99", "new key", "read", "stat", "CPU", "disk, kB", "memory, MB",
            "list, s", "snapshot, s", "restart, s"]
    return f"""{table(head, rows)}

![An operation as keys grow](performance/keys.svg)
{few}
What bounds it: from {whole(sizes[0])} to {whole(sizes[-1])} keys, {times(sizes[-1], sizes[0])} times as
many, an overwrite takes {times(put[-1], put[0])} times as long, a new key {times(new[-1], new[0])} times,
a read {times(get[-1], get[0])} times. Each walks SQLite's trees, whose depth is the logarithm of the
keys; random keys in a state larger than SQLite's cache add the reading of pages again. Memory grew
{times(rss[-1], rss[0])} times: the state itself is on disk, what is in memory are that cache and one of
names and attributes, both of a fixed size. A listing and a snapshot go through every key; a restart goes through none, it opens the database where it was and
applies what the log has behind it."""


def by_values(f, folder):
    sizes = series(f, "values", "-ext4")
    if not sizes:
        return missing("values")
    def of(figure, field):
        return column(f, "values", sizes, figure, field)
    put, get, ext4 = (of(name, "p50_us") for name in ("-put", "-get", "-ext4"))
    disk, rate = of("-put", "disk_bytes_per_op"), of("-put-8", "mib_per_s")
    rows = list(zip(map(whole, sizes), map(whole, put), map(whole, of("-put", "p99_us")),
                    map(whole, get), map(digits, rate), (digits(n, 1000, 1) for n in disk),
                    map(whole, ext4)))
    plot(f"{folder}/values.svg", "An operation as values grow, p50", "bytes of a value",
         "microseconds", list(zip(sizes, put, get, ext4)),
         {2: "overwrite", 3: "read on a follower", 4: "ext4 with fsync"}, log=True)
    head = ["bytes", "overwrite", "p99", "read", "8 writers, MiB/s", "disk, kB", "ext4+fsync"]
    return f"""{table(head, rows)}

![An operation as values grow](performance/values.svg)

What bounds it: a small value costs what any write costs, its round trips and its fdatasync; a large one
its bytes. On this machine three logs and three databases go to one disk, and both write a value in full:
of {whole(sizes[-1])} bytes {times(disk[-1], sizes[-1])} times as many are written, and the overwrite
takes {times(put[-1], put[0])} times as long as of {whole(sizes[0])} bytes ({times(ext4[-1], ext4[0])}
times on ext4 alone). A value of 1 MiB is two commands: one write(2) takes up to 1,044,480 bytes."""


def by_members(f, folder):
    sizes = series(f, "members", "-put-64")
    if not sizes:
        return missing("members")
    def of(figure, field):
        return column(f, "members", sizes, figure, field)
    put, put99, cpu = (of("-put", name) for name in ("p50_us", "p99_us", "cpu_us_per_op"))
    rate, busy = of("-put-64", "ops_per_s"), of("-put-64", "busy_cores")
    rows = list(zip(sizes, map(whole, put), map(whole, put99), map(whole, cpu), map(whole, rate),
                    map(digits, busy), map(whole, of("-put-64", "rss_mb"))))
    plot(f"{folder}/members.svg", "A write as members grow", "members", "microseconds",
         list(zip(sizes, put, put99)), {2: "p50", 3: "p99"})
    head = ["members", "one writer", "p99", "CPU", "64 writers, /s", "cores busy", "memory, MB"]
    return f"""{table(head, rows)}

![A write as members grow](performance/members.svg)

What bounds it: one member has no network in its way. From two on a write waits for one round trip and for
the slowest disk of the fastest majority, so on machines of their own more members cost the leader a
message each and little else. Here all of them share {cores(f)} cores and one disk: with {sizes[-1]} members
a write uses {times(cpu[-1], cpu[0])} times the CPU that it uses with {sizes[0]}, takes
{times(put[-1], put[0])} times as long, and 64 writers get {times(rate[-1], rate[0])} times the throughput."""


def cores(f):
    return next((m["cores"] for m in f.machines.values()), "the same")


def what_is_full(f, sizes, rate, busy):
    best = max(range(len(sizes)), key=lambda i: rate[i])
    text = f"most, {whole(rate[best])} writes/s, came with {whole(sizes[best])} writers, and then " \
           f"{digits(busy[best])} of {cores(f)} cores were busy (nodes and clients together). "
    if busy[best] >= 0.85 * float(cores(f)):
        return text + "The cores are what is full."
    return text + "The cores are not full then: writers wait for the disk and for each other."


def by_writers(f, folder):
    sizes = series(f, "writers", "")
    if not sizes:
        return missing("writers")
    def of(field):
        return column(f, "writers", sizes, "", field)
    rate, p50, p99, busy = (of(n) for n in ("ops_per_s", "p50_us", "p99_us", "busy_cores"))
    cpu, disk = of("cpu_us_per_op"), of("disk_bytes_per_op")
    rows = list(zip(map(whole, sizes), map(whole, rate), (digits(n, 1000) for n in p50),
                    (digits(n, 1000) for n in p99), map(whole, cpu), map(digits, busy),
                    (digits(n, 1000, 1) for n in disk)))
    plot(f"{folder}/writers.svg", "Throughput as writers grow", "writers", "writes/s",
         list(zip(sizes, rate)), {2: "writes/s"})
    plot(f"{folder}/latency.svg", "Latency as writers grow", "writers", "milliseconds",
         [(n, a / 1000, b / 1000) for n, a, b in zip(sizes, p50, p99)], {2: "p50", 3: "p99"},
         log=True)
    head = ["writers", "writes/s", "p50, ms", "p99, ms", "CPU", "cores busy", "disk, kB"]
    return f"""{table(head, rows)}

![Throughput as writers grow](performance/writers.svg)

![Latency as writers grow](performance/latency.svg)

What bounds it: a writer alone waits for its own fdatasyncs and round trips, one after the other. What
arrives during one sync shares the next (group commit), so that from {whole(sizes[0])} to
{whole(sizes[-1])} writers the disk writes {digits(disk[0], 1000, 1)} and {digits(disk[-1], 1000, 1)} kB
for a write. The {what_is_full(f, sizes, rate, busy)} Beyond the most, further writers only wait."""


SCALE = """## Keys

A state of so many keys, in eight directories, 16 bytes each. Overwrites, reads and stats are of random
keys by one client, reads and stats linearizable and on a follower. "CPU" adds up all nodes, and counts
the time in which they look out for what comes next, which is time that nobody else wanted; "disk" is what
reached it, for one overwrite; memory is the largest node's; "list" reads every name.

{keys}

## Values

One client overwrites and reads one key; the rate is eight clients'. Beside it the same write with fsync
on the local ext4.

{values}

## Members

All voters. One writer, and 64 on distinct keys, through the leader's mount.

{members}

## Writers

Each on a key of its own, through the leader's mount.

{writers}"""


def snapshots(folder):
    path = os.path.join(folder, "snapshots.md")
    if not os.path.exists(path):
        return "## Snapshots\n\n" + missing("snapshots")
    with open(path) as file:
        return file.read().rstrip()


def wrapped(text):
    """Paragraphs with lines of equal length again, now that figures stand in them."""
    blocks = text.split("\n\n")
    return "\n\n".join(b if b[:1] in "|#! " else textwrap.fill(
        b, 105, break_long_words=False, break_on_hyphens=False) for b in blocks)


def page(folder):
    f = figures.Figures(folder)
    parts = ", ".join(f"`{part}` ({what})" for part, what in PARTS.items())
    text = "\n\n".join((
        HEAD.format(machines=machines(f)), beside(f, folder),
        SCALE.format(keys=by_keys(f, folder), values=by_values(f, folder),
                     members=by_members(f, folder), writers=by_writers(f, folder)),
        snapshots(folder), HOW.format(parts=parts)))
    return wrapped(re.sub("\n\n\n+", "\n\n", text))


def main(argv):
    if len(argv) != 2:
        sys.stderr.write(__doc__)
        return 2
    print(page(argv[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
