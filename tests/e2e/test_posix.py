# SPDX-License-Identifier: MIT
"""What one node promises another: atomic creation, appends, renames; permissions; open files."""
import concurrent.futures
import ctypes
import errno
import os
import stat
import subprocess

import pytest

from cluster import PATIENCE_S


def in_parallel(nodes, script):
    """The same shell script in every mount at once; their outputs."""
    running = [subprocess.Popen(["bash", "-c", script], cwd=n.mount, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True) for n in nodes]
    return [p.communicate(timeout=PATIENCE_S)[0] for p in running]


def test_exclusive_creation_has_one_winner(three):
    outs = in_parallel(three.nodes, """
        for i in $(seq 40); do
            (set -C; echo $$ > lock$i) 2>/dev/null && echo $i
            mkdir dir$i 2>/dev/null && echo d$i
        done""")
    won = sorted(word for out in outs for word in out.split())
    assert won == sorted([str(i) for i in range(1, 41)] + [f"d{i}" for i in range(1, 41)])


def test_appends_of_all_nodes_are_all_there(three):
    three.nodes[0].write("log", "")
    outs = in_parallel(three.nodes, "for i in $(seq 50); do echo line-$i >> log || echo bad; done")
    assert outs == ["", "", ""]
    lines = three.nodes[0].read("log").split("\n")[:-1]
    assert sorted(lines) == sorted([f"line-{i}" for i in range(1, 51)] * 3)


def test_renames_are_atomic_for_readers(three):
    a, b, _ = three.nodes
    a.write("current", "0")
    reader = subprocess.Popen(["bash", "-c", """
        while [ ! -e stop ]; do cat current > /dev/null || exit 1; done"""], cwd=b.mount)
    for i in range(100):
        a.write("next", str(i))
        os.rename(a.path("next"), a.path("current"))
    a.write("stop", "")
    assert reader.wait(PATIENCE_S) == 0
    assert b.read("current") == "99"


def renameat2(old, new, flags):
    """0 or an errno; Python's own rename has no flags."""
    at_cwd, libc = -100, ctypes.CDLL(None, use_errno=True)
    return ctypes.get_errno() if libc.renameat2(at_cwd, os.fsencode(old), at_cwd, os.fsencode(new),
                                                flags) else 0


def test_rename_flags_and_errors(three):
    a, b, _ = three.nodes
    a.write("x", "x")
    b.write("y", "y")
    assert a.shell("mv --no-clobber x y; cat y").stdout == "y"
    no_replace, exchange = 1, 2
    assert renameat2(b.path("x"), b.path("y"), no_replace) == errno.EEXIST
    for node in a, b:
        assert renameat2(node.path("x"), node.path("y"), exchange) == 0
        assert (a.read("x"), b.read("y")) == (("y", "x") if node is a else ("x", "y"))
    os.mkdir(a.path("d"))
    os.mkdir(a.path("d/e"))
    for function, args, error in [
            (os.rename, ("d", "d/e/f"), errno.EINVAL),
            (os.rename, ("x", "d"), errno.EISDIR),
            (os.rename, ("d", "x"), errno.ENOTDIR),
            (os.rmdir, ("d",), errno.ENOTEMPTY),
            (os.unlink, ("d",), errno.EISDIR),
            (os.rmdir, ("x",), errno.ENOTDIR),
            (os.mkdir, ("x",), errno.EEXIST),
            (os.unlink, ("nothing",), errno.ENOENT),
            (os.mkdir, ("x/y",), errno.ENOTDIR),
            (os.mkdir, ("n" * 256,), errno.ENAMETOOLONG),
            (os.unlink, (".status",), errno.EPERM),
            (os.rename, ("x", ".leader"), errno.EPERM),
            (os.mkdir, (".raft",), errno.EEXIST)]:
        with pytest.raises(OSError) as e:
            function(*(a.path(arg) for arg in args))
        assert e.value.errno in (error, errno.EPERM if ".raft" in args else error), (args, e.value)
    os.rename(b.path("d/e"), b.path("e"))
    assert sorted(os.listdir(a.mount)) == [".leader", ".status", "d", "e", "x", "y"]


def test_an_open_file_outlives_its_name_on_its_node(three):
    a, b, _ = three.nodes
    a.write("f", "kept")
    with open(b.path("f"), "r+") as f:
        os.unlink(a.path("f"))
        assert not os.path.exists(b.path("f"))
        assert f.read() == "kept"
        f.write(", and written to")
        f.flush()
        f.seek(0)
        assert f.read() == "kept, and written to"
        assert os.fstat(f.fileno()).st_nlink == 0
    three.wait_equal()


