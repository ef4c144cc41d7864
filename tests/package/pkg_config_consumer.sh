#!/bin/sh
# Builds the smoke test by pkg-config alone and runs it:
#   sh pkg_config_consumer.sh SMOKE_SOURCE WORK PREFIX COMPILER [FLAGS...]
set -eu

smoke=$1 work=$2 prefix=$3 compiler=$4
shift 4
mkdir -p "$work"

pc=$(find "$prefix" -name tessera.pc)
[ -n "$pc" ] || { echo "no tessera.pc below $prefix"; exit 1; }
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
libdir=$(pkg-config --variable=libdir tessera)

set -x
# shellcheck disable=SC2046 # flags are words
"$compiler" "$@" -O2 $(pkg-config --cflags tessera) "$smoke" -o "$work/smoke_shared" \
  $(pkg-config --libs tessera)
LD_LIBRARY_PATH=$libdir "$work/smoke_shared"

# shellcheck disable=SC2046
"$compiler" "$@" -O2 $(pkg-config --cflags tessera) "$smoke" -o "$work/smoke_static" \
  -Wl,-Bstatic $(pkg-config --static --libs tessera) -Wl,-Bdynamic
"$work/smoke_static"
