#!/bin/sh
# Shows that the checker of fast paths finds slow ones: sh planted.sh BINARY GC_BYTE_OFFSET
# Every function of planted.c named cons_... or set_car_... is judged; those that end in _good must
# pass, all others must fail.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
failures=0
judged=0

for function in $(nm "$1" | awk '$3 ~ /^(cons|set_car)_/ { print $3 }' | LC_ALL=C sort); do
  case $function in
  *.*) continue ;; # a part that the compiler split off
  cons_*) kind=cons ;;
  *) kind=set_car ;;
  esac
  if result=$(sh "$here/fast_path.sh" "$1" "$function" "$kind" "$2"); then
    verdict=passes
  else
    verdict=fails
  fi
  case $function,$verdict in
  *_good,passes) echo "$result" ;;
  *_good,fails) echo "$result"; failures=$((failures + 1)) ;;
  *,fails) echo "$result" | grep FAILED ;;
  *,passes) echo "$result"; echo "$function: slow, and not found"; failures=$((failures + 1)) ;;
  esac
  judged=$((judged + 1))
done

[ "$judged" -ge 15 ] || { echo "only $judged functions found in $1"; exit 1; }
[ "$failures" -eq 0 ] || { echo "$failures failures"; exit 1; }
