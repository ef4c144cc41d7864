#!/bin/sh
# Checks that what sources cite exists: sh citations.sh ROOT
#
#   [design: some-name]  in a comment of the library, an example or a test: a heading
#                        "## some-name" in docs/design/; several names have commas between them
#   A001-07, F21, ...    in a test, an example or a bench: the number stands in docs/requirements.md;
#                        in a name it is written a001_07 or F21_...
#
# And the other way: a requirement whose status there holds `now` is cited by some test or bench.
#
# Prints each citation that leads nowhere as FILE:LINE: MESSAGE and fails if there is one.
set -eu

cd "$1"

{
  find docs/design -name '*.md' -type f 2>/dev/null | sed 's/^/tags /'
  echo "requirements docs/requirements.md"
  find api core plans barriers examples bench tests -type f \
    \( -name '*.c' -o -name '*.h' -o -name '*.cc' -o -name '*.def' -o -name '*.sh' \
    -o -name '*.awk' -o -name '*.scm' -o -name 'CMakeLists.txt' \) 2>/dev/null |
    grep -v '^tests/structure/citations' | LC_ALL=C sort | sed 's/^/source /'
} | awk '
  function missing(message) {
    printf "%s:%d: %s\n", file, line_number, message
    failures++
  }

  # The requirement numbers of a line, each as a word of its own or the beginning of a name.
  function numbers(kind, line,    word, before, after, rest) {
    rest = line
    while (match(rest, /[Aa][0-9][0-9][0-9][-_][0-9][0-9]|F[0-9][0-9]/)) {
      word = toupper(substr(rest, RSTART, RLENGTH))
      sub(/_/, "-", word)
      before = RSTART > 1 ? substr(rest, RSTART - 1, 1) : " "
      after = substr(rest, RSTART + RLENGTH, 1)
      rest = substr(rest, RSTART + RLENGTH)
      if (before ~ /[A-Za-z0-9_]/ || after ~ /[A-Za-z0-9]/) continue
      if (kind == "define") known[word] = 1
      else {
        cited++
        is_cited[word] = 1
        if (!(word in known)) missing(word " is not in docs/requirements.md")
      }
    }
  }

  # A row of the requirements: | NUMBER | asks | decided | status |
  function row(line,    cell, count) {
    count = split(line, cell, "|")
    gsub(/ /, "", cell[2])
    if (cell[2] ~ /^(A[0-9][0-9][0-9]-[0-9][0-9]|F[0-9][0-9])$/ && cell[count - 1] ~ /`now/) {
      due[cell[2]] = line_number
    }
  }

  function tags(line,    rest, list, tag, count, i) {
    rest = line
    while (match(rest, /\[design:[^]]*\]/)) {
      list = substr(rest, RSTART + 8, RLENGTH - 9)
      rest = substr(rest, RSTART + RLENGTH)
      gsub(/ /, "", list)
      count = split(list, tag, ",")
      for (i = 1; i <= count; i++) {
        cited++
        if (!(tag[i] in heading)) missing("no heading \"## " tag[i] "\" in docs/design/")
      }
    }
    if (rest ~ /\[design:/) missing("a citation ends on the line that it begins on")
  }

  {
    kind = $1
    file = $2
    line_number = 0
    while ((getline line < file) > 0) {
      line_number++
      if (kind == "tags") {
        if (line ~ /^## /) { sub(/^## +/, "", line); sub(/ +$/, "", line); heading[line] = 1 }
      } else if (kind == "requirements") {
        numbers("define", line)
        row(line)
      } else {
        tags(line)
        if (file ~ /^(tests|bench|examples)\//) numbers("cite", line)
      }
    }
    close(file)
  }

  END {
    file = "docs/requirements.md"
    for (word in due) {
      line_number = due[word]
      if (!(word in is_cited)) missing(word " is said to be there, but no test cites it")
    }
    if (failures > 0) exit 1
    printf "%d citations resolve\n", cited
  }'
