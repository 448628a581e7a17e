# SPDX-License-Identifier: MIT
"""A node of an ordinary user's, who mounts through fusermount3."""
import os
import shutil
import subprocess

import pytest

from cluster import PATIENCE_S, RAFTFS, free_port

CANNOT = 77

# As root, in a mount namespace of its own: what the machine lets users do does not matter here.
PREPARE = r"""
set -e
user() { setpriv --reuid nobody --regid nogroup --clear-groups "$@"; }
can_open() { user bash -c ': 3<>/dev/fuse' 2>/dev/null; }
if ! can_open; then
    mknod fuse c 10 229 && chmod 666 fuse && mount --bind fuse /dev/fuse && can_open || exit 77
fi
if [ -e /etc/fuse.conf ]; then
    echo "# nothing is allowed" > fuse.conf
    mount --bind fuse.conf /etc/fuse.conf
fi
user bash -c "$1"
"""

USER = r"""
cd home
export HOME=$PWD
unset XDG_STATE_HOME
mkdir mnt
trap 'fusermount3 -uzq mnt || true' EXIT
start() { ../raftfs -id "$1" -addr "$address" "${@:2}" mnt; }
stop() { fusermount3 -u mnt && flock -w 60 "$1/lock" true; }
"""


@pytest.fixture
def user(top):
    """Runs a script as nobody, in that user's home directory; its exit status and output."""
    if not shutil.which("fusermount3"):
        pytest.skip("no fusermount3")
    os.chmod(top, 0o755)
    shutil.copy(RAFTFS, f"{top}/raftfs")
    os.mkdir(f"{top}/home")
    shutil.chown(f"{top}/home", "nobody", "nogroup")

    def run(script):
        r = subprocess.run(["unshare", "--mount", "--propagation", "private", "bash", "-c", PREPARE,
                            "prepare", USER + script], cwd=top, capture_output=True, text=True,
                           timeout=2 * PATIENCE_S,
                           env={**os.environ, "address": f"127.0.0.1:{free_port()}"})
        if r.returncode == CANNOT:
            pytest.skip("no /dev/fuse can be made that a user may open")
        return r

    return run


def test_a_user_has_a_node_of_their_own(user):
    r = user("""
        set -e
        start n1
        echo value > mnt/key
        cat mnt/key mnt/.leader
        stat -c '%U %G %a' mnt mnt/key
        grep -c '^state: leader' mnt/.status
        mkdir mnt/.raft/x 2>&1 || true
        stop ~/.local/state/raftfs/n1
        stat -c '%U %a' ~/.local/state/raftfs/n1
        export XDG_STATE_HOME=$HOME/state
        start n2
        ls mnt state/raftfs
        stop state/raftfs/n2
    """)
    assert r.returncode == 0, r
    lines = r.stdout.splitlines()
    assert lines[0] == "value" and lines[1].startswith("n1 127.0.0.1:"), r
    assert lines[2:5] == ["nobody nogroup 755", "nobody nogroup 644", "1"], r
    assert "Operation not permitted" in lines[5] and lines[6] == "nobody 700", r
    assert lines[7:] == ["mnt:", "", "state/raftfs:", "n2"], r


def test_what_their_dead_node_has_left_is_detached(user):
    r = user("""
        set -e
        ../raftfs -f -id n1 -addr "$address" mnt 2>log &
        until grep -qs serves log; do sleep 0.01; done
        echo value > mnt/key
        kill -9 $!
        wait $! || true
        start n1
        cat mnt/key
        stop ~/.local/state/raftfs/n1
    """)
    assert r.returncode == 0 and r.stdout == "value\n", r


def test_others_are_let_in_only_where_root_allows_it(user):
    r = user("start n1 -o allow_other")
    assert r.returncode == 1 and r.stdout == "", r
    assert "user_allow_other stands in /etc/fuse.conf" in r.stderr.splitlines()[-1], r
