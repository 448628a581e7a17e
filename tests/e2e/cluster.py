# SPDX-License-Identifier: MIT
"""cluster.py - real nodes on real mounts, for the end-to-end tests.

A Node is one raftfs process with its data directory and mount point; a Cluster is some of them, on
loopback addresses or, when they are to be cut off from each other, in network namespaces of their
own. Waiting is for events (a line on standard error, POLLPRI on .status), each with a bound that is
far beyond what is expected: no test measures speed.
"""
import errno
import itertools
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time

RAFTFS = os.environ.get("RAFTFS", "build/none/src/raftfs")
PATIENCE_S = 60
TAGS = itertools.count()


class Timeout(AssertionError):
    pass


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run(*argv, check=True):
    return subprocess.run(argv, check=check, capture_output=True, text=True)


class Node:
    def __init__(self, top, name, address, netns=None):
        self.name = name
        self.address = address
        self.netns = netns
        self.data = f"{top}/{name}.data"
        self.mount = f"{top}/{name}"
        os.makedirs(self.mount, exist_ok=True)
        self.environment = {}
        self.process = None
        self.lines = []
        self.heard = threading.Condition()

    def path(self, key):
        return f"{self.mount}/{key}"

    # ---- Its process ------------------------------------------------------------------------

    def argv(self, join=None, options=()):
        # Not `ip netns exec`, which would hide the mount in a mount namespace of its own.
        argv = ["nsenter", f"--net=/run/netns/{self.netns}"] if self.netns else []
        argv += [RAFTFS, "-f", "-id", self.name, "-addr", self.address, "-data", self.data]
        if join:
            argv += ["-join", join]
        return argv + list(options) + [self.mount]

    def spawn(self, join=None, options=()):
        """Starts the process; its last start's command line is kept for restart()."""
        assert self.process is None
        self.start_argv = self.argv(join, options)
        self.respawn()

    def respawn(self):
        self.lines = []
        self.process = subprocess.Popen(self.start_argv, stderr=subprocess.PIPE, text=True,
                                        errors="replace", env={**os.environ, **self.environment})
        threading.Thread(target=self.listen, args=(self.process,), daemon=True).start()

    def listen(self, process):
        for line in process.stderr:
            with self.heard:
                self.lines.append(line.rstrip("\n"))
                self.heard.notify_all()
        with self.heard:
            self.lines.append("(end of output)")
            self.heard.notify_all()

    def hear(self, what):
        """Waits for a line that holds `what`."""
        with self.heard:
            def said():
                return any(what in line for line in self.lines) or "(end of output)" in self.lines
            if not self.heard.wait_for(said, PATIENCE_S):
                raise Timeout(f"{self.name} does not say {what!r}: {self.lines}")
            assert any(what in line for line in self.lines), f"{self.name}: {self.lines}"

    def start(self, join=None, options=()):
        self.spawn(join, options)
        self.hear("serves")

    def restart(self):
        assert self.process is None
        self.respawn()
        self.hear("serves")

    def kill(self):
        """kill -9, and its end."""
        self.process.kill()
        self.reap()

    def stop(self):
        """SIGTERM; the exit status must be 0."""
        self.process.terminate()
        status = self.reap()
        assert status == 0, f"{self.name} exits {status}: {self.lines}"

    def reap(self):
        process, self.process = self.process, None
        try:
            status = process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Timeout(f"{self.name} does not end: {self.lines}") from None
        with self.heard:
            self.heard.wait_for(lambda: "(end of output)" in self.lines, PATIENCE_S)
        self.check_output()
        return status

    def check_output(self):
        for line in self.lines:
            assert not re.search(r"Sanitizer|runtime error|Assertion|assert", line), self.lines

    def pause(self):
        """Returns when all its threads stand still: until then they may still answer somebody."""
        self.process.send_signal(signal.SIGSTOP)
        end = time.monotonic() + PATIENCE_S
        while not all(state == "T" for state in self.thread_states()):
            if time.monotonic() > end:
                raise Timeout(f"{self.name} does not stand still")
            time.sleep(0.001)

    def thread_states(self):
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            try:
                with open(f"/proc/{self.process.pid}/task/{task}/stat") as f:
                    yield f.read().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                pass  # it has ended meanwhile

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    # ---- What it shows ----------------------------------------------------------------------

    def status(self):
        with open(self.path(".status")) as f:
            return dict(line.split(": ", 1) for line in f.read().splitlines())

    def leader(self):
        """The leader's name as this node knows it, or ''."""
        with open(self.path(".leader")) as f:
            return f.read().split(" ")[0]

    def wait(self, what, condition):
        """Waits until condition(status) holds, waking up when .status says that it changed."""
        end = time.monotonic() + PATIENCE_S
        fd = os.open(self.path(".status"), os.O_RDONLY)
        try:
            poll = select.poll()
            poll.register(fd, select.POLLPRI | select.POLLERR)
            while True:
                text = os.pread(fd, 65536, 0).decode()
                status = dict(line.split(": ", 1) for line in text.splitlines())
                if condition(status):
                    return status
                if time.monotonic() > end:
                    raise Timeout(f"{self.name}: {what} does not happen: {text}")
                poll.poll(20)  # indexes move without POLLPRI
        finally:
            os.close(fd)

    def wait_quorum(self, members):
        return self.wait(f"a quorum of all {members}",
                         lambda s: s["quorum"] == f"yes {members}/{members}" and s["leader"] != "-")

    def open_root(self):
        """
        A descriptor of the mount's root directory, or OSError while there is none. Paths from it
        never lead into the directory beneath a mount point that a dead node has left.
        """
        fd = os.open(self.mount, os.O_RDONLY | os.O_DIRECTORY)
        if os.fstat(fd).st_dev != os.stat(os.path.dirname(self.mount)).st_dev:
            return fd
        os.close(fd)
        raise OSError(errno.ENOTCONN, "not mounted")

    # ---- Keys -------------------------------------------------------------------------------

    def read(self, key, root=None):
        with open(os.open(key, os.O_RDONLY, dir_fd=root) if root else self.path(key), "rb") as f:
            return f.read().decode()

    def write(self, key, value, root=None):
        """As `echo value > key`; with a descriptor of the root directory, beneath that."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        fd = os.open(key if root else self.path(key), flags, 0o666, dir_fd=root)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)

    def shell(self, script, shell="bash"):
        """Runs a script in the mount point."""
        return subprocess.run([shell, "-c", script], cwd=self.mount, capture_output=True,
                              text=True, timeout=PATIENCE_S)


def until_done(operation):
    """Again after each error that a caller may expect while there is no leader."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return operation()
        except OSError as e:
            if e.errno not in (errno.EROFS, errno.ETIMEDOUT) or time.monotonic() > end:
                raise


