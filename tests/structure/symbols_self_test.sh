#!/bin/sh
# Shows that symbols.sh finds what it should: sh symbols_self_test.sh WORK_DIRECTORY COMPILER
set -eu

here=$(cd "$(dirname "$0")" && pwd)
tree=$1/symbols
compiler=$2
failures=0

rm -rf "$tree"
mkdir -p "$tree"
echo 'TSR_API int tsr_one(void);' >"$tree/one.h"

# What symbols.sh says of two libraries of one source.
check() { # SOURCE FLAG -> a report
  echo "$1" >"$tree/one.c"
  "$compiler" -O1 -fPIC "$2" -c "$tree/one.c" -o "$tree/one.o"
  rm -f "$tree/libone.a"
  ar rc "$tree/libone.a" "$tree/one.o"
  "$compiler" -shared -Wl,-soname,libtessera.so.0 "$tree/one.o" -o "$tree/libone.so"
  sh "$here/symbols.sh" "$tree" "$tree/libone.a" "$tree/libone.so" 1 0
}

must_find() { # WHAT SOURCE FLAG
  if result=$(check "$2" "$3"); then
    echo "not found: $1"
    failures=$((failures + 1))
  else
    case $result in
    *"$1"*) echo "found: $1" ;;
    *) echo "$1 expected, found: $result"; failures=$((failures + 1)) ;;
    esac
  fi
}

calls='int puts(const char *); int tsr_one(void) { return puts("1") + 1; }'
must_find '> tsr_two' 'int tsr_one(void) { return 1; } int tsr_two(void) { return 2; }' -fno-plt
must_find '< tsr_one' 'static int tsr_one(void) { return 1; } int (*tsr_p)(void) = tsr_one;' -fno-plt
must_find 'bound at the first call' "$calls" -fplt
check "$calls" -fno-plt || failures=$((failures + 1))

rm -rf "$tree"
[ "$failures" -eq 0 ] || { echo "$failures failures"; exit 1; }
