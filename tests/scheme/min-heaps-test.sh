#!/bin/sh
# Whether min-heaps.txt is still true: sh min-heaps-test.sh BINARY
# Derives every minimum again and allows it to differ by 15 % and 128 KiB. When the
# library or a program has changed, `sh min-heaps-test.sh BINARY update` writes the table anew.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
binary=$1 mode=${2:-check}
failed=0

while read -r program recorded; do
  found=$(sh "$here/min-heap.sh" "$binary" "$program")
  echo "$program $found" >>"$work/table"
  tolerance=$((recorded * 15 / 100 + 128))
  difference=$((found - recorded))
  [ "$difference" -ge 0 ] || difference=$((-difference))
  note=
  if [ "$difference" -gt "$tolerance" ]; then
    note=" <- no longer"
    failed=1
  fi
  echo "$program: $found KiB, recorded $recorded$note"
done <"$here/min-heaps.txt"

if [ "$mode" = update ]; then
  cp "$work/table" "$here/min-heaps.txt"
elif [ "$failed" -ne 0 ]; then
  fail "the table of minimum heaps is out of date"
fi
