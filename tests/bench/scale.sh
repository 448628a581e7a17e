#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# scale.sh [OUTDIR] - what an operation costs as keys, values, members and writers grow.
#
# Four series, each on a fresh cluster: 1,000 to 1,000,000 keys in one directory (RAFTFS_BENCH_MAX_KEYS
# bounds it), values of 16 B to 1 MiB, 1 to 7 members, 1 to 1,000 writers. Writes OUTDIR/performance.md
# with a table and a plot for each (plots in OUTDIR/performance/) and scale.jsonl beside the plots;
# OUTDIR is the current directory. What compare.sh and snapshots.sh have left beside the plots (a section
# each) is taken in.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$top/tests/bench/plots.sh"
out=$(mkdir -p "${1:-.}/performance" && cd "${1:-.}" && pwd)
max_keys=${RAFTFS_BENCH_MAX_KEYS:-1000000}
need gnuplot:gnuplot-nox awk:mawk
lib_start
nodes=(s1 s2 s3)

ms() { awk "BEGIN { printf \"%.2f\", $1 / 1000 }"; }
mb() { awk "BEGIN { printf \"%.0f\", $1 / 1000000 }"; }
kb() { awk "BEGIN { printf \"%.1f\", $1 / 1000 }"; }
whole() { printf '%.0f' "$1"; }
three() { printf '%.3f' "$1"; }

# of_nodes FIELD: added up over the processes of the last figure.
of_nodes() {
    grep -o "\"$1\":[0-9.]*" <<<"$last" | awk -F: '{ sum += $2 } END { printf "%.0f", sum }'
}
# largest FIELD: of the processes of the last figure.
largest() {
    grep -o "\"$1\":[0-9.]*" <<<"$last" | awk -F: '$2 > max { max = $2 } END { printf "%.0f", max }'
}

