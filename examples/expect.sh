#!/bin/sh
# Runs a command for a test: sh expect.sh EXPRESSION... -- COMMAND [ARGUMENT...]
#
# Passes when the command exits with 0 and, for every extended regular expression, prints a line that
# matches it as a whole. An exit status other than 0 is handed on, 77 (skipped) with the rest.
set -u

expressions=
while [ "$1" != -- ]; do
  expressions="$expressions$1
"
  shift
done
shift

output=$("$@") || {
  status=$?
  printf '%s\n' "$output"
  exit "$status"
}
printf '%s\n' "$output"

printf '%s' "$expressions" | while IFS= read -r expression; do
  printf '%s\n' "$output" | grep -Eqx -e "$expression" || {
    echo "expect: no line matches: $expression" >&2
    exit 1
  }
done
