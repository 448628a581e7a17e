# SPDX-License-Identifier: MIT
"""What a reader sees of a value that another node overwrites while it is being read."""
import concurrent.futures
import ctypes
import mmap
import os
import threading

import pytest

WRITE_BYTES = 1044480  # one write(2) of it is one command, wherever the buffer lies


@pytest.fixture
def two(cluster):
    cluster.start(2)
    return cluster


def put(node, key, data):
    fd = os.open(node.path(key), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        while data:
            data = data[os.write(fd, data):]
    finally:
        os.close(fd)


def read_on(fd):
    """From where the descriptor stands to the end of file."""
    pieces = []
    while piece := os.read(fd, 128 * 1024):
        pieces.append(piece)
    return b"".join(pieces)


def by_sendfile(fd, n):
    out = os.memfd_create("out")
    try:
        at = 0
        while sent := os.sendfile(out, fd, at, n - at):
            at += sent
        return os.pread(out, n, 0)
    finally:
        os.close(out)


def by_splice(fd, n):
    from_, into = os.pipe()
    try:
        got = b""
        while moved := os.splice(fd, into, min(n, 64 * 1024), offset_src=len(got)):
            got += os.read(from_, moved)
        return got
    finally:
        os.close(from_)
        os.close(into)


def by_mmap(fd, n):
    with mmap.mmap(fd, n, mmap.MAP_PRIVATE, mmap.PROT_READ) as map_:
        return map_[:]


def look(fd):
    """After it the node has what the others have; a read alone waits for nothing."""
    os.fstat(fd)


def begin(node, key, size=4096):
    fd = os.open(node.path(key), os.O_RDONLY)
    return fd, os.read(fd, size)


def test_the_page_cache_reads_beside_a_version_that_is_kept(two):
    """
    The kernel's own reads go through a descriptor that has begun to read: they get what is there
    now, as with any file, and read(2) goes on with the version that it met.
    """
    writer, reader = two.nodes
    n = 600_000
    for way in by_sendfile, by_splice, by_mmap:
        for before in False, True:  # whether the old version is in the page cache
            put(writer, "key", b"A" * n)
            fd, head = begin(reader, "key")
            if before:
                way(fd, n)
            put(writer, "key", b"B" * n)
            look(fd)
            got = way(fd, n)
            assert len(got) == n and set(got) <= set(b"AB"), way
            assert head + read_on(fd) == b"A" * n
            assert os.pread(fd, n, 0) == b"B" * n
            os.close(fd)


def write_unaligned(path, fill):
    """One write(2) from a buffer whose every page is shared with something else."""
    buffer = ctypes.create_string_buffer(WRITE_BYTES + 4096)
    start = -ctypes.addressof(buffer) % 4096 + 1
    ctypes.memset(ctypes.addressof(buffer) + start, fill, WRITE_BYTES)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        return os.write(fd, memoryview(buffer)[start:start + WRITE_BYTES])
    finally:
        os.close(fd)


def commands_of(node, change):
    """How many log entries it takes: the fewest of some tries, for others write to the log too."""
    counts = []
    for _ in range(10):
        before = int(node.status()["last_index"])
        change()
        counts.append(int(node.status()["last_index"]) - before)
        if counts[-1] <= 1:
            break
    return min(counts)


def test_a_large_write_is_one_command(two):
    writer, = two.others(two.leader())
    reader = two.leader()
    path = writer.path("key")
    assert commands_of(writer, lambda: write_unaligned(path, ord("0"))) == 1
    stop = threading.Event()

    def read():
        seen = set()
        while not stop.is_set():
            fd = os.open(reader.path("key"), os.O_RDONLY)
            value = read_on(fd)
            os.close(fd)
            seen.add((bytes(set(value)), len(value)))
        return seen

    with concurrent.futures.ThreadPoolExecutor() as pool:
        seen = pool.submit(read)
        try:
            for i in range(20):
                assert write_unaligned(path, ord("A") + i) == WRITE_BYTES
        finally:
            stop.set()
        assert all(len(values) == 1 and n == WRITE_BYTES for values, n in seen.result()), seen
