#!/bin/sh
# A001-06. Judges one function's fast path: sh fast_path.sh BINARY FUNCTION cons|set_car GC_BYTE_OFFSET
# Both kinds of function work on a pair whose first field lies 8 bytes into the object.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
objdump -d --no-show-raw-insn --disassemble="$2" "$1" |
  awk -v kind="$3" -v gc_byte_offset="$4" -v field_offset=8 -f "$here/fast_path.awk"
