#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# poc-report.sh [OUTDIR] - the proof of concept's report, filled in by a real run.
#
# The form asks for four scenarios (election, replication, failover, snapshot and restore), two
# measurements (latency of 1,000 sequential writes, replication lag), seven success criteria and a
# decision. This starts a fresh cluster of three on this machine, does all of that, and writes
# report.md, report.html (one self-contained page) and the plots to OUTDIR (./poc-report).
# Nothing is ticked that was not measured; exit status 1 means that the decision is no-go.
source "$(dirname "${BASH_SOURCE[0]}")/../tests/bench/lib.sh"
source "$top/tests/bench/plots.sh"
out=$(mkdir -p "${1:-poc-report}" && cd "${1:-poc-report}" && pwd)
need python3:python3 gnuplot:gnuplot-nox awk:mawk
lib_start
nodes=(node1 node2 node3)
keys=10000

below() { awk "BEGIN { exit !($1 < $2) }"; }
verdict() { if "$@"; then echo pass; else echo FAIL; fi; }
round() { printf '%.0f' "$1"; }
ms() { awk "BEGIN { printf \"%.2f\", $1 / 1000 }"; }
value_at() { cat "${node_mount[$1]}/$2"; }
has_value() { [ "$(value_at "$1" "$2")" = "$3" ]; }

# transcript COMMAND: as it would be typed, and what it says; mounts are shown without $work.
transcript() {
    echo "\$ $*"
    (cd "$work" && eval "$*" 2>&1) | sed "s|$work/||g"
}

# ---- The scenarios: each leaves its result, its time and what was observed ----------------------

scenario_election() {
    local start=$EPOCHREALTIME leaders
    say "-- scenario 1: leader election"
    cluster_start "${nodes[@]}"
    election_s=$(seconds_since "$start")
    roles "${nodes[@]}"
    mounts_of "${nodes[@]}"
    leaders=$(cat "${at[@]/%//.status}" | grep -c '^state: leader')
    election_result=$(verdict test "$leaders" = 1)
    election_observed=$(
        transcript "grep -E '^(state|term|leader|quorum)' node?/.status"
    )
}

scenario_replication() {
    local start other=${followers[0]}
    say "-- scenario 2: log replication"
    start=$EPOCHREALTIME
    echo test-value >"${node_mount[$leader]}/test-key"
    wait_for 10 "the value on $other" has_value "$other" .raft/local/test-key test-value
    replication_s=$(seconds_since "$start")
    replication_result=$(verdict below "$replication_s" 1)
    replication_observed=$(
        transcript "echo test-value > $leader/test-key"
        transcript "cat $other/.raft/local/test-key    # $other's own state machine, asking nobody"
        transcript "cat ${followers[1]}/test-key"
    )
}

# A writer on a follower goes on throughout, so that what its clients meet can be seen.
scenario_failover() {
    local old=$leader writer
    say "-- scenario 3: leader failover"
    "$bench_exe" put "${node_mount[${followers[0]}]}" -w 0 -t 4 --samples "$work/writer.tsv" \
        >"$work/writer.txt" 2>&1 &
    writer=$!
    mounts_of "${followers[@]}"
    "$top/tests/bench/election.py" "${node_pid[$leader]}" "$leader" "${at[@]}" >"$work/election.tsv"
    wait "$writer" || true
    writer_errors=$(sed -n 's/^ *\([0-9]*\) failed: /\1 /p' "$work/writer.txt")
    end_of "${node_pid[$old]}"
    elected_ms=$(awk '$1 > 0 && $3 == "leader" { print $1; exit }' "$work/election.tsv")
    roles "${followers[0]}" "${followers[1]}"
    failover_observed=$(
        echo "\$ kill -9 \$(pidof $old)    # milliseconds since, node, state, term, leader"
        grep -v ^kill "$work/election.tsv" | awk '$1 > 0' | column -t -s $'\t'
        transcript "cat $leader/.leader"
        transcript "echo written-without-$old > $leader/test-key"
        transcript "cat $leader/test-key"
    )
    node_start "$old"
    wait_whole "${nodes[@]}"
    failover_observed+=$'\n'$(
        echo "# $old is started again"
        transcript "cat $old/.raft/local/test-key"
    )
    failover_by_kill
}

