#!/bin/sh
# Checks who includes whom: sh include_rules.sh ROOT
#
# Prints each violation as FILE:LINE: MESSAGE and fails if there is one. The rules:
#
#   api/include   only <tessera/...> and headers of the C standard
#   core          a room includes itself and the rooms below it in `order`; report, which listens,
#                 includes heap and below, and verify, which looks at everything that is traced, trace
#                 and below; only collect and api/src include these two; task
#                 stands above all rooms. No room includes plans, barriers or api/src
#   plans         core, other plans, barriers; barriers: core and other barriers
#   api/src       core and the registry of plans
#   elsewhere     (examples, bench, tests) <tessera/...> and files of the same program, nothing of the
#                 library. tests/unit may include core: it tests the rooms one by one
#
# Inside the library an include of the tree reads as its path from the root, and headers of the
# system beyond the C standard belong to core/os.
set -eu

root=$1
cd "$root"

find api core plans barriers examples bench tests \
  \( -name '*.c' -o -name '*.h' -o -name '*.cc' -o -name '*.def' \) -type f 2>/dev/null |
  LC_ALL=C sort | awk '
  BEGIN {
    split("os memory heap object space alloc trace collect", order)
    for (i in order) level[order[i]] = i + 0
    split("assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp " \
          "signal stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string " \
          "tgmath threads time uchar wchar wctype", names)
    for (i in names) standard["<" names[i] ".h>"] = 1
    standard["<stdatomic.h>"] = 0 # atomics have one home, core/os/atomic.h
    standard["<threads.h>"] = 0
  }

  function violation(message) {
    printf "%s:%d: %s\n", file, line_number, message
    violations++
  }

  # What a path belongs to: a room of core, or plans, barriers, api, headers, or "" elsewhere.
  function room_of(path,    part) {
    split(path, part, "/")
    if (part[1] == "core") return part[2]
    if (part[1] == "api") return part[2] == "include" ? "headers" : "api"
    if (part[1] == "plans" || part[1] == "barriers") return part[1]
    return ""
  }

  # a/b/../c -> a/c
  function normalise(path,    part, count, kept, i, result, stack) {
    count = split(path, part, "/")
    kept = 0
    for (i = 1; i <= count; i++) {
      if (part[i] == "" || part[i] == ".") continue
      if (part[i] == ".." && kept > 0) kept--
      else stack[++kept] = part[i]
    }
    result = stack[1]
    for (i = 2; i <= kept; i++) result = result "/" stack[i]
    return result
  }

  # Whether room `from` may include a header of room `to`; both belong to the library.
  function allowed(from, to) {
    if (from == to) return 1
    if (from == "api") return to in level || to ~ /^(report|verify|task|plans)$/
    if (from == "plans") return to in level || to == "barriers"
    if (from == "barriers") return to in level
    if (from == "report") return to in level && level[to] <= level["heap"]
    if (from == "verify") return to in level && level[to] <= level["trace"]
    if (from == "task") return to in level
    if (from == "collect" && to ~ /^(report|verify)$/) return 1
    return from in level && to in level && level[to] < level[from]
  }

  function check_library(from, name, quoted,    to) {
    if (name ~ /^tessera\//) {
      if (quoted) violation("\"" name "\" is a public header: include <" name ">")
      return
    }
    if (from == "headers") {
      if (quoted || !standard["<" name ">"])
        violation("a public header includes " name ": only <tessera/...> and the C standard")
      return
    }
    if (!quoted) {
      if (from != "os" && !standard["<" name ">"])
        violation("<" name "> is a header of the system: only core/os knows the system")
      return
    }
    to = room_of(name)
    if (to == "" || name ~ /\.\./)
      violation("\"" name "\": write the path from the root, as in \"core/heap/heap.h\"")
    else if (to == "headers")
      violation("\"" name "\": include public headers as <tessera/...>")
    else if (!allowed(from, to))
      violation(from " may not include " to " (" name ")")
  }

  function check_outside(name, quoted,    here, target) {
    here = file
    sub(/\/[^\/]*$/, "", here)
    if (room_of(name) == "" && quoted) target = normalise(here "/" name)
    else target = normalise(name)
    if (room_of(target) == "") return
    if (file ~ /^tests\/unit\// && target ~ /^(core|plans|barriers)\//) return
    violation("\"" name "\" belongs to the library: programs include <tessera/...> only")
  }

  {
    file = $0
    line_number = 0
    from = room_of(file)
    while ((getline line < file) > 0) {
      line_number++
      if (line !~ /^[ \t]*#[ \t]*include[ \t]*[<"]/) continue
      quoted = line ~ /include[ \t]*"/
      name = line
      sub(/^[ \t]*#[ \t]*include[ \t]*[<"]/, "", name)
      sub(/[>"].*$/, "", name)
      if (from == "") check_outside(name, quoted)
      else check_library(from, name, quoted)
    }
    close(file)
    files++
  }

  END {
    if (files == 0) { print "no source files found"; exit 1 }
    if (violations > 0) exit 1
    printf "%d files follow the include rules\n", files
  }'
