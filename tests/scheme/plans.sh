#!/bin/sh
# The same output under every plan: sh plans.sh BINARY PROGRAM
# nogc with a heap that is large enough, and semispace at 1.5 times the program's minimum heap,
# which must collect at least ten times there. The minima are in min-heaps.txt.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
binary=$1 program=$2
expected=$here/expected/$program.txt

minimum=$(sed -n "s/^$program  *//p" "$here/min-heaps.txt")
[ -n "$minimum" ] || fail "min-heaps.txt has no row for $program"

TESSERA_PLAN=nogc TESSERA_HEAP_MAX=8G TESSERA_STATS=$work/stats \
  "$binary" "$programs/$program.scm" >"$work/nogc" || fail "$program under nogc: status $?"
same "$expected" "$work/nogc" "$program under nogc prints something else"
[ "$(figure collections "$work/stats")" -eq 0 ] || fail "nogc has collected"

TESSERA_PLAN=semispace TESSERA_HEAP_MAX=$((minimum * 3 / 2))K TESSERA_STATS=$work/stats \
  "$binary" "$programs/$program.scm" >"$work/semispace" ||
  fail "$program under semispace, $minimum KiB * 1.5: status $?"
same "$expected" "$work/semispace" "$program under semispace prints something else"
collections=$(figure collections "$work/stats")
[ "$collections" -ge 10 ] || fail "only $collections collections"
echo "$program: same output; $collections collections with $minimum KiB * 1.5"
