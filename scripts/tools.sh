# Finding and installing tools: sourced by scripts/demo and scripts/check.
#
# A table of needs has one line each: how to see whether it is there, and the Debian packages that
# bring it.
#
#   command NAME PACKAGE...   a program in PATH
#   header NAME PACKAGE...    something the C compiler can include
#   module NAME PACKAGE...    something pkg-config knows
#   package NAME              a Debian package that leaves no better trace
#
# build-essential stands for compiler, make and libc headers: a compiler alone doesn't bring the last.

# What building and running needs.
# shellcheck disable=SC2034 # used by the scripts that source this file
basic_needs='
command cc build-essential
command c++ build-essential
command make build-essential
header stdio.h build-essential
command cmake cmake
command pkg-config pkg-config
module atomic_ops libatomic-ops-dev'

is_debian() { command -v apt-get >/dev/null 2>&1 && command -v dpkg-query >/dev/null 2>&1; }

is_there() { # KIND NAME
  case $1 in
  command) command -v "$2" >/dev/null 2>&1 ;;
  header) echo "#include <$2>" | cc -E - >/dev/null 2>&1 ;;
  module) pkg-config --exists "$2" 2>/dev/null ;;
  package) ! is_debian || [ "$(dpkg-query -W -f '${db:Status-Status}' "$2" 2>/dev/null)" = installed ] ;;
  esac
}

# Prints the lines of a table whose tool is not there.
missing_needs() { # TABLE
  echo "$1" | while read -r kind name packages; do
    [ -n "$kind" ] || continue
    is_there "$kind" "$name" || echo "$kind $name ${packages:-$name}"
  done
}

# Runs a command as root, by sudo where that is needed and possible.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    sudo "$@"
  else
    echo "this needs root, and there is no sudo that works without a terminal" >&2
    return 1
  fi
}

install_packages() { # LOG PACKAGE...
  log=$1
  shift
  echo "installing: $*"
  if ! {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 update &&
      as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
        install --no-install-recommends "$@"
  } </dev/null >"$log" 2>&1; then
    tail -n 20 "$log"
    echo "installing failed; by hand: apt-get install $*"
    return 1
  fi
}

# Makes sure that all of a table is there; says what is missing where it can't help.
provide() { # LOG_DIRECTORY TABLE
  mkdir -p "$1"
  missing=$(missing_needs "$2")
  if [ -n "$missing" ] && is_debian; then
    packages=$(echo "$missing" | cut -d ' ' -f 3- | tr ' ' '\n' | sort -u | tr '\n' ' ')
    # shellcheck disable=SC2086 # one word per package
    install_packages "$1/install.log" $packages || return 1
    missing=$(missing_needs "$2")
  fi
  if [ -n "$missing" ]; then
    echo "missing, please install (in brackets: what Debian calls the package):"
    echo "$missing" | while read -r kind name packages; do echo "  $kind $name ($packages)"; done
    return 1
  fi
  cmake --version | awk 'NR == 1 {
    split($3, part, ".")
    if (part[1] * 1000 + part[2] < 3025) { print "CMake is " $3 "; 3.25 or newer is needed"; exit 1 }
  }'
}

processors() { nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1; }

# Runs a command with its output in a log, which is shown only if the command fails.
quietly() { # LOG COMMAND...
  quiet_log=$1
  shift
  mkdir -p "$(dirname "$quiet_log")"
  if ! "$@" </dev/null >"$quiet_log" 2>&1; then
    tail -n 60 "$quiet_log"
    echo "(all of it: ${quiet_log#"$PWD"/})"
    return 1
  fi
}
