# SPDX-License-Identifier: MIT
"""A node without a quorum says so, at once where it can, and works again when the quorum is back."""
import errno
import os
import select
import threading
import time

import pytest

from cluster import PATIENCE_S, write_until_done

NO_QUORUM = {errno.EROFS, errno.ETIMEDOUT}


@pytest.fixture
def cut_off(cluster):
    """Three nodes of which two have died; the third has noticed."""
    cluster.start(3, options=["-o", "timeout=1"])
    cluster.nodes[0].write("key", "value\n")
    survivor = cluster.nodes[2]
    assert survivor.read("key") == "value\n"
    for node in cluster.nodes[:2]:
        node.kill()
    survivor.wait("the loss of the quorum", lambda s: s["quorum"] == "no 1/3")
    return cluster, survivor


def fails(errors, function, *args):
    with pytest.raises(OSError) as e:
        function(*args)
    assert e.value.errno in errors, e.value


def test_changes_fail_and_the_shell_reports_it(cut_off):
    _, node = cut_off
    for shell in "bash", "dash":
        r = node.shell("echo x > key", shell)
        assert r.returncode != 0
        assert "timed out" in r.stderr or "Read-only file system" in r.stderr, r.stderr
    fails(NO_QUORUM, node.write, "key", "x")
    fails(NO_QUORUM, node.write, "new", "x")
    fails(NO_QUORUM, os.mkdir, node.path("dir"))
    fails(NO_QUORUM, os.unlink, node.path("key"))
    fails(NO_QUORUM, os.rename, node.path("key"), node.path("other"))


def test_plain_reads_time_out(cut_off):
    _, node = cut_off
    fails({errno.ETIMEDOUT}, node.read, "key")
    fails({errno.ETIMEDOUT}, os.listdir, node.mount)
    fails({errno.ETIMEDOUT}, os.stat, node.path("key"))


def test_special_files_and_the_local_tree_answer(cut_off):
    _, node = cut_off
    assert node.leader() == ""
    assert node.status()["leader"] == "-"
    assert node.read(".raft/local/key") == "value\n"
    assert "key" in os.listdir(node.path(".raft/local"))
    fails({errno.EROFS}, node.write, ".raft/local/key", "x")


def test_they_answer_while_the_root_is_locked(cut_off):
    _, node = cut_off
    # The mkdirs hold the root directory's lock, one after the other, each for its deadline.
    r = node.shell("for i in 1 2 3; do mkdir d$i 2>/dev/null & done; cat .status; wait")
    assert "quorum: no 1/3" in r.stdout


