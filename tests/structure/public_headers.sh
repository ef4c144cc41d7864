#!/bin/sh
# Each public header compiles alone, as C11 and as C++17, and a binding can be written as documented in
# C and in C++20: sh public_headers.sh ROOT COMPILER...
#
# Compilers that are not there are named and passed over; none at all of a language is a failure.
set -eu

root=$1
shift
warnings="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror"
c_compilers=0
cxx_compilers=0
compiled=0

compile_all() { # COMPILER LANGUAGE STANDARD
  for header in "$root"/api/include/tessera/*.h; do
    name=tessera/$(basename "$header")
    # shellcheck disable=SC2086
    printf '#include <%s>\n#include <%s>\n' "$name" "$name" |
      "$1" -x "$2" -std="$3" $warnings -I"$root/api/include" -fsyntax-only - ||
      { echo "<$name> does not compile alone with $1 -std=$3"; exit 1; }
    compiled=$((compiled + 1))
  done
}

# The initialisers as binding.h and layout.h show them.
compile_binding() { # COMPILER LANGUAGE STANDARD
  "$1" -x "$2" -std="$3" -Wall -Wpedantic -Werror -I"$root/api/include" -fsyntax-only - <<'END' ||
#include <tessera/tessera.h>
extern const tsr_binding binding;
static const tsr_layout layouts[] = {{TSR_LAYOUT_INIT, .name = "pair", .kind = TSR_LAYOUT_FIXED,
                                      .fixed_bytes = 24, .fixed_refs = 6}};
const tsr_binding binding = {TSR_BINDING_HEADER, .name = "lisp", .does = TSR_DOES_SAFEPOINTS,
                             .layouts = layouts, .layout_count = 1};
END
    { echo "the documented binding does not compile with $1 -std=$3"; exit 1; }
  compiled=$((compiled + 1))
}

for compiler in "$@"; do
  if ! command -v "$compiler" >/dev/null; then
    echo "not here: $compiler"
    continue
  fi
  case $compiler in
  *++*)
    compile_all "$compiler" c++ c++17
    compile_binding "$compiler" c++ c++20
    cxx_compilers=$((cxx_compilers + 1))
    ;;
  *)
    compile_all "$compiler" c c11
    compile_binding "$compiler" c c11
    c_compilers=$((c_compilers + 1))
    ;;
  esac
done

if [ "$c_compilers" -eq 0 ] || [ "$cxx_compilers" -eq 0 ]; then
  echo "needs a C and a C++ compiler"
  exit 1
fi
echo "$compiled compilations: every header stands alone, the documented binding compiles"
