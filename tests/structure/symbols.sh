#!/bin/sh
# The libraries' names: sh symbols.sh HEADERS STATIC_LIBRARY SHARED_LIBRARY NAMES_ARE_LOCAL OFFSET
#
# The shared library exports exactly the functions and constants that the headers mark TSR_API. So
# does the static library, where its internal names were made local (1); an instrumented build (0)
# keeps them global and is only checked for the public ones. Both have the soname and the offset symbol
# that they should. Neither calls through a slot that is bound at the first call, on a stack that may be short.
set -eu

headers=$1 static=$2 shared=$3 names_are_local=$4 offset=$5
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
LC_ALL=C
export LC_ALL

# A declaration is TSR_API up to its semicolon; the name stands before the first parenthesis.
declared() {
  cat "$headers"/*.h | awk -v offset="$offset" '
    /^TSR_API / { declaration = ""; inside = 1 }
    inside { declaration = declaration " " $0 }
    inside && /;/ {
      inside = 0
      sub(/[(;].*$/, "", declaration)
      count = split(declaration, word, /[ *]+/)
      name = word[count]
      print name == "TSR_GC_BYTE_SYMBOL" ? "tsr_gc_byte_offset_is_" offset : name
    }' | sort
}

failed=0
same() { # WHAT EXPECTED ACTUAL
  if ! diff "$2" "$3" >"$work/difference"; then
    echo "$1: < declared in the headers, > in the library"
    cat "$work/difference"
    failed=1
  fi
}

declared >"$work/declared"
[ -s "$work/declared" ] || { echo "no TSR_API declarations found in $headers"; exit 1; }

nm -D --defined-only "$shared" | awk '{ print $NF }' | sort >"$work/shared"
nm -g --defined-only "$static" | awk 'NF >= 3 { print $NF }' | sort >"$work/static"
if [ "$names_are_local" = 1 ]; then
  same "shared library" "$work/declared" "$work/shared"
  same "static library" "$work/declared" "$work/static"
else
  comm -23 "$work/declared" "$work/shared" >"$work/missing"
  comm -23 "$work/declared" "$work/static" >>"$work/missing"
  [ ! -s "$work/missing" ] || { echo "missing:"; cat "$work/missing"; failed=1; }
fi

soname=$(objdump -p "$shared" | awk '$1 == "SONAME" { print $2 }')
[ "$soname" = libtessera.so.0 ] || { echo "soname is \"$soname\", not libtessera.so.0"; failed=1; }

# An instrumented build calls its runtime as it likes.
if [ "$names_are_local" = 1 ]; then
  readelf -rW "$shared" | awk '/JUMP_SLO/ { print $5 }' >"$work/lazy"
  nm -u "$static" | awk 'NF == 2 { print $2 }' | sort -u >"$work/undefined"
  objdump -r "$static" | awk '/PLT32/ { sub(/[-+]0x.*/, "", $3); print $3 }' | sort -u |
    comm -12 - "$work/undefined" >>"$work/lazy"
  [ ! -s "$work/lazy" ] || { echo "bound at the first call:"; cat "$work/lazy"; failed=1; }
fi

[ "$failed" -eq 0 ] || exit 1
echo "$(wc -l <"$work/declared") public names, nothing else"