def test_permissions_hold_on_every_node(three):
    a, b, _ = three.nodes
    os.chmod(a.mount, 0o755)
    a.write("secret", "s")
    os.chmod(a.path("secret"), 0o600)
    os.mkdir(a.path("shared"))
    os.chmod(a.path("shared"), 0o1777)

    def as_nobody(node, script):
        return subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "bash",
                               "-c", script], cwd=node.mount, capture_output=True, text=True,
                              timeout=PATIENCE_S)

    assert "Permission denied" in as_nobody(b, "cat secret").stderr
    assert "Permission denied" in as_nobody(b, "echo x > new").stderr
    assert as_nobody(b, "echo mine > shared/mine && cat shared/mine").stdout == "mine\n"
    a.write("shared/roots", "r")
    assert "Operation not permitted" in as_nobody(b, "rm -f shared/roots").stderr
    assert os.stat(a.path("shared/mine")).st_uid == 65534
    a.write("runs", "as its owner")
    os.chmod(a.path("runs"), 0o6777)
    assert as_nobody(b, "echo changed > runs").returncode == 0
    assert stat.S_IMODE(os.stat(a.path("runs")).st_mode) == 0o777


def test_inode_numbers_and_times_are_the_same_everywhere(three):
    a, b, c = three.nodes
    a.write("f", "1")
    first = [os.stat(n.path("f")) for n in three.nodes]
    assert len({(s.st_ino, s.st_mtime_ns, s.st_ctime_ns, s.st_size) for s in first}) == 1
    b.write("f", "2")
    second = os.stat(c.path("f"))
    assert second.st_ino == first[0].st_ino
    assert second.st_mtime_ns > first[0].st_mtime_ns and second.st_ctime_ns > first[0].st_ctime_ns


def test_times_tell_every_change(three):
    """ctime grows with each, wherever it is made; another content has another mtime."""
    a, b, c = three.nodes

    def append(path):
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.write(fd, b"x")
        os.close(fd)

    def same_size(path):
        os.truncate(path, os.stat(path).st_size)

    def set_back(path):
        os.utime(path, ns=(1, os.stat(path).st_mtime_ns))

    a.write("key", "")
    changes = [lambda node: node.write("key", "x"), lambda node: append(node.path("key")),
               lambda node: same_size(node.path("key")), lambda node: os.truncate(node.path("key"), 9),
               lambda node: os.chmod(node.path("key"), 0o640), lambda node: set_back(node.path("key"))]
    last = os.stat(a.path("key"))
    for i in range(25 * len(changes)):
        which = i % len(changes)
        changes[which]([a, b][i // 2 % 2])
        now = os.stat([b, c, a][i % 3].path("key"))
        assert now.st_ctime_ns > last.st_ctime_ns, which
        assert (now.st_mtime_ns != last.st_mtime_ns) == (which < 4), which
        last = now
    # Any time may be set, and what is written then is told apart from it too.
    for ns in 9 * 10**18, -5 * 10**9, 0, last.st_mtime_ns:
        os.utime(b.path("key"), ns=(ns, ns))
        assert os.stat(c.path("key")).st_mtime_ns == ns
        a.write("key", "y")
        now = os.stat(c.path("key"))
        assert now.st_mtime_ns != ns and now.st_ctime_ns > last.st_ctime_ns
        last = now
    times_while_two_write([a, b], c)


def times_while_two_write(writers, reader):
    """The reader never sees one mtime with two contents, nor ctime go back."""
    values, last = {}, 0

    def write(node):
        for i in range(300):
            node.write("key", f"{node.name} {i}")

    with concurrent.futures.ThreadPoolExecutor() as pool:
        done = [pool.submit(write, node) for node in writers]
        while not all(d.done() for d in done):
            fd = os.open(reader.path("key"), os.O_RDONLY)
            before, value, after = os.fstat(fd), os.read(fd, 100), os.fstat(fd)
            os.close(fd)
            assert before.st_ctime_ns >= last
            last = after.st_ctime_ns
            if before.st_mtime_ns == after.st_mtime_ns:
                assert values.setdefault(before.st_mtime_ns, value) == value
        for d in done:
            d.result()


def test_large_and_sparse_files(three):
    a, b, _ = three.nodes
    data = os.urandom(5 * 1024 * 1024 + 77)
    with open(a.path("big"), "wb") as f:
        f.write(data)
    with open(b.path("big"), "rb") as f:
        assert f.read() == data
    with open(b.path("big"), "r+b") as f:
        f.truncate(1000)
        f.seek(200000)
        f.write(b"end")
    with open(a.path("big"), "rb") as f:
        assert f.read() == data[:1000] + bytes(199000) + b"end"


def test_a_large_directory_is_listed_whole(three):
    a, b, _ = three.nodes
    os.mkdir(a.path("many"))
    names = {f"a rather long name of a file, number {i}" for i in range(600)}
    for name in names:
        a.write(f"many/{name}", "1")  # an empty one is committed behind its close
    assert set(os.listdir(b.path("many"))) == names
    with os.scandir(b.path("many")) as entries:
        for entry in entries:
            os.unlink(entry.path)
    assert os.listdir(a.path("many")) == []


def test_poll_reports_an_election(three):
    import select
    leader = three.leader()
    watcher = three.others(leader)[0]
    fd = os.open(watcher.path(".leader"), os.O_RDONLY)
    try:
        os.read(fd, 4096)
        poll = select.poll()
        poll.register(fd, select.POLLPRI)
        assert poll.poll(0) == []
        leader.kill()
        assert poll.poll(PATIENCE_S * 1000)[0][1] & select.POLLPRI
    finally:
        os.close(fd)
