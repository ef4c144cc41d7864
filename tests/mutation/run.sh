#!/bin/sh
# Mutation tests: each patch beside this script removes one rule, and a test must notice.
#
#   sh run.sh [-r ROOT] [-s SCRATCH] [-p | -t] [PATCH...]
#
#   ROOT     the checkout to test (default: the one that holds this script)
#   SCRATCH  where the copy and its builds lie (default: ROOT/build/mutation); kept for the next run
#   -p       only prepares: brings the copy up to date, builds, notes which of the named tests pass
#   -t       only tries the patches, in a copy that was prepared for them
#   PATCH... the patches to try (default: all of ROOT/tests/mutation)
#
# A patch begins with a head, in front of its diff (paths with a/ and b/, as git writes them):
#
#   Rule: a sentence: what holds in the library, or in a client's documented protocol
#   Test: a regular expression for whole names of CTest; every test that it names must fail
#   Options: arguments for CMake, where an ordinary release build doesn't show it (may be left out)
#   Tries: how often a test may pass before it must fail, where threads have to meet (default 1)
#
# A patch must apply without fuzz, what its tests need must still build, and each test, which passes in
# the unpatched copy, must then fail: a crash, an abort and a run without end are failures too. A run has
# no end when it takes three times as long as in the unpatched copy and three seconds more, but never more than
# MUTATION_TEST_SECONDS (default 30). Anything else makes the run fail: such a rule is no longer guarded.
#
# The tests are built in a copy of ROOT that needs no git, and the diffs are applied there alone. The
# originals of a patched copy are kept in SCRATCH/originals until they are back in their place, and beside
# each build lies one that nobody touches, of which what a patch has made anew is taken back with its
# old times: a patch compiles what it changes and nothing else. The next run mends what an interrupted
# one left behind. Two runs may not share a scratch directory at the same time: the second waits.
set -u
LC_ALL=C
export LC_ALL

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
scratch=
prepares=true
tries=true
while getopts r:s:pt option; do
  case $option in
  r) root=$(cd "$OPTARG" && pwd) || exit 2 ;;
  s) scratch=$OPTARG ;;
  p) tries=false ;;
  t) prepares=false ;;
  *) sed -n 's/^# *\(sh run.sh.*\)/usage: \1/p' "$0" >&2; exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- "$root"/tests/mutation/*.patch

mkdir -p "${scratch:=$root/build/mutation}/logs" "$scratch/originals" || exit 2
scratch=$(cd "$scratch" && pwd)
copy=$scratch/copy
test_seconds=${MUTATION_TEST_SECONDS:-30}
jobs=$(nproc 2>/dev/null || echo 1)
if command -v flock >/dev/null; then
  exec 9>"$scratch/lock"
  flock 9
fi

# ---- what a patch says ------------------------------------------------------------------------------

head_of() { # PATCH KEY
  sed -n -e '/^--- /q' -e "s/^$2: *//p" "$1"
}

build_of() { # PATCH -> the build directory of its options
  echo "$scratch/build_$(head_of "$1" Options | cksum | cut -d ' ' -f 1)"
}

files_of() { # PATCH
  sed -n 's/^+++ b\/\([^[:space:]]*\).*/\1/p' "$1"
}

# What CTest knows, as lines: a test's name, and the program that it runs if it is built here. The targets of these have
# the same names.
note_tests() { # BUILD
  rm -rf "$1/one"
  ctest --test-dir "$1" -N -V 2>&1 | awk -v at="$1/" '
    /^Could not find executable / { program = $5 }
    /^[0-9]+: Test command: \// { program = $4 }
    /^ *Test +#[0-9]+: / {
      if (index(program, at) != 1) program = ""
      sub(/.*\//, "", program)
      print $3, program
      program = ""
    }' >"$1/tests_known"
}

tests_of() { # BUILD REGEX
  grep -E "^($2) " "$1/tests_known" | sed 's/ .*//'
}

targets_of() { # BUILD REGEX
  grep -E "^($2) " "$1/tests_known" | sed 's/^[^ ]* //; /^$/d' | sort -u
}

# ---- the copy ---------------------------------------------------------------------------------------

