#!/bin/sh
# The fast paths of a real client: sh client.sh BINARY GC_BYTE_OFFSET
set -eu

here=$(cd "$(dirname "$0")" && pwd)
failures=0
sh "$here/fast_path.sh" "$1" scheme_cons cons "$2" || failures=1
sh "$here/fast_path.sh" "$1" scheme_set_car set_car "$2" || failures=1
exit "$failures"
