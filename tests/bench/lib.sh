# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# lib.sh - what the measuring scripts share: builds, clusters, peers, cleaning up. To be sourced.
#
# Everything runs beneath one temporary directory, $work, and ends with the script: processes by
# their pids, mounts, namespaces. Nothing is installed. $RAFTFS_BUILD names a build directory to use;
# without it the scripts build their own, optimized, in build/bench. $TMPDIR says which disk is used.
#
# Figures are lines of JSON in $results, each with a name; figures.py says what they mean. A script
# that measures in parts keeps each part's in a file of its own, OUTDIR/PART.jsonl, written as it goes
# on: a part that fails takes no other with it, and can be repeated alone.

set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
me=$(basename "$0")
work=
build=
results=
port=$((20000 + RANDOM % 8000)) # the next one to try; below the ephemeral ports
declare -A node_pid node_mount node_addr node_netns # of raftfs, by name
declare -A other_pid                                # of all else, by name
mounts=() namespaces=() bridge=

say() { printf '%s\n' "$*" >&2; }
die() { say "$me: $*"; exit 3; }

# need COMMAND:PACKAGE...: says which Debian packages are missing, and ends.
need() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    [ ${#missing[@]} = 0 ] || die "install these Debian packages first: apt-get install ${missing[*]}"
}

# wait_for SECONDS WHAT COMMAND...: polls until the command succeeds.
wait_for() {
    local what=$2 end=$((SECONDS + $1))
    shift 2
    until "$@" 2>/dev/null; do
        [ "$SECONDS" -lt "$end" ] || die "$what did not happen in time; see $work"
        sleep 0.02
    done
}

# lib_start [RESULTS]: figures go to that file, or are dropped at the end.
lib_start() {
    [ "$(id -u)" = 0 ] || die "must run as root: it mounts"
    [ -e /dev/fuse ] || die "/dev/fuse is missing; load it with: modprobe fuse"
    work=$(mktemp -d "${TMPDIR:-/tmp}/raftfs-$me.XXXXXX")
    trap lib_end EXIT
    trap 'exit 130' INT TERM
    results=${1:-$work/results.jsonl}
    build=${RAFTFS_BUILD:-$top/build/bench}
    if [ -z "${RAFTFS_BUILD:-}" ]; then
        need gcc:gcc meson:meson ninja:ninja-build
        [ -f "$build/build.ninja" ] ||
            meson setup "$build" "$top" -Dbuildtype=release >"$work/build.log" 2>&1 ||
            die "meson failed: $(tail -n 3 "$work/build.log")"
        ninja -C "$build" >"$work/build.log" 2>&1 ||
            die "the build failed: $(tail -n 20 "$work/build.log")"
    fi
    raftfs=$build/src/raftfs bench_exe=$build/tests/bench/raftfs-bench
    [ -x "$raftfs" ] && [ -x "$bench_exe" ] || die "$build holds no raftfs and raftfs-bench"
    machine >"$results"
}

# one_by_one ARGUMENT...: this script once for each of $parts, with those arguments before it. One that
# fails does not end the others; an interrupt does.
one_by_one() {
    local part one status=0
    for part in "${parts[@]}"; do
        say "== $part"
        one=0
        "$0" "$@" "$part" || one=$?
        [ "$one" -lt 128 ] || exit "$one"
        [ "$one" = 0 ] || status=$one
    done
    return "$status"
}

# peer_versions: of those that are installed.
peer_versions() {
    local name version
    for name in etcd bindfs libraft; do
        case $name in
        etcd) version=$(etcd --version 2>/dev/null | awk 'NR == 1 { print $NF }') ;;
        bindfs) version=$(bindfs --version 2>/dev/null | awk '{ print $NF }') ;;
        libraft) version=$(pkg-config --modversion raft 2>/dev/null) ;;
        esac || true
        [ -z "$version" ] || printf '%s %s, ' "$name" "$version"
    done
}

