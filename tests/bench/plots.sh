#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# plots.sh - figures as SVG, by gnuplot. To be sourced after lib.sh, or run: plots.sh FUNCTION ARGUMENT...
# Samples are raftfs-bench's.

blue=#0072b2 red=#d55e00 green=#009e73 grey=#999999

# plot FILE HEIGHT: standard input is the script; size, fonts and grid are the same for all.
plot() {
    local file=$1 height=$2
    {
        cat <<GP
set terminal svg size 840,$height font "sans-serif,14" background "#ffffff"
set output "$file"
set datafile separator "\t"
set grid lc rgb "#dddddd"
set border 3 lc rgb "#444444"
set tics nomirror
set key top left Left reverse samplen 2
GP
        cat
    } | gnuplot
}

# plot_distribution FILE SAMPLES TITLE: how many took how long, and what share took no longer.
plot_distribution() {
    local sorted=$work/sorted.tsv total
    cut -f2 "$2" | sort -n >"$sorted"
    total=$(wc -l <"$sorted")
    plot "$1" 380 <<GP
set title "$3"
set xlabel "microseconds"
set ylabel "writes"
set y2label "share that took no longer"
set y2tics 0, 0.25, 1
set yrange [0:*]
set y2range [0:1]
set border 11
stats "$sorted" using 1 nooutput
set xrange [0:STATS_up_quartile * 3]
width = ceil(STATS_up_quartile * 3 / 60.0)
bin(x) = width * floor(x / width) + width / 2.0
set boxwidth width * 0.9
set style fill solid 0.6 noborder
set key center right
plot "$sorted" using (bin(\$1)):(1) smooth frequency with boxes lc rgb "$blue" title "writes", \
     "$sorted" using 1:((\$0 + 1) / $total.0) axes x1y2 with lines lw 2 lc rgb "$red" title "share"
GP
}

# plot_over_time FILE SAMPLES TITLE: each operation, a dot.
plot_over_time() {
    plot "$1" 340 <<GP
set title "$3"
set xlabel "seconds"
set ylabel "microseconds"
set logscale y
stats "$2" using 1 nooutput
plot "$2" using (\$1 - STATS_min):2 with points pt 7 ps 0.3 lc rgb "$blue" notitle
GP
}

# plot_curves [-y] FILE TITLE XLABEL YLABEL DATA COLUMN:NAME...: against the first column, which is
# on a log scale, with a tick at each of its values; -y: the others are on one, too.
plot_curves() {
    local scale="set yrange [0:*]"
    if [ "$1" = -y ]; then
        scale="set logscale y; set format y '%g'"
        shift
    fi
    local file=$1 title=$2 x=$3 y=$4 data=$5 curves= curve i=0
    local colours=("$blue" "$red" "$green" "$grey")
    shift 5
    for curve in "$@"; do
        curves+="${curves:+, }\"$data\" using 1:${curve%%:*}:xtic(gprintf('%.0s%c', \$1)) with linespoints pt 7 ps 0.6 lw 2"
        curves+=" lc rgb \"${colours[i++ % 4]}\" title \"${curve#*:}\""
    done
    plot "$file" 360 <<GP
set title "$title"
set xlabel "$x"
set ylabel "$y"
set logscale x
set autoscale xfix
set key outside bottom center horizontal Left reverse
set offsets graph 0.02, graph 0.02, 0, 0
$scale
plot $curves
GP
}

# plot_bars FILE TITLE YLABEL DATA NAME...: a group of bars for each line, of which the first column is
# the label and the others belong to the NAMEs.
plot_bars() {
    local file=$1 title=$2 y=$3 data=$4 bars= name i=0
    local colours=("$blue" "$red" "$green" "$grey")
    shift 4
    for name in "$@"; do
        bars+="${bars:+, }\"$data\" using $((i + 2)):xtic(1) lc rgb \"${colours[i++ % 4]}\" title \"$name\""
    done
    plot "$file" 360 <<GP
set title "$title"
set ylabel "$y"
set yrange [0:*]
set style data histogram
set style histogram clustered gap 1
set style fill solid 0.8 noborder
set key outside bottom center horizontal Left reverse
plot $bars
GP
}

[ "${BASH_SOURCE[0]}" != "$0" ] || "$@"
