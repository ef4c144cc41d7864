#!/bin/sh
# Erroneous programs: sh errors.sh BINARY
# Each section of errors.txt is a program and what it must print to stderr, as "LINE: error: ...".
# The exit status is 1. Every program runs twice, the second time with a collection at every allocation.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
binary=$1
cd "$work"

awk '
  /^### /  { name = $2; printf "" > (name ".scm"); print name > "names"; next }
  /^=> /   { print name ".scm:" substr($0, 4) > (name ".txt"); name = ""; next }
  name     { print > (name ".scm") }
' "$here/errors.txt"

count=0
failures=0
while read -r name; do
  for stress in 0 1; do
    status=0
    TESSERA_HEAP_MAX=64M TESSERA_STRESS=$stress "$binary" "$name.scm" >/dev/null 2>got </dev/null ||
      status=$?
    if [ "$status" -ne 1 ] || ! cmp -s "$name.txt" got; then
      echo "$name, stress $stress: status $status"
      diff "$name.txt" got || true
      failures=$((failures + 1))
    fi
  done
  count=$((count + 1))
done <names

[ "$count" -ge 50 ] || fail "only $count programs were found"
[ "$failures" -eq 0 ] || fail "$failures of $count"
echo "$count erroneous programs"
