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
# no end when it takes eight times as long as in the unpatched copy and six seconds more, but never more than
# MUTATION_TEST_SECONDS (default 40). Anything else makes the run fail: such a rule is no longer guarded.
#
# The tests are built in a copy of ROOT that needs no git, and the diffs are applied there alone. The
# originals of a patched copy are kept in SCRATCH/originals until they are back in their place, so
# that the next run mends what an interrupted one left behind. Two runs may not share a scratch
# directory at the same time: the second waits.
set -u
LC_ALL=C
export LC_ALL

root=$(cd "$(dirname "$0")/../.." && pwd)
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
test_seconds=${MUTATION_TEST_SECONDS:-40}
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

listing() { # BUILD REGEX -> what CTest knows about the tests
  ctest --test-dir "$1" -N -V -R "^($2)\$" 2>&1
}

tests_of() { # BUILD REGEX
  listing "$1" "$2" | sed -n 's/^ *Test *#[0-9]*: *//p'
}

# The programs that the tests run are targets of the same names, built or not.
targets_of() { # BUILD REGEX
  listing "$1" "$2" |
    sed -n -e 's/^Could not find executable //p' -e 's/^[0-9]*: Test command: \([^ ]*\).*/\1/p' |
    grep "^$1/" | sed 's/.*\///' | sort -u
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
  sources "$root" >"$scratch/sources"
  sources "$copy" | comm -13 "$scratch/sources" - | while read -r file; do rm "$copy/$file"; done
  while read -r file; do
    cmp -s "$root/$file" "$copy/$file" && continue
    mkdir -p "$copy/${file%/*}"
    cp "$root/$file" "$copy/$file" || return 1
  done <"$scratch/sources"
  rm -rf "$scratch/originals"
  mkdir "$scratch/originals"
}

take_back() {
  (cd "$scratch/originals" && find . -type f) | while read -r file; do
    cp "$scratch/originals/$file" "$copy/$file" && rm "$scratch/originals/$file"
  done
}

# Applies a patch; what it changes is kept first. Nothing happens where it doesn't fit.
apply() { # PATCH
  patch -d "$copy" -p1 -F0 --batch --dry-run <"$1" || return 1
  files_of "$1" | while read -r file; do
    mkdir -p "$scratch/originals/$(dirname "$file")"
    cp "$copy/$file" "$scratch/originals/$file"
  done
  patch -d "$copy" -p1 -F0 --batch --no-backup-if-mismatch <"$1"
}

# ---- building and testing -------------------------------------------------------------------------

# A release build, but for the time that a compiler takes: each patch compiles most of the library anew.
configure() { # BUILD OPTIONS
  # shellcheck disable=SC2086 # one word per option
  cmake -S "$copy" -B "$1" -DCMAKE_BUILD_TYPE=Release "-DCMAKE_C_FLAGS_RELEASE=-O1 -DNDEBUG" \
    -DTESSERA_TESTS=ON $2
}

build() { # BUILD TARGET...
  build_directory=$1
  shift
  cmake --build "$build_directory" -j "$jobs" --target "$@"
}

# The limit is set from outside, since CTest's own option doesn't overrule what a test says of itself.
passes() { # BUILD TEST SECONDS
  timeout -k 5 "$3" ctest --test-dir "$1" -R "^$2\$" --output-on-failure
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
    $configured || configure "$at" "$(head_of "$each" Options)" || return 1
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
    if passes "$at" "$name" "$test_seconds"; then
      echo "$name $(($(date +%s) - begun))" >>"$at/proved"
    fi
  done
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
    awk -v most="$test_seconds" '{ limit = 6 + 8 * $1; print limit < most ? limit : most }'
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
    if apply "$patch" >"$log" 2>&1; then
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
