# SPDX-License-Identifier: MIT
"""What shells do to a key, seen from all nodes at once: no empty value, no mixed one, no lost one."""
import os
import subprocess

from cluster import PATIENCE_S

READER = r"""
n=0
while [ ! -e stop ]; do
    value=$(cat key) || exit 1
    n=$((n + 1))
    # A value is one digit repeated: 1, 22, 333 ...
    case $value in
    "") echo "empty"; exit 1 ;;
    esac
    rest=$(printf %s "$value" | tr -d "$(printf %.1s "$value")")
    [ -z "$rest" ] || { echo "mixed: $value"; exit 1; }
done
echo $n
"""

WRITER = r"""
i=0
while [ $i -lt 400 ]; do
    i=$((i + 1))
    d=$((i % 9 + 1))
    value=$(printf "%0$((d * d * 40))d" 0 | tr 0 $d)
    echo $value > key || exit 1
done
"""


def overwrite(cluster, shell):
    cluster.nodes[0].write("key", "1\n")
    readers = [subprocess.Popen(["dash", "-c", READER], cwd=n.mount, stdout=subprocess.PIPE,
                                text=True) for n in cluster.nodes]
    writer = subprocess.run([shell, "-c", WRITER], cwd=cluster.nodes[1].mount,
                            timeout=3 * PATIENCE_S)
    cluster.nodes[0].write("stop", "")
    for reader in readers:
        out = reader.communicate(timeout=PATIENCE_S)[0]
        assert reader.returncode == 0, out
        assert int(out) > 0
    os.unlink(cluster.nodes[0].path("stop"))
    assert writer.returncode == 0


def test_readers_see_whole_values_of_bash(three):
    overwrite(three, "bash")


def test_readers_see_whole_values_of_dash(three):
    overwrite(three, "dash")


def test_one_echo_is_one_entry(three):
    node = three.nodes[1]
    for script in "echo new > fresh", "echo again > fresh", "echo more >> fresh":
        three.wait_equal()
        before = int(node.status()["applied_index"])
        assert node.shell(script).returncode == 0
        assert int(node.status()["applied_index"]) == before + 1, script
    assert node.read("fresh") == "again\nmore\n"


def test_scripts_that_people_write(three):
    a, b, c = three.nodes
    r = a.shell("""set -e
        mkdir -p app/config app/logs
        printf 'a=1\\nb=2\\n' > app/config/main.conf
        cp app/config/main.conf app/config/copy.conf
        sed -i 's/a=1/a=9/' app/config/copy.conf
        mv app/config/copy.conf app/config/renamed.conf
        ln -s main.conf app/config/link
        for i in 1 2 3; do echo line $i >> app/logs/log; done
        tar cf all.tar app
        chmod 600 app/config/main.conf
        touch -d @1000000000 app/config/main.conf
    """)
    assert r.returncode == 0, r.stderr
    r = b.shell("""set -e
        cat app/config/renamed.conf; cat app/config/link; cat app/logs/log
        tar tf all.tar | sort | tail -1
        stat -c '%a %Y' app/config/main.conf
        find . -name '*.conf' | sort
        grep -r line . | wc -l
    """)
    assert r.returncode == 0, r.stderr
    assert r.stdout == ("a=9\nb=2\na=1\nb=2\nline 1\nline 2\nline 3\napp/logs/log\n600 1000000000\n"
                        "./app/config/main.conf\n./app/config/renamed.conf\n3\n"), r.stdout
    assert c.shell("rm -rf app all.tar").returncode == 0
    assert a.shell("ls -A").stdout.split() == [".leader", ".status"]