def write_until_done(node, key, value):
    return until_done(lambda: node.write(key, value))


class Cluster:
    def __init__(self, top):
        self.top = str(top)
        self.nodes = []
        self.namespaces = []

    def add(self, name=None, address=None, netns=None):
        name = name or f"node{len(self.nodes) + 1}"
        node = Node(self.top, name, address or f"127.0.0.1:{free_port()}", netns)
        self.nodes.append(node)
        return node

    def start(self, count, options=()):
        """A cluster by the three commands: the first founds, the others join it."""
        for _ in range(count):
            self.add()
        self.start_all(options)

    def start_all(self, options=()):
        first = self.nodes[0]
        first.start(options=options)
        for node in self.nodes[1:]:
            node.start(join=first.address, options=options)
        self.wait_whole()

    def wait_whole(self):
        for node in self.nodes:
            node.wait_quorum(len(self.nodes))

    def leader(self):
        """The node that leads, by its own word; there must be one in the end, and only one."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            running = [n for n in self.nodes if n.process]
            statuses = [n.status() for n in running]
            newest = max(int(s["term"]) for s in statuses)
            leaders = [n for n, s in zip(running, statuses)
                       if s["state"] == "leader" and int(s["term"]) == newest]
            assert len(leaders) <= 1, statuses
            if leaders:
                return leaders[0]
            running[0].wait("a leader", lambda s: s["leader"] != "-")
        raise Timeout("no leader")

    def others(self, node):
        return [n for n in self.nodes if n is not node and n.process]

    def wait_equal(self):
        """Until all nodes have applied the same, with the same fingerprint."""
        leader = self.leader()
        # A linearizable look at each node: it has applied what was committed before.
        for node in self.nodes:
            until_done(lambda node=node: os.listdir(node.mount))
        for node in self.nodes:
            node.wait("the leader's state", lambda s: (s["applied_index"], s["fingerprint"]) == (
                leader.status()["applied_index"], leader.status()["fingerprint"]))

    # ---- Namespaces -------------------------------------------------------------------------

    def add_namespaces(self, count):
        """Nodes on a bridge of their own, each in a network namespace: cut() takes one off."""
        # The kernel removes a namespace some time after it is deleted: no name is used twice.
        tag = f"r{os.getpid() % 100000}{next(TAGS)}"
        self.bridge = f"{tag}b"
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "link", "set", self.bridge, "up")
        for i in range(1, count + 1):
            ns, outside = f"{tag}n{i}", f"{tag}v{i}"  # at most 15 bytes
            run("ip", "netns", "add", ns)
            self.namespaces.append(ns)
            run("ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", ns)
            run("ip", "link", "set", outside, "master", self.bridge, "up")
            run("ip", "-n", ns, "addr", "add", f"10.231.77.{i}/24", "dev", "eth0")
            run("ip", "-n", ns, "link", "set", "eth0", "up")
            run("ip", "-n", ns, "link", "set", "lo", "up")
            node = self.add(address=f"10.231.77.{i}:8001", netns=ns)
            node.outside = outside

    def cut(self, node):
        run("ip", "link", "set", node.outside, "down")

    def mend(self, node):
        run("ip", "link", "set", node.outside, "up")

    # ---- The end ----------------------------------------------------------------------------

    def describe(self):
        """What each node says of itself, for the report of a test that failed."""
        for node in self.nodes:
            if node.process:
                node.resume()
                print(f"---- {node.name}, its output:", *node.lines, sep="\n")
                print(f"---- {node.name}, its .status:", *node.status().items(), sep="\n")

    def close(self):
        problems = []
        for node in reversed(self.nodes):
            if not node.process:
                continue
            try:
                node.resume()
                node.stop()
            except AssertionError as e:
                problems.append(str(e))
        for node in self.nodes:
            run("umount", "-l", node.mount, check=False)
        for ns in self.namespaces:
            run("ip", "netns", "del", ns, check=False)
        if self.namespaces:
            run("ip", "link", "del", self.bridge, check=False)
        assert not problems, problems
