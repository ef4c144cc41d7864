#!/bin/sh
# Generates tessera.c and tessera.h, compiles them with the smoke test and runs it:
#   sh one_file.sh ROOT WORK COMPILER GC_BYTE_OFFSET OPTIMISATION
# Prints how long the library took to compile.
set -eu

root=$1 work=$2 compiler=$3 offset=$4 optimisation=$5
warnings="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror"
atomic_ops=$(pkg-config --cflags atomic_ops)

now() { date +%s.%N; }

rm -rf "$work"
"$root/scripts/amalgamate" "$work"
cd "$work"
started=$(now)
# shellcheck disable=SC2086 # flags are words
"$compiler" -std=c11 "$optimisation" $warnings -fvisibility=hidden -DTSR_GC_BYTE_OFFSET="$offset" \
  $atomic_ops -c tessera.c -o tessera.o
ended=$(now)
# shellcheck disable=SC2086
"$compiler" -std=c11 "$optimisation" $warnings -DTSR_GC_BYTE_OFFSET="$offset" -DSMOKE_ONE_FILE -I. \
  "$root/tests/package/smoke.c" tessera.o -o smoke -pthread
./smoke
echo "$started $ended $(wc -l <tessera.c)" |
  awk '{ printf "tessera.c: %d lines, compiled in %.1f s\n", $3, $2 - $1 }'
