#!/bin/sh
# The README's first C block is examples/embed/embed.c, to the letter: sh readme_example.sh ROOT WORK
# What a reader copies is therefore what the tests compile and run.
set -eu

cd "$1"
mkdir -p "$2"
awk '/^```c$/ { inside = 1; next } inside && /^```$/ { exit } inside' README.md >"$2/readme_example.c"
[ -s "$2/readme_example.c" ] || { echo "README.md holds no block that begins with \`\`\`c"; exit 1; }
diff -u examples/embed/embed.c "$2/readme_example.c"
echo "$(wc -l <examples/embed/embed.c) lines agree"
