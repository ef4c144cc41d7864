#!/bin/sh
# Shows what run.sh tells apart: sh self_test.sh WORK_DIRECTORY
#
# On a project of one function and three tests, run.sh must be content with a patch that a test notices
# (by failing, by crashing, by never ending) and must fail on each other kind. It must also mend the
# copy that an interrupted run left patched, and follow a changed source.
set -u

here=$(cd "$(dirname "$0")" && pwd)
rm -rf "$1"
mkdir -p "$1/project/tests/mutation" || exit 1
work=$(cd "$1" && pwd)
project=$work/project
failures=0

cat >"$project/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(Double C)
enable_testing()
foreach(number 2 3)
  add_executable(double_${number} double.c)
  add_test(NAME double.${number} COMMAND double_${number} ${number})
endforeach()
add_executable(double_zero double.c)
add_test(NAME double.zero COMMAND double_zero 0)
if(BROKEN)
  set_tests_properties(double.zero PROPERTIES WILL_FAIL TRUE)
endif()
END

cat >"$project/double.c" <<'END'
#include <stdlib.h>

/* Twice a number. */
static int twice(int number) {
  return 2 * number;
}

int main(int count, char **argument) {
  int number = atoi(argument[count - 1]);
  return twice(number) == number + number ? 0 : 1;
}
END

# A patch that puts another line in the place of line 5.
plant() { # NAME TEST LINE [OPTIONS]
  {
    printf 'Rule: twice is two times\nTest: %s\n%s\n' "$2" "${4:+Options: $4}"
    sed "5s/.*/$3/" "$project/double.c" >"$work/changed.c"
    diff -u "$project/double.c" "$work/changed.c" |
      sed -e '1s/.*/--- a\/double.c/' -e '2s/.*/+++ b\/double.c/'
  } >"$project/tests/mutation/$1.patch"
}

run() { # ARGUMENT... -> output in $work/output
  MUTATION_TEST_SECONDS=3 sh "$here/run.sh" -r "$project" -s "$work/scratch" "$@" >"$work/output" 2>&1
}

expect() { # STATUS TEXT NAME...
  wanted=$1 text=$2
  shift 2
  patches=
  for name in "$@"; do patches="$patches $project/tests/mutation/$name.patch"; done
  # shellcheck disable=SC2086
  run $patches
  status=$?
  [ "$status" -eq 0 ] || status=1
  if [ "$status" -eq "$wanted" ] && grep -q "$text" "$work/output"; then
    echo "as expected: $* $text"
  else
    echo "$*: wanted status $wanted and \"$text\"; it ended with $status and said"
    cat "$work/output"
    failures=$((failures + 1))
  fi
}

plant wrong 'double\.[23]' '  return 3 * number;'
plant crash double.2 '  return number == 2 ? (abort(), 0) : 2 * number;'
plant endless double.3 '  while (number == 3) continue; return 2 * number;'
plant comment double.2 '  return 2 * number; \/\* two times \*\/'
plant half 'double\.(2|zero)' '  return 3 * number;'
plant unbuildable double.2 '  return 2 * nunber;'
plant nameless double.4 '  return 3 * number;'
plant red double.zero '  return 3 * number;' -DBROKEN=ON
plant option double.2 '  return 3 * number;' -DBROKEN=ON
plant astray double.2 '  return 3 * number;'
sed 's/^ static int twice/ static int thrice/' "$project/tests/mutation/astray.patch" >"$work/astray"
mv "$work/astray" "$project/tests/mutation/astray.patch"
plant rare double.2 '  return system("rm tried") == 0 ? 3 * number : (system("touch tried"), 2 * number);'
cp "$project/tests/mutation/rare.patch" "$work/rare"
{ echo 'Tries: 2'; cat "$work/rare"; } >"$project/tests/mutation/rarely.patch"
plant headless double.2 '  return 3 * number;'
sed '/^Rule:/d' "$project/tests/mutation/headless.patch" >"$work/headless"
mv "$work/headless" "$project/tests/mutation/headless.patch"

expect 0 '^caught .*wrong' wrong
expect 0 '^caught .*crash' crash
expect 0 '^caught .*endless' endless
expect 0 '^caught .*option' option
expect 0 '^4 of 4 patches caught' wrong crash endless option
for build in "$work"/scratch/build_*.unpatched; do
  cmp "$build/double_2" "${build%.unpatched}/double_2" || failures=$((failures + 1))
done
expect 1 '^NOT CAUGHT .*comment' comment
expect 1 '^NOT CAUGHT .*half' half
expect 1 '^NOT CAUGHT .*rare' rare
rm -f "$work"/scratch/build_*/one/*/tried
expect 0 '^caught .*rarely' rarely
expect 1 '^DOES NOT BUILD .*unbuildable' unbuildable
expect 1 '^DOES NOT APPLY .*astray' astray
expect 1 '^HAS NO HEAD .*headless' headless
expect 1 '^NAMES NO TEST .*nameless' nameless
expect 1 '^RED ANYWAY .*red' red
expect 1 '^2 of 3 patches caught' wrong comment option

# An interrupted run: the copy is patched, the original is kept.
copied=$work/scratch/copy/double.c
mkdir -p "$work/scratch/originals"
cp "$copied" "$work/scratch/originals/double.c"
sed 's/2 \* number/3 * number/' "$project/double.c" >"$copied"
expect 1 '^NOT CAUGHT .*comment' comment
cp "$copied" "$work/scratch/originals/double.c"
sed 's/2 \* number/3 * number/' "$project/double.c" >"$copied"
run -t "$project/tests/mutation/comment.patch"
grep -q '^NOT CAUGHT' "$work/output" || { echo "-t did not mend the copy"; failures=$((failures + 1)); }
cmp "$project/double.c" "$copied" || failures=$((failures + 1))

# A source that changes, one that goes and one that comes.
sed '3s/.*/\/* Two times a number. *\//' "$project/double.c" >"$work/changed.c"
cp "$work/changed.c" "$project/double.c"
echo >"$work/scratch/copy/gone.c"
echo >"$project/come.c"
expect 1 '^DOES NOT APPLY .*wrong' wrong
plant wrong double.3 '  return 3 * number;'
expect 0 '^caught .*wrong' wrong
if [ ! -e "$work/scratch/copy/come.c" ] || [ -e "$work/scratch/copy/gone.c" ]; then
  echo "the copy is not the project"
  failures=$((failures + 1))
fi

rm -rf "$work"
[ "$failures" -eq 0 ] || { echo "$failures failures"; exit 1; }
