#!/bin/sh
# docs/options.md agrees with the table of options: sh options_page.sh ROOT
# Each row OPTION(name, KIND, "default", ...) needs a row | `name` | `TESSERA_NAME` | kind | default ... |
# whose fourth cell holds the default, and the page has no other rows.
set -eu

cd "$1"
awk '
  FILENAME ~ /options\.def$/ && /^OPTION\(/ {
    line = $0
    sub(/^OPTION\(/, "", line)
    split(line, part, /, */)
    value = part[3]
    gsub(/"/, "", value)
    sub(/\).*/, "", value)
    kind[part[1]] = tolower(part[2])
    given[part[1]] = value
    next
  }
  FILENAME ~ /options\.md$/ && /^\| `[a-z_]+` \| `TESSERA_/ {
    count = split($0, cell, "|")
    for (i = 2; i < count; i++) { gsub(/^ +| +$/, "", cell[i]); gsub(/`/, "", cell[i]) }
    name = cell[2]
    seen[name] = 1
    if (!(name in kind)) { print FILENAME ": " name " is no option"; failures++; next }
    if (cell[3] != "TESSERA_" toupper(name)) { print name ": variable " cell[3]; failures++ }
    if (cell[4] != kind[name]) { print name ": kind " cell[4] ", not " kind[name]; failures++ }
    if (index(cell[5], given[name]) == 0) {
      print name ": default \"" cell[5] "\" does not hold \"" given[name] "\""
      failures++
    }
  }
  END {
    for (name in kind) {
      options++
      if (!(name in seen)) { print "docs/options.md has no row for " name; failures++ }
    }
    if (options == 0) { print "no options found"; failures++ }
    if (failures > 0) exit 1
    print options " options agree"
  }' core/heap/options.def docs/options.md