# Every file of a tree but what is hidden, build directories, and the scratch directory.
sources() { # DIRECTORY
  (cd "$1" && find . \( -path "./.?*" -o -path ./build -o -path ".${scratch#"$1"}" \) -prune -o \
    -type d -exec test -e "{}/CMakeCache.txt" \; -prune -o -type f -print | sort)
}

# Only what differs is copied, with a new time, so that the builds do no more than they must.
update_copy() {
  mkdir -p "$copy"
  take_back
  sources "$root" >"$scratch/sources"
  sources "$copy" | comm -13 "$scratch/sources" - | while read -r file; do rm "$copy/$file"; done
  while read -r file; do
    cmp -s "$root/$file" "$copy/$file" && continue
    mkdir -p "$copy/${file%/*}"
    cp "$root/$file" "$copy/$file" || return 1
  done <"$scratch/sources"
}

# Takes back what the last patch has changed, in the copy and in its build, which `patched` names.
take_back() {
  if [ -e "$scratch/patched" ]; then
    last=$(cat "$scratch/patched")
    (cd "$last" && find . -type f -newer "$scratch/patched") | while read -r file; do
      [ ! -e "$last.unpatched/$file" ] || cp -p "$last.unpatched/$file" "$last/$file"
    done
  fi
  (cd "$scratch/originals" && find . -type f) | while read -r file; do
    cp -p "$scratch/originals/$file" "$copy/$file" && rm "$scratch/originals/$file"
  done
  rm -f "$scratch/patched"
}

# Applies a patch; what it changes is kept first. Nothing happens where it doesn't fit.
apply() { # PATCH BUILD
  patch -d "$copy" -p1 -F0 --batch --dry-run <"$1" || return 1
  echo "$2" >"$scratch/patched"
  files_of "$1" | while read -r file; do
    mkdir -p "$scratch/originals/$(dirname "$file")"
    cp -p "$copy/$file" "$scratch/originals/$file"
  done
  patch -d "$copy" -p1 -F0 --batch --no-backup-if-mismatch <"$1"
}

# ---- building and testing -------------------------------------------------------------------------

# A release build, but for the time that a compiler takes.
configure() { # BUILD OPTIONS
  # Ninja is quicker to find out what there is to do.
  generator=
  [ -e "$1/CMakeCache.txt" ] || ! command -v ninja >/dev/null || generator=-GNinja
  # shellcheck disable=SC2086 # one word per option
  cmake $generator -S "$copy" -B "$1" -DCMAKE_BUILD_TYPE=Release "-DCMAKE_C_FLAGS_RELEASE=-O1 -DNDEBUG" \
    -DCMAKE_C_COMPILER_LAUNCHER="sh;$here/compile.sh" -DTESSERA_TESTS=ON $2
}

build() { # BUILD TARGET...
  build_directory=$1
  shift
  cmake --build "$build_directory" -j "$jobs" --target "$@"
}

# The directory in which CTest knows this test alone: to read of thousands takes it longer than most tests.
alone() { # BUILD TEST
  if [ ! -e "$1/one/$2" ]; then
    mkdir -p "$1/one/$2"
    find "$1" -name one -prune -o -name CTestTestfile.cmake -exec grep -hF \
      -e "add_test([=[$2]=] " -e "set_tests_properties([=[$2]=] " {} + >"$1/one/$2/CTestTestfile.cmake"
  fi
  echo "$1/one/$2"
}

# The limit is set from outside, since CTest's own option doesn't overrule what a test says of itself.
passes() { # BUILD TEST SECONDS
  timeout -k 5 "$3" ctest --test-dir "$(alone "$1" "$2")" --no-tests=error --output-on-failure
}

# ---- prepare ------------------------------------------------------------------------------------------

