#!/bin/sh
# A program compiled with another GC byte offset than the library must not link, and the linker must
# name the symbol that says so: sh offset_mismatch.sh ROOT WORK COMPILER STATIC SHARED OFFSET
set -eu

root=$1 work=$2 compiler=$3 static=$4 shared=$5
other=$((($6 + 1) % 8))
mkdir -p "$work"

for library in "$static" "$shared"; do
  if "$compiler" -std=c11 -DTSR_GC_BYTE_OFFSET="$other" -I"$root/api/include" \
    "$root/tests/package/smoke.c" "$library" -o "$work/mismatch" -pthread 2>"$work/messages"; then
    echo "linked offset $other with a library of offset $6: $library"
    exit 1
  fi
  grep "tsr_gc_byte_offset_is_$other" "$work/messages" || { cat "$work/messages"; exit 1; }
done
