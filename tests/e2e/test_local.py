# SPDX-License-Identifier: MIT
"""
consistency=local: the kernel keeps names and attributes for a day, and each node takes back what a
change, made anywhere, has touched. So each test first has the kernel of node b keep something, then
changes it on node a, and waits until b shows it; what nobody took back would be waited for in vain.
"""
import mmap
import os
import subprocess
import tempfile
import threading
import time

import pytest

from cluster import PATIENCE_S, Cluster, Timeout


@pytest.fixture(scope="module")
def two():
    with tempfile.TemporaryDirectory(prefix="raftfs-e2e-") as top:
        cluster = Cluster(top)
        cluster.start(2, options=["-o", "consistency=local"])
        yield cluster.nodes
        cluster.close()


def eventually(condition):
    """The condition holds soon; a name that is not there yet makes it false."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            if condition():
                return
        except FileNotFoundError:
            pass
        time.sleep(0.001)  # what the kernel will show is not announced by anything
    raise Timeout("the kernel keeps what is no longer so")


def names(node, path="."):
    return sorted(n for n in os.listdir(node.path(path)) if n not in (".status", ".leader"))


def missing(path):
    return not os.path.lexists(path)


def test_attributes(two):
    a, b = two
    a.write("f", "one")
    eventually(lambda: os.stat(b.path("f")).st_size == 3)
    for k in range(20):
        a.write("f", "x" * k)
        os.chmod(a.path("f"), 0o600 + k % 8)
        eventually(lambda: os.stat(b.path("f")).st_size == k)
        eventually(lambda: os.stat(b.path("f")).st_mode & 0o777 == 0o600 + k % 8)
        eventually(lambda: b.read("f") == "x" * k)


def test_an_mtime_put_back(two):
    a, b = two
    a.write("same", "aaaa")
    eventually(lambda: not missing(b.path("same")))
    with open(b.path("same"), "r+b") as f, mmap.mmap(f.fileno(), 4, prot=mmap.PROT_READ) as m:
        assert m[:] == b"aaaa"
        before = os.stat(a.path("same"))
        a.write("same", "bbbb")
        os.utime(a.path("same"), ns=(before.st_atime_ns, before.st_mtime_ns))
        eventually(lambda: m[:] == b"bbbb")
        eventually(lambda: os.pread(f.fileno(), 4, 0) == b"bbbb")


def test_absent_names(two):
    a, b = two
    for k in range(20):
        assert missing(b.path(f"new{k}"))
        a.write(f"new{k}", "here")
        eventually(lambda: not missing(b.path(f"new{k}")))
        assert b.read(f"new{k}") == "here"


def test_removed_and_replaced_names(two):
    a, b = two
    for k in range(20):
        a.write("gone", "1")
        eventually(lambda: not missing(b.path("gone")))
        os.unlink(a.path("gone"))
        eventually(lambda: missing(b.path("gone")))
        a.write("old", f"old{k}")
        eventually(lambda: b.read("old") == f"old{k}")
        ino = os.stat(b.path("old")).st_ino
        a.write("next", f"next{k}")
        os.rename(a.path("next"), a.path("old"))
        eventually(lambda: os.stat(b.path("old")).st_ino != ino)
        assert b.read("old") == f"next{k}"


def test_directories(two):
    a, b = two
    os.makedirs(a.path("d/e"))
    a.write("d/e/f", "deep")
    eventually(lambda: not missing(b.path("d/e/f")) and b.read("d/e/f") == "deep")
    before = os.stat(b.path("d")).st_mtime_ns
    os.rename(a.path("d/e"), a.path("moved"))
    eventually(lambda: missing(b.path("d/e/f")) and missing(b.path("d/e")))
    eventually(lambda: b.read("moved/f") == "deep")
    eventually(lambda: os.stat(b.path("d")).st_mtime_ns > before)
    eventually(lambda: names(b, "d") == [])
    os.rename(a.path("moved"), a.path("d/e"))
    eventually(lambda: missing(b.path("moved")) and b.read("d/e/f") == "deep")
    os.unlink(a.path("d/e/f"))
    os.rmdir(a.path("d/e"))
    eventually(lambda: names(b, "d") == [] and missing(b.path("d/e")))


def test_own_changes_at_once(two):
    """Read your writes: what the call that has returned did is there, without waiting."""
    for node in two:
        for k in range(50):
            node.write("own", "x" * k)
            assert os.stat(node.path("own")).st_size == k
            assert node.read("own") == "x" * k
            os.rename(node.path("own"), node.path("own2"))
            assert missing(node.path("own")) and os.stat(node.path("own2")).st_size == k
            os.unlink(node.path("own2"))
            assert missing(node.path("own2"))
        assert node.shell(": > own3; stat -c %s own3; echo 12 > own3; stat -c %s own3").stdout \
            == "0\n3\n"


def test_parallel_load_comes_to_an_end(two):
    """Notifications wait for locks that requests hold: neither may wait for the other for ever."""
    script = """
        for i in $(seq 60); do
            mkdir -p p/$1; echo $i > p/$1/f; ls -l p p/* >/dev/null 2>&1; cat p/*/f >/dev/null 2>&1
            mv p/$1 p/x$1 && mv p/x$1 p/$1; stat p/*/f >/dev/null 2>&1; rm -r p/$1
        done; echo end"""
    running = [subprocess.Popen(["bash", "-c", script, "sh", f"{n.name}-{k}"], cwd=n.mount,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
               for n in two for k in range(3)]
    for p in running:
        assert p.communicate(timeout=2 * PATIENCE_S)[0].endswith("end\n")
    a, b = two
    eventually(lambda: names(a, "p") == [] and names(b, "p") == [])


def test_nothing_stale_stays(two):
    """Readers fill b's caches all the time while a changes what they look at."""
    a, b = two
    stop = threading.Event()

    def look():
        while not stop.is_set():
            for k in range(8):
                try:
                    os.stat(b.path(f"busy{k}"))
                except FileNotFoundError:
                    pass
            names(b)

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for round_ in range(40):
        for k in range(8):
            a.write(f"busy{k}", "x" * (round_ + k))
            if round_ % 3 == k % 3:
                os.unlink(a.path(f"busy{k}"))
    stop.set()
    for reader in readers:
        reader.join()
    for k in range(8):
        path = f"busy{k}"
        if missing(a.path(path)):
            eventually(lambda: missing(b.path(path)))
        else:
            size = os.stat(a.path(path)).st_size
            eventually(lambda: os.stat(b.path(path)).st_size == size)