# Prepares the patches of one build directory: configures, builds, and notes which tests pass unpatched.
prepare_build() { # BUILD PATCH...
  at=$1
  shift
  targets=
  names=
  configured=false
  for each in "$@"; do
    [ "$(build_of "$each")" = "$at" ] || continue
    $configured || { configure "$at" "$(head_of "$each" Options)" && note_tests "$at"; } || return 1
    configured=true
    regex=$(head_of "$each" Test)
    names="$names $(tests_of "$at" "$regex")"
    targets="$targets $(targets_of "$at" "$regex")"
  done
  # shellcheck disable=SC2086
  targets=$(printf '%s\n' $targets | sort -u)
  # shellcheck disable=SC2086
  [ -z "$targets" ] || build "$at" $targets || return 1
  : >"$at/proved"
  # shellcheck disable=SC2086
  for name in $(printf '%s\n' $names | sort -u); do
    begun=$(date +%s)
    if passes "$at" "$name" $((10 * test_seconds)); then
      echo "$name $(($(date +%s) - begun))" >>"$at/proved"
    fi
  done
  rm -rf "$at.unpatched"
  cp -Rp "$at" "$at.unpatched"
}

prepare() { # PATCH...
  update_copy || return 1
  for patch in "$@"; do build_of "$patch"; done | sort -u >"$scratch/builds"
  while read -r one; do
    prepare_build "$one" "$@" </dev/null || return 1
  done <"$scratch/builds"
}

# ---- try --------------------------------------------------------------------------------------------------

# What is wrong with a patch's head, given the tests that it names; nothing if it is right.
fault_of() { # PATCH BUILD TEST...
  if [ -z "$(head_of "$1" Rule)" ] || [ -z "$(head_of "$1" Test)" ]; then
    echo "HAS NO HEAD"
    return
  fi
  if [ $# -le 2 ]; then
    echo "NAMES NO TEST"
    return
  fi
  proved=$2/proved
  shift 2
  for name in "$@"; do
    if ! grep -q "^$name " "$proved"; then
      echo "RED ANYWAY"
      return
    fi
  done
}

# How long a test may take that took so long unpatched.
limit_of() { # BUILD TEST
  sed -n "s/^$2 //p" "$1/proved" |
    awk -v most="$test_seconds" '{ limit = 3 + 3 * $1; print limit < most ? limit : most }'
}

# The verdict on a patch that is in the copy: "caught", or what is wrong. Its log goes to stderr.
judge() { # BUILD REGEX TRIES TEST...
  at=$1
  tries=$3
  # shellcheck disable=SC2046
  build "$at" $(targets_of "$at" "$2") >&2 || { echo "DOES NOT BUILD"; return; }
  shift 3
  for name in "$@"; do
    left=$tries
    limit=$(limit_of "$at" "$name")
    while passes "$at" "$name" "$limit" >&2; do
      left=$((left - 1))
      [ "$left" -gt 0 ] || { echo "NOT CAUGHT"; return; }
    done
  done
  echo "caught"
}

try() { # PATCH
  patch=$1
  name=$(basename "$patch" .patch)
  log=$scratch/logs/$name.log
  at=$(build_of "$patch")
  regex=$(head_of "$patch" Test)
  tries=$(head_of "$patch" Tries)
  begun=$(date +%s)
  take_back
  # shellcheck disable=SC2046
  set -- $(tests_of "$at" "$regex")
  verdict=$(fault_of "$patch" "$at" "$@")
  if [ -z "$verdict" ]; then
    if apply "$patch" "$at" >"$log" 2>&1; then
      verdict=$(judge "$at" "$regex" "${tries:-1}" "$@" 2>>"$log" </dev/null)
    else
      verdict="DOES NOT APPLY"
    fi
    take_back
  fi
  printf '%-14s %-32s %s (%d s)\n' "$verdict" "$name" "$regex" $(($(date +%s) - begun))
  if [ "$verdict" != caught ]; then
    head_of "$patch" Rule | sed 's/^/    /'
    echo "    log: $log"
    return 1
  fi
}

if $prepares && ! prepare "$@" >"$scratch/logs/prepare.log" 2>&1; then
  tail -n 40 "$scratch/logs/prepare.log"
  echo "the copy does not build; nothing was tried (log: $scratch/logs/prepare.log)"
  exit 1
fi
$tries || exit 0

failures=0
for each in "$@"; do
  try "$each" || failures=$((failures + 1))
done
echo "$(($# - failures)) of $# patches caught"
[ "$failures" -eq 0 ]
