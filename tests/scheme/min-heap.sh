#!/bin/sh
# Finds a program's minimum heap: sh min-heap.sh BINARY PROGRAM
# Prints the smallest TESSERA_HEAP_MAX, in KiB, with which PROGRAM (a name in
# examples/scheme/programs) prints what it should under semispace. Found by bisection, to within 64 KiB or
# 2 %, whichever is more, and never below 1024, the least that a heap may have.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
binary=$1 program=$2

completes() {
  TESSERA_PLAN=semispace TESSERA_HEAP_MAX="$1K" \
    "$binary" "$programs/$program.scm" >"$work/out" 2>/dev/null &&
    cmp -s "$here/expected/$program.txt" "$work/out"
}

enough=1024
until completes "$enough"; do
  enough=$((enough * 2))
  [ "$enough" -le 4194304 ] || fail "$program doesn't complete in 4 GiB"
done
short=$((enough / 2))
[ "$enough" -gt 1024 ] || short=$enough

while step=$((enough / 50)); [ "$step" -ge 64 ] || step=64; [ $((enough - short)) -gt "$step" ]; do
  middle=$(((short + enough) / 2 / 64 * 64))
  [ "$middle" -gt "$short" ] || break
  if completes "$middle"; then enough=$middle; else short=$middle; fi
done
echo "$enough"
