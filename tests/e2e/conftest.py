# SPDX-License-Identifier: MIT
import os
import shutil
import tempfile

import pytest

from cluster import RAFTFS, Cluster


def missing():
    """Why mounts cannot be tried here, or None."""
    if os.geteuid() != 0:
        return "not root"
    if not os.path.exists("/dev/fuse"):
        return "no /dev/fuse"
    if not os.access(RAFTFS, os.X_OK):
        return f"{RAFTFS} is not built"
    return None


def pytest_collection_modifyitems(items):
    reason = missing()
    for item in items:
        if reason and "needs_no_mount" not in item.keywords:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def top():
    path = tempfile.mkdtemp(prefix="raftfs-e2e-")
    yield path
    shutil.rmtree(path)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    setattr(item, f"report_{call.when}", outcome.get_result())


@pytest.fixture
def cluster(top, request):
    c = Cluster(top)
    yield c
    if request.node.report_call.failed:
        c.describe()
    c.close()


@pytest.fixture
def three(cluster):
    cluster.start(3)
    return cluster