# start NODE...: a fresh cluster; the first leads, $mount is its mount, $uses measures all.
start() {
    nodes=("$@")
    cluster_start "${nodes[@]}"
    [ $# = 1 ] || lead "$1" "${nodes[@]}"
    mount=${node_mount[$1]}
    uses=(--pids "$(pids_of "${nodes[@]}")" --disk "$work")
}

# row FILE FIELD...: a line of a table of numbers.
row() {
    local file=$work/$1
    shift
    (IFS=$'\t'; printf '%s\n' "$*") >>"$file"
}

# table FILE HEAD...: that as Markdown.
table() {
    local file=$work/$1 head
    shift
    printf '|'; for head in "$@"; do printf ' %s |' "$head"; done; echo
    printf '|'; for head in "$@"; do printf ' ---: |'; done; echo
    awk -F '\t' '{ printf "|"; for (i = 1; i <= NF; i++) printf " %s |", $i; print "" }' "$file"
}

seconds_of() {
    local start=$EPOCHREALTIME
    "$@" >/dev/null
    awk "BEGIN { printf \"%.2f\", $EPOCHREALTIME - $start }"
}
take_snapshot() { echo >"${node_mount[$1]}/.raft/snapshot"; }

by_keys() {
    local n from=0 put put99 new get stat cpu disk rss snapshot restart list
    say "-- keys"
    start s1 s2 s3
    for n in 1000 10000 100000 1000000; do
        [ "$n" -le "$max_keys" ] || break
        bench "keys-$n-fill" fill --keys "$n" --from "$from" -c 64 "$mount"
        from=$n
        bench "keys-$n-put" put --keys "$n" -n 2000 "${uses[@]}" "$mount"
        put=$(field p50_us) put99=$(field p99_us)
        cpu=$(of_nodes cpu_us_per_op) disk=$(field disk_bytes_per_op)
        bench "keys-$n-new" put --new -n 1000 "$mount"
        new=$(field p50_us)
        bench "keys-$n-get" get --keys "$n" -n 2000 "${node_mount[s2]}"
        get=$(field p50_us)
        bench "keys-$n-stat" stat --keys "$n" -n 2000 "${node_mount[s2]}"
        stat=$(field p50_us)
        bench "keys-$n-list" list -n 1 -w 0 "${node_mount[s2]}"
        list=$(three "$(field seconds)")
        snapshot=$(seconds_of take_snapshot s2)
        bench "keys-$n-use" use -t 1 "${uses[@]}"
        rss=$(largest rss_bytes)
        node_kill s3
        node_argv s3
        bench "keys-$n-restart" restart "${node_mount[s3]}" -- "${argv[@]}"
        node_pid[s3]=$(field started_pid)
        restart=$(three "$(field seconds)")
        wait_whole "${nodes[@]}"
        uses=(--pids "$(pids_of "${nodes[@]}")" --disk "$work")
        row keys "$n" "$(whole "$put")" "$(whole "$put99")" "$(whole "$new")" "$(whole "$get")" \
            "$(whole "$stat")" "$cpu" "$(kb "$disk")" "$(mb "$rss")" "$list" "$snapshot" "$restart"
    done
    cluster_stop "${nodes[@]}"
}

by_values() {
    local bytes put put99 get rate disk ext4 n
    say "-- values"
    start s4 s5 s6
    mkdir "$work/ext4"
    for bytes in 16 256 4096 65536 1048576; do
        n=$((bytes > 65536 ? 100 : 1000))
        bench "bytes-$bytes-put" put -b "$bytes" -n "$n" "${uses[@]}" "$mount"
        put=$(field p50_us) put99=$(field p99_us) disk=$(field disk_bytes_per_op)
        bench "bytes-$bytes-get" get -b "$bytes" -n "$n" "${node_mount[s5]}"
        get=$(field p50_us)
        bench "bytes-$bytes-put-8" put -b "$bytes" -c 8 -t 3 "$mount"
        rate=$(field mib_per_s)
        bench "bytes-$bytes-ext4" put --sync -b "$bytes" -n "$n" "$work/ext4"
        ext4=$(field p50_us)
        row values "$bytes" "$(whole "$put")" "$(whole "$put99")" "$(whole "$get")" "$rate" \
            "$(kb "$disk")" "$(whole "$ext4")"
    done
    cluster_stop "${nodes[@]}"
}

by_members() {
    local n put put99 rate cpu busy rss all=() i
    say "-- members"
    for n in 1 2 3 5 7; do
        all=()
        for i in $(seq "$n"); do all+=("m$n$i"); done
        start "${all[@]}"
        bench "members-$n-put" put -n 2000 "${uses[@]}" "$mount"
        put=$(field p50_us) put99=$(field p99_us) cpu=$(of_nodes cpu_us_per_op)
        bench "members-$n-put-64" put -c 64 -t 4 "${uses[@]}" "$mount"
        rate=$(field ops_per_s) busy=$(field busy_cores) rss=$(largest rss_bytes)
        row members "$n" "$(whole "$put")" "$(whole "$put99")" "$cpu" "$(whole "$rate")" "$busy" \
            "$(mb "$rss")"
        cluster_stop "${nodes[@]}"
    done
}

by_writers() {
    local n
    say "-- writers"
    start s7 s8 s9
    for n in 1 2 4 8 16 32 64 128 256 512 1000; do
        bench "writers-$n" put -c "$n" -w 2 -t 4 "${uses[@]}" "$mount"
        row writers "$n" "$(whole "$(field ops_per_s)")" "$(ms "$(field p50_us)")" \
            "$(ms "$(field p99_us)")" "$(of_nodes cpu_us_per_op)" "$(field busy_cores)" \
            "$(kb "$(field disk_bytes_per_op)")"
    done
    cluster_stop "${nodes[@]}"
}

limits() {
    bench fdatasync-1 put "disk:$work" -n 1000
    sync1=$(whole "$(field p50_us)")
    bench fdatasync-3 put "disk:$work" -n 3000 -c 3
    sync3=$(whole "$(field p50_us)")
    bench tcp put tcp: -n 5000
    tcp=$(whole "$(field p50_us)")
    bench fuse put fuse: -n 2000
    fuse=$(whole "$(field p50_us)")
}

plots() {
    local p=$out/performance
    plot_curves "$p/keys.svg" "An operation as keys grow, p50" keys microseconds "$work/keys" \
        2:overwrite 4:"new key" 5:"read on a follower" 6:"stat on a follower"
    plot_curves -y "$p/values.svg" "An operation as values grow, p50" "bytes of a value" \
        microseconds \
        "$work/values" 2:overwrite 4:"read on a follower" 7:"ext4 with fsync"
    plot_curves "$p/members.svg" "A write as members grow" members microseconds "$work/members" \
        2:p50 3:p99
    plot_curves "$p/writers.svg" "Throughput as writers grow" writers "writes/s" "$work/writers" \
        2:"writes/s"
    plot_curves -y "$p/latency.svg" "Latency as writers grow" writers milliseconds "$work/writers" \
        3:p50 4:p99
}

# at FILE ROW COLUMN: a number of a table; row "last" is the last.
at() {
    awk -F '\t' -v row="$2" -v column="$3" \
        '{ value = $column } NR == row { exit } END { print value }' "$work/$1"
}
ratio() { awk "BEGIN { printf \"%.1f\", $1 / $2 }"; }

write_page() {
    cat <<MD
# Performance as things grow

Measured by \`tests/bench/scale.sh\` on $(date -u +%Y-%m-%d): all nodes and all clients on one machine,
$(nproc) cores, Linux $(uname -r | cut -d- -f1). Only ratios carry over to another. Its limits in the
same run, medians: an fdatasync of 4 KiB $sync1 us with one writer and $sync3 us with three at once; a
round trip over loopback TCP $tcp us; open, write and close on an empty FUSE filesystem $fuse us. Times
are in microseconds unless a unit is given; "CPU" adds up all nodes for one operation.

A write by one client waits for two of these in a row, FUSE and a majority's fdatasync, and for the
hops between. A write by many waits for whatever is full first: here that is the cores, which the
nodes share with each other and with the clients.

## Keys

All in one directory. Overwrites, reads and stats are of random keys by one client, reads and stats
linearizable and on a follower.

$(table keys keys overwrite p99 "new key" read stat "CPU" "disk, kB" "RSS, MB" "list, s" "snapshot, s" "restart, s")

![An operation as keys grow](performance/keys.svg)

What bounds it: with $(at keys last 1) keys an overwrite takes
$(ratio "$(at keys last 2)" "$(at keys 1 2)") times, a read $(ratio "$(at keys last 5)" "$(at keys 1 5)")
times what it takes with $(at keys 1 1). The ways into SQLite's trees grow with the
logarithm; what grows faster is what does not fit into its page cache and has to be read again. Memory
is bounded by that cache, not by the state. A listing and a snapshot are linear in the keys; a restart
is not, as it opens the database where it was.

## Values

One client; the rate is eight clients'. Beside it the same write with fsync on the local ext4.

$(table values bytes overwrite p99 read "MiB/s" "disk, kB" "ext4+fsync")

![An operation as values grow](performance/values.svg)

What bounds it: up to a few KiB the fixed cost. Beyond, bytes: on this machine each value is written to
one disk by three logs and three databases, so $(at values last 1) bytes become
$(ratio "$(at values last 6)" "$(awk "BEGIN { print $(at values last 1) / 1000 }")") times as many. A value
of 1 MiB is two commands: one write(2) takes up to 1,044,480 bytes.

## Members

$(table members members "one writer" p99 "CPU" "64 writers, /s" "cores busy" "RSS, MB")

![A write as members grow](performance/members.svg)

What bounds it: with one member there is no network. From two on, one round trip and the median disk of
a majority; each further member costs the leader one more message, and this machine, which has them
all, one more log, database and share of its cores and its disk. On machines of their own only the
leader's part would grow.

## Writers

Each on a key of its own, through the leader's mount.

$(table writers writers "writes/s" "p50, ms" "p99, ms" "CPU" "cores busy" "disk, kB")

![Throughput as writers grow](performance/writers.svg)

![Latency as writers grow](performance/latency.svg)

What bounds it: with few writers each waits for its own fdatasyncs; then what arrives during one shares
the next (group commit), and CPU and disk per write fall until $(at writers last 6) of $(nproc) cores
are busy with $(at writers last 1) writers. From there on more writers only wait longer.
MD
    for section in snapshots compare; do
        [ ! -f "$out/performance/$section.md" ] || (echo && cat "$out/performance/$section.md")
    done
}

limits
by_keys
by_values
by_members
by_writers
plots
cp "$results" "$out/performance/scale.jsonl"
write_page >"$out/performance.md"
say "$out/performance.md"