# Then ten more, for the figure: from the kill to the next write that succeeds.
failover_by_kill() {
    local n
    for n in $(seq 10); do
        wait_whole "${nodes[@]}"
        roles "${nodes[@]}"
        mounts_of "${followers[@]}"
        bench failover failover --kill "${node_pid[$leader]}" "${at[@]}"
        end_of "${node_pid[$leader]}"
        node_start "$leader"
    done
    wait_whole "${nodes[@]}"
    roles "${nodes[@]}"
    read -r failover_median_s failover_max_s < <(
        sed -n 's/.*"name":"failover".*"seconds":\([0-9.]*\).*/\1/p' "$results" | sort -n |
            awk '{ t[NR] = $1 } END { printf "%.3f %.3f\n", (t[5] + t[6]) / 2, t[NR] }'
    )
    failover_result=$(verdict below "$failover_max_s" 10)
}

has_snapshot() { [ "$(status_of "$1" snapshot_index)" -ge "$2" ]; }
same_state() { [ "$(state_of "$1")" = "$(state_of "$2")" ]; }
state_of() { status_of "$1" applied_index; status_of "$1" fingerprint; }
keys_on() { ls "${node_mount[$1]}" | grep -c '^k[0-9]'; }

scenario_snapshot() {
    local index victim=${followers[0]} name
    say "-- scenario 4: snapshot and restore"
    index=$(status_of "$leader" last_index)
    bench keys fill --keys $keys -c 16 "${node_mount[$leader]}"
    for name in "${nodes[@]}"; do
        wait_for 60 "a snapshot of $name" has_snapshot "$name" 1
    done
    snapshot_observed=$(
        transcript "ls -l $victim.data/snapshots"
        transcript "cat $victim/.raft/snapshot"
    )
    restart_observed=$(restart_after_kill "$victim" "$index")
    restore_after_loss "$victim"
    snapshot_result=$(verdict test "$restored_keys $restored_same $restored_from" = \
        "$keys yes a snapshot")
}

# restart_after_kill NODE: its data comes from its database and from the log behind that.
restart_after_kill() {
    node_kill "$1"
    node_argv "$1"
    bench restart restart "${node_mount[$1]}" -- "${argv[@]}"
    node_pid[$1]=$(field started_pid)
    wait_whole "${nodes[@]}" >&2
    echo "# $1 is killed and started again; it serves after $(field seconds) s"
    transcript "ls $1/.raft/local | grep -c '^k[0-9]'"
    echo "${node_pid[$1]}" >"$work/restarted.pid"
}

# restore_after_loss NODE: its directory is lost, and the log no longer goes back to the beginning.
restore_after_loss() {
    local start
    node_pid[$1]=$(cat "$work/restarted.pid")
    node_kill "$1"
    rm -rf "$work/$1.data"
    say "   $1 has lost its directory; the others write on, and cut their logs"
    roles "$leader"
    bench overwrite put --keys $keys -n 25000 -c 64 "${node_mount[$leader]}"
    : >"$work/$1.log"
    start=$EPOCHREALTIME
    node_start "$1" -join "${node_addr[$leader]}"
    wait_whole "${nodes[@]}"
    wait_for 60 "the state of $1" same_state "$1" "$leader"
    restore_s=$(seconds_since "$start")
    restored_keys=$(keys_on "$1")
    restored_same=$(same_state "$1" "$leader" && echo yes || echo no)
    restore_log=$(sed "s|$work/||g" "$work/$1.log")
    restored_from=$(grep -q "the snapshot of entry .* is installed" "$work/$1.log" &&
        echo a snapshot || echo the log)
    restore_observed=$(
        echo "# $1 starts with an empty directory and -join; what it says:"
        echo "$restore_log"
        transcript "ls $1/.raft/local | grep -c '^k[0-9]'"
        transcript "grep -E '^(applied_index|snapshot_index|fingerprint)' $1/.status $leader/.status"
    )
}

