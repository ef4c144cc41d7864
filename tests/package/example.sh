#!/bin/sh
# Builds an example as a project of its own, against the installed library, and runs it:
#   sh example.sh EXAMPLE_FOLDER PROGRAM WORK PREFIX COMPILER
set -eu

example=$1 program=$2 work=$3 prefix=$4 compiler=$5
rm -rf "$work"
cmake -S "$example" -B "$work" -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER="$compiler" \
  -DCMAKE_PREFIX_PATH="$prefix"
cmake --build "$work"
"$work"/$program # may have arguments
