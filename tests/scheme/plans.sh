#!/bin/sh
# The same output under every plan: sh plans.sh BINARY PROGRAM
# nogc with a heap that is large enough; semispace at 1.5 times the program's minimum heap, which must collect at least ten times
# there; and the others at three times it, quadcolor with a nursery and without. The minima are in min-heaps.txt.
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

# others PLAN NURSERY
others() {
  TESSERA_PLAN=$1 TESSERA_NURSERY=$2 TESSERA_HEAP_MAX=$((minimum * 3))K TESSERA_STATS=$work/stats \
    "$binary" "$programs/$program.scm" >"$work/other" ||
    fail "$program under $1, nursery \"$2\", $minimum KiB * 3: status $?"
  same "$expected" "$work/other" "$program under $1, nursery \"$2\", prints something else"
  [ "$(figure collections "$work/stats")" -ge 1 ] || fail "$1, nursery \"$2\", has not collected"
}
others markcompact ''
others quadcolor ''
others quadcolor 0
echo "$program: same output; $collections collections with $minimum KiB * 1.5"