# ---- The measurements ---------------------------------------------------------------------------

measurements() {
    local n
    say "-- measurements"
    roles "${nodes[@]}"
    bench fdatasync put "disk:$work" -n 1000
    fdatasync_us=$(field p50_us)
    bench tcp put tcp: -n 5000
    tcp_us=$(field p50_us)
    bench writes put --new "${node_mount[$leader]}" -n 1000 --samples "$work/writes.tsv"
    write_mean=$(field mean_us) write_p50=$(field p50_us) write_p95=$(field p95_us)
    write_p99=$(field p99_us) write_max=$(field max_us)
    bench lag lag "${node_mount[$leader]}" "${node_mount[${followers[0]}]}" -n 1000
    lag_mean=$(field mean_us) lag_max=$(field max_us) lag_p99=$(field p99_us)
    : >"$work/writers.tsv"
    for n in 1 2 4 8 16 32 64 128 256; do
        bench "writers-$n" put "${node_mount[$leader]}" -c "$n" -t 2 -w 2
        printf '%s\t%s\t%s\n' "$n" "$(field ops_per_s)" "$(field p99_us)" >>"$work/writers.tsv"
    done
}

# ---- The plots ----------------------------------------------------------------------------------

# Each node's states as bars, and a client's writes as dots, around the kill.
plot_election() {
    local span kill rows=$work/rows.tsv row=0 name tics=
    span=$(awk "BEGIN { s = 3 * $elected_ms; print s < 60 ? 60 : s }")
    kill=$(awk '$1 == "kill" { print $2 }' "$work/election.tsv")
    : >"$rows"
    for name in "${old_leader}" "${survivors[@]}"; do
        row=$((row + 1)) tics+="${tics:+, }\"$name\" -$row"
        if [ "$name" = "$old_leader" ]; then
            printf '%s\t0\t%s\tleader\n' "-$span" "-$row" >>"$rows"
            continue
        fi
        grep -P "\t$name\t" "$work/election.tsv" | awk -F '\t' -v end="$span" -v row="-$row" '
            NR > 1 { print from "\t" $1 "\t" row "\t" state }
            { from = $1 < -end ? -end : $1; state = $3 }
            END { print from "\t" end "\t" row "\t" state }' OFS='\t' >>"$rows"
    done
    awk -v kill="$kill" '{ print ($1 - kill) * 1000 "\t" $2 / 1000 }' "$work/writer.tsv" \
        >"$work/election-writes.tsv"
    plot "$out/election.svg" 480 <<GP
set multiplot layout 2,1 title "The leader, $old_leader, is killed at 0"
set xrange [-$span:$span]
set format x ""
set arrow from 0, graph 0 to 0, graph 1 nohead lc rgb "$red" dt 2 lw 2
set lmargin 10
set yrange [-3.7:0.2]
set ytics ($tics)
set key outside bottom center horizontal Left reverse
set tmargin 2
state(name) = sprintf("< awk -F '\\\\t' '\$4 == \"%s\"' '$rows'", name)
plot state("follower") using 1:3:(\$2-\$1):(0) with vectors nohead lw 12 lc rgb "$grey" title "follower", \
     state("candidate") using 1:3:(\$2-\$1):(0) with vectors nohead lw 12 lc rgb "$red" title "candidate", \
     state("leader") using 1:3:(\$2-\$1):(0) with vectors nohead lw 12 lc rgb "$blue" title "leader"
set yrange [0:*]
set ytics auto
set format x
set xlabel "milliseconds since the kill"
set ylabel "a write's ms"
set key inside top left
plot "$work/election-writes.tsv" using 1:2 with points pt 7 ps 0.4 lc rgb "$blue" title "writes through ${survivors[0]}, each at its start"
GP
}

