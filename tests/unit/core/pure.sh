#!/bin/sh
# SPDX-License-Identifier: MIT
# pure.sh LIBRARY - fails if the core reaches for a clock, the heap, the disk or the network.
set -eu

allowed='memcpy memmove memset memcmp memchr strlen strcmp __assert_fail __stack_chk_fail'
defined=$(nm --defined-only "$1" | awk 'NF == 3 {print $3}')
imported=$(nm --undefined-only "$1" | awk '$1 == "U" {print $2}' | sort -u)
[ -n "$defined" ] && [ -n "$imported" ] || { echo "no symbols in $1"; exit 1; }

status=0
for symbol in $imported; do
    case " $allowed " in *" $symbol "*) continue ;; esac
    echo "$defined" | grep -qx "$symbol" && continue
    echo "the core imports $symbol: pass what it needs in an event instead"
    status=1
done
exit $status
