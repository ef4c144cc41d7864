#!/bin/sh
# Shows that citations.sh finds what it should: sh citations_self_test.sh WORK_DIRECTORY
set -eu

here=$(cd "$(dirname "$0")" && pwd)
tree=$1/citations
checker=$here/citations.sh
failures=0
. "$here/planted.sh"

plant() { # FILE TEXT
  rm -rf "$tree"
  mkdir -p "$tree/docs/design" "$tree/$(dirname "$1")"
  printf '# Notes\n\n## gc-byte\n\nText.\n' >"$tree/docs/design/object.md"
  printf '| A002-04 | asks | does | later |\n| F21 | asks | does | later |\n' >"$tree/docs/requirements.md"
  printf '/* first line */\n/* %s */\n' "$2" >"$tree/$1"
}

must_find core/heap/a.c 'see [design: no-such-tag].'
must_find core/heap/a.c 'see [design: gc-'
must_find tests/unit/a.c 'good [design: gc-byte], bad [design: gc-bit]'
must_find tests/unit/a.c 'one good, one bad [design: gc-byte, gc-bit]'
must_find tests/unit/a.c 'A002-99'
must_find tests/unit/a.c 'A002-04 and F77'
must_find docs/requirements.md '| A002-05 | asks | does | `now` |'
must_pass core/heap/a.c 'see [design: gc-byte].'
must_pass tests/unit/a.c 'A002-04 (F21)'
must_pass tests/unit/a.c '0xF77, IDF77, F777 and BA002-99 are no citations'

rm -rf "$tree"
[ "$failures" -eq 0 ] || { echo "$failures failures"; exit 1; }
