#!/bin/sh
# The same output with a collection at every allocation, or every few kilobytes: sh stress.sh BINARY
# PROGRAM BYTES. A reference that is not in a root does not survive this.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
binary=$1 program=$2 bytes=$3

TESSERA_PLAN=semispace TESSERA_STRESS=$bytes TESSERA_STATS=$work/stats \
  "$binary" "$programs/$program.scm" >"$work/got" || fail "$program: status $?"
same "$here/expected/$program.txt" "$work/got" "$program prints something else under stress"
collections=$(figure collections "$work/stats")
[ "$collections" -ge 1000 ] || fail "only $collections collections"
echo "$program: same output with $collections collections, one every $bytes bytes"