# machine: what it is and what was measured on it, as the first line of each file of figures.
machine() {
    local disk commit peers
    disk=$(df --output=source,fstype "$work" | awk 'NR == 2 { print $1 " (" $2 ")" }')
    commit=$(git -C "$top" rev-parse --short HEAD 2>/dev/null || echo unknown)
    peers=$(peer_versions)
    cat <<JSON | tr '\n' ' '
{"name":"machine","date":"$(date -u +%Y-%m-%d)","cores":$(nproc),
"cpu":"$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)",
"memory_bytes":$(awk '/^MemTotal/ { printf "%.0f", $2 * 1024 }' /proc/meminfo),
"linux":"$(uname -r)","disk":"$disk","commit":"$commit","peers":"${peers%, }",
"raftfs":"$("$raftfs" --version | awk '{ print $NF }')"}
JSON
    echo
}

lib_end() {
    local status=$? pid
    set +e
    trap '' INT TERM
    for pid in "${node_pid[@]}" "${other_pid[@]}"; do kill "$pid" 2>/dev/null; done
    for pid in "${node_pid[@]}" "${other_pid[@]}"; do end_of "$pid"; done
    for mount in "${mounts[@]}"; do umount -l "$mount" 2>/dev/null; done
    for ns in "${namespaces[@]}"; do ip netns del "$ns"; done
    [ -z "$bridge" ] || ip link del "$bridge"
    case $status in
    0 | 1 | 130) rm -rf "$work" ;; # measured, with or without a bar missed, or interrupted
    *) say "$me: what the processes said is in $work" ;;
    esac
    exit "$status"
}

