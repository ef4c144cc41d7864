#!/bin/sh
# Builds an outside project by find_package(Tessera) and runs it:
#   sh cmake_consumer.sh PROJECT WORK PREFIX COMPILER_VARIABLE COMPILER
set -eu

project=$1 work=$2 prefix=$3 compiler_variable=$4 compiler=$5
rm -rf "$work"
cmake -S "$project" -B "$work" -DCMAKE_BUILD_TYPE=Release \
  -D"$compiler_variable=$compiler" -DCMAKE_PREFIX_PATH="$prefix"
cmake --build "$work" --verbose
"$work/smoke_shared"
"$work/smoke_static"