def stay_as_they_are(node, with_ordinary_name=errno.EPERM):
    """What the special names answer to whoever would change them."""
    files = [node.path(p) for p in (".status", ".leader", ".raft/snapshot")]
    dirs = [node.path(p) for p in (".raft", ".raft/members", ".raft/local")]
    status, leader, _ = files
    for flags in os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_RDONLY | os.O_TRUNC:
        fails({errno.EACCES}, os.open, status, flags)
    fails({errno.EACCES}, os.truncate, status, 0)
    for path in files:
        fails({errno.EPERM}, os.unlink, path)
        fails({errno.EPERM}, os.chmod, path, 0o777)
        fails({errno.EPERM}, os.rename, path, leader if path != leader else status)
        fails({errno.EPERM}, os.rename, path, node.path(".raft/other"))
        fails({errno.EPERM}, os.rename, node.path(".raft/local/key"), path)
    for path in dirs:
        fails({errno.EPERM}, os.rmdir, path)
    for path in node.path(".raft/new"), node.path(".raft/members/new"):
        fails({errno.EPERM}, os.mkdir, path)
        fails({errno.EPERM}, os.symlink, "x", path)
    fails({errno.EPERM}, node.write, ".raft/new", "x")
    # The kernel knows these names, and itself says that they are there, or what they are: no
    # request reaches the node that it could refuse.
    for path in files + dirs:
        fails({errno.EEXIST}, os.mkdir, path)
        fails({errno.EEXIST}, os.mknod, path)
        fails({errno.EEXIST}, os.symlink, "x", path)
        fails({errno.EEXIST}, os.open, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    for path in dirs:
        fails({errno.EISDIR}, os.unlink, path)
    # It looks an ordinary name up first, and that is a question to the cluster.
    fails({with_ordinary_name}, os.rename, status, node.path("key"))
    fails({with_ordinary_name}, os.rename, node.path("key"), status)


def test_special_files_stay_and_tell_that_the_quorum_is_lost(cluster):
    cluster.start(3, options=["-o", "timeout=1"])
    node = cluster.others(cluster.leader())[0]
    fd = os.open(node.path(".status"), os.O_RDONLY)
    poll = select.poll()
    poll.register(fd, select.POLLPRI | select.POLLERR)
    node.write("key", "value")
    stay_as_they_are(node)
    os.pread(fd, 100, 0)
    rest = os.pread(fd, 65536, 100)
    for other in cluster.others(node):
        other.kill()
    assert poll.poll(PATIENCE_S * 1000) == [(fd, select.POLLPRI | select.POLLERR)]
    # No torn text: what was made at offset 0 is read on, and made anew there.
    assert os.pread(fd, 65536, 100) == rest
    node.wait("the loss of the quorum", lambda s: s["quorum"] == "no 1/3")
    assert b"quorum: no 1/3" in os.pread(fd, 65536, 0)
    os.close(fd)
    stay_as_they_are(node, with_ordinary_name=errno.ETIMEDOUT)


def test_requests_do_not_wait_in_turn(cluster):
    """
    Eighty creations in one directory, whose lock the kernel gives to one at a time: one deadline
    for all, which runs from when contact was lost. In turn they would take longer than the bound.
    """
    cluster.start(3, options=["-o", "timeout=1", "-o", "consistency=local"])
    node = cluster.others(cluster.leader())[0]
    os.mkdir(node.path("dir"))
    for other in cluster.others(node):
        other.pause()
    failed = []

    def create(name):
        try:
            os.mkdir(node.path(f"dir/{name}"))
        except OSError as e:
            failed.append(e.errno)

    threads = [threading.Thread(target=create, args=(i,), daemon=True) for i in range(80)]
    end = time.monotonic() + PATIENCE_S
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))
    assert len(failed) == 80 and set(failed) <= NO_QUORUM, failed
    for other in cluster.others(node):
        other.resume()
    cluster.wait_whole()


def test_all_is_well_when_the_quorum_is_back(cut_off):
    cluster, node = cut_off
    fails(NO_QUORUM, node.write, "key", "lost")
    cluster.nodes[0].restart()
    write_until_done(node, "key", "again\n")
    cluster.nodes[1].restart()
    cluster.wait_whole()
    for n in cluster.nodes:
        assert n.read("key") == "again\n"
    cluster.wait_equal()


def test_a_change_given_up_never_lands_after_a_later_one(cluster):
    cluster.start(3, options=["-o", "timeout=1"])
    node = cluster.nodes[2]
    others = cluster.nodes[:2]
    node.write("key", "0")
    for round_ in range(3):
        for other in others:
            other.pause()
        with pytest.raises(OSError) as e:
            node.write("key", f"given up {round_}")
        assert e.value.errno in NO_QUORUM
        for other in others:
            other.resume()
        write_until_done(node, "key", f"after {round_}")
        cluster.wait_whole()
        for n in cluster.nodes:
            assert n.read("key") == f"after {round_}"


def test_ctrl_c_ends_a_write_that_waits(cluster):
    cluster.start(3, options=["-o", "timeout=30"])
    node = cluster.nodes[2]
    for other in cluster.nodes[:2]:
        other.pause()
    # The write waits in FUSE; timeout(1) sends it SIGINT, and it must not need its deadline.
    r = node.shell("timeout --signal=INT 1 bash -c 'echo x > key'; echo status $?")
    assert "status 124" in r.stdout or "status 130" in r.stdout, r
    for other in cluster.nodes[:2]:
        other.resume()
    cluster.wait_whole()
