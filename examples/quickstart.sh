#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# quickstart.sh [down] - brings up a cluster of three nodes on this machine and shows it at work.
#
# Installs the Debian packages that are missing (as root), builds, starts three nodes on
# 127.0.0.1:8001-8003 with their mounts under $RAFTFS_QUICKSTART (default: ./quickstart), and leaves
# them running. `quickstart.sh down` stops them; what they hold stays for the next time.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
dir=${RAFTFS_QUICKSTART:-$PWD/quickstart}
nodes=(1 2 3)

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
die() { echo "quickstart.sh: $*" >&2; exit 1; }
run() { echo "\$ $*"; eval "$*"; }

# wait_for SECONDS WHAT COMMAND...: polls until the command succeeds.
wait_for() {
    local seconds=$1 what=$2 end
    shift 2
    end=$((SECONDS + seconds))
    until "$@" 2>/dev/null; do
        [ "$SECONDS" -lt "$end" ] || die "$what did not happen within $seconds s; see $dir/node*.log"
        read -r -t 0.05 <> <(:) || true
    done
}

is_running() { # and is no zombie whose parent does not care
    [ -s "$dir/node$1.pid" ] &&
        grep -q '^State:.[^ZX]' "/proc/$(cat "$dir/node$1.pid")/status" 2>/dev/null
}
is_stopped() { ! is_running "$1"; }
sees_leader() { [ -n "$(leader_seen_by "$1")" ]; }
sees_quorum() { grep -q "^quorum: yes $2/" "$dir/node$1/.status"; }
leader_seen_by() { cut -d' ' -f1 "$dir/node$1/.leader"; }
sees_leader_other_than() { sees_leader "$1" && [ "$(leader_seen_by "$1")" != "$2" ]; }

install_packages() {
    local missing=() package
    for package in gcc meson ninja-build pkg-config libfuse3-dev fuse3 libuv1-dev libsqlite3-dev \
        libaio-dev libisal-dev libxxhash-dev; do
        dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
            missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || die "install these Debian packages first: apt-get install ${missing[*]}"
    say "Installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    apt-get install -y -q --no-install-recommends "${missing[@]}"
}

build() {
    say "Building"
    [ -f "$top/build/use/build.ninja" ] ||
        meson setup "$top/build/use" "$top" -Dbuildtype=release >"$dir/build.log" 2>&1 ||
        die "meson failed; see $dir/build.log"
    ninja -C "$top/build/use" src/raftfs >"$dir/build.log" 2>&1 ||
        die "the build failed; see $dir/build.log"
}

start_node() {
    local n=$1 join=()
    is_running "$n" && return 0
    [ "$n" = 1 ] || join=(-join 127.0.0.1:8001)
    mkdir -p "$dir/node$n" 2>/dev/null || true # a killed node's mount point cannot even be looked at
    echo "\$ raftfs -id node$n -addr 127.0.0.1:800$n ${join[*]} $dir/node$n"
    setsid "$top/build/use/src/raftfs" -f -id "node$n" -addr "127.0.0.1:800$n" "${join[@]}" \
        -data "$dir/data$n" "$dir/node$n" >>"$dir/node$n.log" 2>&1 &
    echo $! >"$dir/node$n.pid"
    disown # it outlives this shell, which need not tell of its end
    wait_for 20 "serving of node$n" served_or_dead "$n"
    is_running "$n" || die "node$n did not start: $(tail -n 1 "$dir/node$n.log")"
}
served_or_dead() { [ -e "$dir/node$1/.status" ] || ! is_running "$1"; }

stop_node() {
    is_running "$1" || return 0
    kill "$(cat "$dir/node$1.pid")"
    wait_for 20 "the end of node$1" is_stopped "$1"
}

show_status() {
    for n in "${nodes[@]}"; do
        is_running "$n" || continue
        say "node$n/.status"
        cat "$dir/node$n/.status"
    done
}

up() {
    [ -e /dev/fuse ] || die "/dev/fuse is missing; load it with: modprobe fuse"
    mkdir -p "$dir"
    install_packages
    build
    say "Starting three nodes"
    for n in "${nodes[@]}"; do start_node "$n"; done
    for n in "${nodes[@]}"; do
        wait_for 20 "a leader for node$n" sees_leader "$n"
        wait_for 20 "a quorum of three for node$n" sees_quorum "$n" 3
    done

    cd "$dir"
    say "A write on one node is read on the others"
    run "echo value > node1/test-key"
    run "cat node2/test-key"
    run "echo 'from node3' > node3/other-key"
    run "cat node1/other-key"
    run "ls -l node2"
    show_status

    local leader other
    leader=$(leader_seen_by 1)
    other=node$((${leader#node} % 3 + 1))
    say "Killing the leader, $leader"
    run "kill -9 $(cat "$dir/$leader.pid")"
    wait_for 20 "an election" sees_leader_other_than "${other#node}" "$leader"
    run "cat $other/.leader"
    run "echo 'written without $leader' > $other/test-key"
    run "grep -E 'state|term|leader|quorum' $other/.status"

    say "Starting $leader again: it has what it missed"
    start_node "${leader#node}"
    wait_for 20 "the return of $leader" sees_quorum "${leader#node}" 3
    run "cat $leader/test-key"

    say "The cluster is up. Go on with"
    cat <<TEXT
    cd $dir
    echo hello > node1/greeting; cat node3/greeting
    watch -n 0.2 cat node2/.status
stop it with
    ${RAFTFS_QUICKSTART:+RAFTFS_QUICKSTART=$dir }$top/examples/quickstart.sh down
and see what the nodes say in $dir/node1.log, node2.log, node3.log.
TEXT
}

case ${1:-up} in
up) up ;;
down)
    for n in 3 2 1; do stop_node "$n"; done
    echo "The cluster is stopped; its data is in $dir."
    ;;
*) die "usage: quickstart.sh [down]" ;;
esac
