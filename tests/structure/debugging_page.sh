#!/bin/sh
# docs/debugging.md says what the library says: sh debugging_page.sh ROOT WORK PROGRAM
# Its table is what PROGRAM, conformance_debugging, writes when it injects the faults; its C block is the handler that
# this program uses.
set -eu

mkdir -p "$2"
cd "$1"
TESSERA_TEST_PLAN=semispace "$3" "$2/debugging_table.md" >"$2/debugging_table.log" ||
  { cat "$2/debugging_table.log"; exit 1; }
awk '/^\| fault \|/ { inside = 1 } inside && !/^\|/ { exit } inside' docs/debugging.md \
  >"$2/debugging_page.md"
diff -u "$2/debugging_table.md" "$2/debugging_page.md"

awk '/^```c$/ { inside = 1; next } inside && /^```$/ { exit } inside' docs/debugging.md \
  >"$2/debugging_handler.h"
tail -n +2 tests/conformance/fault_handler.h | diff -u - "$2/debugging_handler.h"
echo "$(($(wc -l <"$2/debugging_table.md") - 2)) faults and the handler agree"
