#!/bin/sh
# Cuts a program out of a Markdown guide: sh extract.sh GUIDE NAME OUTPUT
#
# OUTPUT becomes the guide's C blocks that belong to the file NAME, in the guide's order. A block
# belongs to the file that the comment on the line before it names:
#
#     <!-- tinyvm.c -->
#     ```c
#
# A #line directive stands before each block, so that the compiler's messages point into the guide.
# A C block without a name, and a name without a block, are errors: every line of C in the guide is
# compiled somewhere.
set -eu

guide=$1
name=$2
output=$3

awk -v guide="$guide" -v name="$name" '
  function fail(what) { print guide ":" NR ": " what > "/dev/stderr"; failed = 1; exit 1 }

  /^<!-- .*\.c -->$/ { file = $2; next }
  /^```c$/ {
    if (file == "") fail("a C block that no file claims")
    inside = 1
    if (file == name) { printf "#line %d \"%s\"\n", NR + 1, guide; found = 1 }
    next
  }
  /^```$/ && inside { inside = 0; file = ""; next }
  inside { if (file == name) print; next }
  file != "" { fail("a file name without a C block after it") }

  END {
    if (!failed && inside) fail("a C block that never ends")
    if (!failed && !found) fail("no block belongs to " name)
  }
' "$guide" > "$output.new"
mv "$output.new" "$output"