plots() {
    plot_distribution "$out/latency.svg" "$work/writes.tsv" "1,000 sequential writes: latency"
    plot_over_time "$out/latency-over-time.svg" "$work/writes.tsv" "The same, one after the other"
    plot_curves "$out/writers.svg" "Writers on distinct keys, through the leader" "writers" \
        "writes/s" "$work/writers.tsv" 2:"writes/s"
    plot_election
}

# ---- The report ---------------------------------------------------------------------------------

met=0
failed=()
# criterion WHAT FIGURE CONDITION...: a line with a box, ticked if the condition holds.
criterion() {
    local what=$1 figure=$2
    shift 2
    if "$@"; then
        criteria+="- [x] $what: $figure"$'\n' met=$((met + 1))
    else
        criteria+="- [ ] $what: $figure"$'\n'
        failed+=("$what")
    fi
}

decide() {
    criteria=
    criterion "The 3-node cluster forms" "in $election_s s" test "$election_result" = pass
    criterion "One node leads" "one leader, two followers" test "$election_result" = pass
    criterion "Writes reach the followers" "in $replication_s s, by a look at the follower alone" \
        test "$replication_result" = pass
    criterion "Failover in under 10 s" "at most $failover_max_s s of ten" \
        test "$failover_result" = pass
    criterion "Snapshots are made and restored" \
        "$restored_keys of $keys keys after the loss of a directory, from $restored_from" \
        test "$snapshot_result" = pass
    criterion "Write latency acceptable (p95 < 10 ms)" "p95 $(ms "$write_p95") ms" \
        below "$write_p95" 10000
    # By p99: one stall of a shared disk is no lag of replication. Mean and max are told beside.
    criterion "Replication lag acceptable (< 100 ms)" \
        "mean $(ms "$lag_mean") ms, p99 $(ms "$lag_p99") ms, max $(ms "$lag_max") ms" \
        below "$lag_p99" 100000
    decision=GO
    rationale="All seven criteria are met by what this run measured."
    if [ ${#failed[@]} -gt 0 ]; then
        decision=NO-GO
        rationale="$met of 7 criteria are met. Not met: $(printf '%s; ' "${failed[@]}")"
        rationale=${rationale%; }.
    fi
}

issues() {
    local said
    said=$(cat "$work"/node?.log | grep -vE 'serves|is a member|stops|leads|snapshot' |
        sed "s|$work/||g" | sort | uniq -c | sort -rn | head -n 10 || true)
    if [ -n "${writer_errors:-}" ]; then
        echo "- The writer that went on during the failover met errors: $writer_errors."
    else
        echo "- The writer that went on during the failover met no error: one write took longer."
    fi
    if below "$(awk "BEGIN { print 10 * $failover_median_s }")" "$failover_max_s"; then
        echo "- One of the ten failovers took $failover_max_s s, the median $failover_median_s s: when two"
        echo "  candidates split the votes, an election timeout passes before the next try."
    fi
    if [ -n "$said" ]; then
        printf -- '- The nodes said, besides starting and stopping:\n\n```\n%s\n```\n' "$said"
    else
        echo "- The nodes had nothing else to say."
    fi
}

fence() { printf '```\n%s\n```\n' "$1"; }

write_report() {
    cat <<MD
# Raft for the control plane: the proof of concept's report

Written by \`examples/poc-report.sh\` from one run on $(date -u +%Y-%m-%d): raftfs
$("$raftfs" --version | awk '{ print $NF }'), three nodes and their clients on one machine
($(nproc) cores, Linux $(uname -r | cut -d- -f1)). Its limits in the same run: an fdatasync of
4 KiB $(round "$fdatasync_us") us, a round trip over loopback TCP $(round "$tcp_us") us (medians).

**Decision: $decision.** $rationale

| | expected | result | figure |
| --- | --- | --- | --- |
| 1. Leader election | one leader, the others followers | $election_result | $election_s s |
| 2. Log replication | a follower has it within 1 s | $replication_result | $replication_s s |
| 3. Leader failover | a new leader within 10 s | $failover_result | median $failover_median_s s, max $failover_max_s s |
| 4. Snapshot and restore | 10,000 keys back from a snapshot | $snapshot_result | $restored_keys keys in $restore_s s |
| Write latency | p95 under 10 ms | $(verdict below "$write_p95" 10000) | p95 $(ms "$write_p95") ms |
| Replication lag | under 100 ms | $(verdict below "$lag_p99" 100000) | mean $(ms "$lag_mean") ms, p99 $(ms "$lag_p99") ms, max $(ms "$lag_max") ms |

## Scenario 1: leader election

Expected: of three nodes one becomes leader, the others follow it. The cluster is started by the
three commands of the proof of concept; node2 and node3 join by themselves.

Result: **$election_result**, $election_s s from the first command until every node saw all three.

$(fence "$election_observed")

## Scenario 2: log replication

Expected: test-key=test-value, set through the leader, is in a follower's state machine within 1 s.

Result: **$replication_result**, $replication_s s, the shell's own time included.

$(fence "$replication_observed")

## Scenario 3: leader failover

Expected: the leader is killed; another leads within 10 s; the cluster serves.

Result: **$failover_result**. In the run shown, another node led $(round "$elected_ms") ms after kill -9.
Ten more, each from the kill to the next successful write: median $failover_median_s s, longest
$failover_max_s s.

$(fence "$failover_observed")

![The states of the nodes around the kill, and a client's writes](election.svg)

## Scenario 4: snapshot and restore

Expected: after 10,000 writes a snapshot is there; a node that starts again has its data from it.

Result: **$snapshot_result**. The snapshot is one SQLite file:

$(fence "$snapshot_observed")

A node that is killed needs no snapshot: its database is on its disk, and the log has the rest.

$(fence "$restart_observed")

So the harder case as well: its whole directory is lost, and meanwhile the others have written on
until their logs no longer reach back. It was restored from $restored_from in $restore_s s.

$(fence "$restore_observed")

## Write latency

1,000 sequential writes of 16 bytes through the leader, a new key each:

| mean | p50 | p95 | p99 | max |
| ---: | ---: | ---: | ---: | ---: |
| $(ms "$write_mean") ms | $(ms "$write_p50") ms | $(ms "$write_p95") ms | $(ms "$write_p99") ms | $(ms "$write_max") ms |

![Distribution of the latency](latency.svg)

![Latency over time](latency-over-time.svg)

![Throughput by number of writers](writers.svg)

## Replication lag

1,000 writes through the leader; after each returned, a follower's own replica was read until it had
the value. The figure includes that read.

| mean | p99 | max |
| ---: | ---: | ---: |
| $(ms "$lag_mean") ms | $(ms "$lag_p99") ms | $(ms "$lag_max") ms |

## Success criteria

$criteria
## Decision

**$decision.** $rationale

## Issues discovered

$(issues)

## Recommendations

- Configuration: the defaults. Data directories on a disk whose fdatasync is fast and honest: a
  write costs one on a majority of the nodes.
- Timeouts: heartbeats every 100 ms and an election timeout of 700 ms suit one data centre. A killed
  process is noticed by its broken connections, so the timeout matters only for lost power and
  networks. \`-o timeout=5\` is how long a client waits for a quorum before it gets an error.
- Quorum: three voters survive one loss, five survive two; four no more than three. More
  readers join with \`-nonvoter\` and cost no vote.
- Joining: start a node with \`-join\` and any member's address; no call on the leader is needed. A
  node that lost its directory comes back the same way, under its old name.
MD
}

scenario_election
scenario_replication
scenario_failover
old_leader=$(awk -F '\t' '$1 < 0 { print $5; exit }' "$work/election.tsv")
survivors=($(awk -F '\t' '$1 != "kill" { print $2 }' "$work/election.tsv" | sort -u))
scenario_snapshot
measurements
plots
decide
write_report >"$out/report.md"
"$top/tests/bench/page.py" "$out/report.md" "$out/report.html"
say "$decision: $out/report.md, $out/report.html"
[ "$decision" = GO ]
