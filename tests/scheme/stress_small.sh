#!/bin/sh
# Small programs with a collection at every allocation, and the verifier before and after each, print
# what they print where nothing is ever collected: sh stress_small.sh BINARY
set -eu

here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
binary=$1

for file in "$here"/small/*.scm; do
  program=$(basename "$file" .scm)
  TESSERA_PLAN=nogc "$binary" "$file" >"$work/wanted" || fail "$program: status $? under nogc"
  TESSERA_PLAN=semispace TESSERA_STRESS=1 TESSERA_VERIFY=1 TESSERA_HEAP_MAX=16M \
    TESSERA_STATS=$work/stats "$binary" "$file" >"$work/got" || fail "$program: status $?"
  same "$work/wanted" "$work/got" "$program prints something else under stress"
  collections=$(figure collections "$work/stats")
  [ "$collections" -ge 1000 ] || fail "$program: only $collections collections"
  echo "$program: same output with $collections collections, each verified twice"
done