# is_running PID: any of its threads; the first one may be gone while others still hold its files.
is_running() { grep -qs '^State:.[^ZX]' "/proc/$1"/task/*/status; }
is_gone() { ! is_running "$1"; }

# end_of PID: waits for its end; after 10 s it is killed.
end_of() {
    local n
    for n in $(seq 500); do
        is_running "$1" || return 0
        sleep 0.02
    done
    kill -9 "$1" 2>/dev/null || true
}

# others_stop: all that is no node of raftfs.
others_stop() {
    local pid
    kill "${other_pid[@]}"
    for pid in "${other_pid[@]}"; do end_of "$pid"; done
    other_pid=()
}

# seconds_since START: with three digits; now is in $EPOCHREALTIME's seconds.
seconds_since() { awk "BEGIN { printf \"%.3f\", $EPOCHREALTIME - $1 }"; }

# bench NAME ARGUMENT...: one figure, kept in $results and in $last; said in short.
bench() {
    measure "$@" || die "$1 could not be measured"
}

# try NAME ARGUMENT...: the same, where the next figures do without this one.
try() {
    measure "$@" || say "$1 could not be measured"
}

measure() {
    local name=$1 status=0
    shift
    # In the background, because only `wait` lets a signal through to the trap at once.
    "$bench_exe" --json --name "$name" "$@" >"$work/figure" &
    other_pid[bench]=$!
    wait "${other_pid[bench]}" || status=$?
    unset "other_pid[bench]"
    [ "$status" = 0 ] || return "$status"
    last=$(<"$work/figure")
    last=${last//$work/.} # temporary paths are not for publishing
    printf '%s\n' "$last" >>"$results"
    say "$("$top/tests/bench/figures.py" short <<<"$last")"
}

# value NAME NUMBER: a figure that is no run of the bench.
value() {
    printf '{"name":"%s","value":%s}\n' "$1" "$2" >>"$results"
    say "$(printf '%-28s %s' "$1" "$2")"
}

# field NAME: a number in the last figure's JSON.
field() { sed -E "s/.*\"$1\":([-0-9.]+).*/\1/" <<<"$last"; }

# ---- raftfs ------------------------------------------------------------------------------------

is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# take_port: the next free port is in $free_port.
take_port() {
    until is_free "$port"; do port=$((port + 1)); done
    free_port=$port
    port=$((port + 1))
}

serves() { [ -e "${node_mount[$1]}/.status" ] || is_gone "${node_pid[$1]}"; }
status_of() { sed -n "s/^$2: //p" "${node_mount[$1]}/.status"; }
has_quorum() { grep -q "^quorum: yes $2/$2" "${node_mount[$1]}/.status"; }
leader_seen_by() { cut -d' ' -f1 "${node_mount[$1]}/.leader"; }
sees_leader() { [ -n "$(leader_seen_by "$1")" ]; }

# node_argv NAME OPTION...: its command line is in $argv; what it says goes to its log.
node_argv() {
    local name=$1
    shift
    argv=(sh -c 'exec "$@" >>"$0" 2>&1' "$work/$name.log" "$raftfs" -f -id "$name"
        -addr "${node_addr[$name]}" -data "$work/$name.data" "$@" "${node_mount[$name]}")
    [ -z "${node_netns[$name]:-}" ] ||
        argv=(nsenter "--net=/run/netns/${node_netns[$name]}" "${argv[@]}")
}

# node_start NAME OPTION...: at node_addr[NAME], or a free port; returns once it serves.
node_start() {
    local name=$1
    shift
    if [ -z "${node_addr[$name]:-}" ]; then
        take_port
        node_addr[$name]=127.0.0.1:$free_port
    fi
    if [ -z "${node_mount[$name]:-}" ]; then
        node_mount[$name]=$work/$name
        mounts+=("$work/$name")
        mkdir "$work/$name"
    fi
    node_argv "$name" "$@"
    "${argv[@]}" &
    node_pid[$name]=$!
    disown # a shell tells of a killed child of its own
    wait_for 60 "the start of $name" serves "$name"
    is_running "${node_pid[$name]}" || die "$name did not start: $(tail -n 1 "$work/$name.log")"
}

node_kill() {
    kill -9 "${node_pid[$1]}"
    end_of "${node_pid[$1]}"
}

node_stop() {
    kill "${node_pid[$1]}"
    end_of "${node_pid[$1]}"
    unset "node_pid[$1]"
}

# wait_whole NODE...: until each of them sees a leader and all of them.
wait_whole() {
    local name
    for name in "$@"; do
        wait_for 60 "a quorum for $name" has_quorum "$name" $#
        wait_for 60 "a leader for $name" sees_leader "$name"
    done
}

# cluster_start NODE...: the first founds it, the others join.
cluster_start() {
    local name
    node_start "$1"
    for name in "${@:2}"; do node_start "$name" -join "${node_addr[$1]}"; done
    wait_whole "$@"
}

cluster_stop() {
    local name
    for name in "$@"; do node_stop "$name"; done
    for name in "$@"; do rm -rf "$work/$name.data"; done
}

# roles NODE...: $leader is the one that leads, ${followers[@]} are the others.
roles() {
    local name
    wait_for 60 "a leader" sees_leader "$1"
    leader=$(leader_seen_by "$1")
    followers=()
    for name in "$@"; do [ "$name" = "$leader" ] || followers+=("$name"); done
}

# lead NODE ALL...: makes that one lead.
lead() {
    wait_for 60 "a quorum for $1" has_quorum "$1" $(($# - 1))
    echo "$1" >"${node_mount[$1]}/.leader"
    roles "${@:2}"
}

# pids_of NODE...: their pids, with commas.
pids_of() {
    local name list=
    for name in "$@"; do list+=,${node_pid[$name]}; done
    echo "${list#,}"
}

# mounts_of NODE...: their mounts are in ${at[@]}.
mounts_of() {
    local name
    at=()
    for name in "$@"; do at+=("${node_mount[$name]}"); done
}

# net_start NODE...: gives each a network namespace on a bridge; pull and plug take it off and on.
net_start() {
    need ip:iproute2 nsenter:util-linux
    local name i=0 tag=b$(($$ % 100000))
    bridge=${tag}br
    ip link add "$bridge" type bridge
    ip link set "$bridge" up
    for name in "$@"; do
        i=$((i + 1))
        ip netns add "${tag}n$i"
        namespaces+=("${tag}n$i")
        ip link add "${tag}v$i" type veth peer name eth0 netns "${tag}n$i"
        ip link set "${tag}v$i" master "$bridge" up
        ip -n "${tag}n$i" addr add "10.231.78.$i/24" dev eth0
        ip -n "${tag}n$i" link set eth0 up
        ip -n "${tag}n$i" link set lo up
        node_netns[$name]=${tag}n$i
        node_addr[$name]=10.231.78.$i:8001
        link_of[$name]=${tag}v$i
    done
}
declare -A link_of

# ---- Peers -------------------------------------------------------------------------------------

declare -A etcd_client etcd_peer

# etcd_start: three nodes; $etcd_leader and $etcd_follower are addresses of two of them.
etcd_start() {
    need etcd:etcd-server etcdctl:etcd-client
    local i
    etcd_all='' etcd_peers=''
    for i in 1 2 3; do
        take_port
        etcd_peer[$i]=127.0.0.1:$free_port
        take_port
        etcd_client[$i]=127.0.0.1:$free_port
        etcd_peers+=,e$i=http://${etcd_peer[$i]}
        etcd_all+=,${etcd_client[$i]}
    done
    etcd_all=${etcd_all#,}
    for i in 1 2 3; do etcd_node "$i"; done
    wait_for 60 "etcd's election" etcd_roles "$etcd_all"
}

# etcd_node N: starts it, for the first time or again.
etcd_node() {
    etcd --name "e$1" --data-dir "$work/etcd$1" --initial-cluster "${etcd_peers#,}" \
        --listen-client-urls "http://${etcd_client[$1]}" \
        --advertise-client-urls "http://${etcd_client[$1]}" \
        --listen-peer-urls "http://${etcd_peer[$1]}" \
        --initial-advertise-peer-urls "http://${etcd_peer[$1]}" \
        --logger zap --log-level error >>"$work/etcd$1.log" 2>&1 &
    other_pid[etcd$1]=$!
    disown
}

# etcd_at ADDRESS: the number of the node whose clients' address that is.
etcd_at() {
    local i
    for i in "${!etcd_client[@]}"; do
        [ "${etcd_client[$i]}" != "$1" ] || echo "$i"
    done
}

etcd_answers() { "$bench_exe" get --local -n 1 -w 0 --keys 1 "etcd:${etcd_client[$1]}" >/dev/null 2>&1; }

etcd_roles() {
    local list
    list=$(ETCDCTL_API=3 etcdctl --endpoints "$1" endpoint status)
    etcd_leader=$(sed -n 's/^\([^,]*\),.*, true, false, .*/\1/p' <<<"$list")
    etcd_follower=$(sed -n 's/^\([^,]*\),.*, false, false, .*/\1/p' <<<"$list" | head -n 1)
    [ -n "$etcd_leader" ] && [ -n "$etcd_follower" ]
}

# libraft_start: three servers; $libraft is the bench's name for them.
libraft_start() {
    local server=$build/tests/bench/libraft-server base i
    [ -x "$server" ] || die "install this Debian package first: apt-get install libraft-dev;" \
        "then remove $build, or configure it anew"
    take_port
    base=$free_port port=$((port + 20))
    for i in 1 2 3; do
        mkdir "$work/libraft$i"
        "$server" "$work/libraft$i" "$i" "$base" >"$work/libraft$i.log" 2>&1 &
        other_pid[libraft$i]=$!
        disown
    done
    libraft=raft:$((base + 11)),$((base + 12)),$((base + 13))
}

# bindfs_start: a passthrough of $work/bindfs.ext4 at $work/bindfs.
bindfs_start() {
    need bindfs:bindfs
    mkdir "$work/bindfs" "$work/bindfs.ext4"
    mounts+=("$work/bindfs")
    bindfs -f "$work/bindfs.ext4" "$work/bindfs" >"$work/bindfs.log" 2>&1 &
    other_pid[bindfs]=$!
    disown
    wait_for 20 "the mount of bindfs" mountpoint -q "$work/bindfs"
}
