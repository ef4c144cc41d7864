# common.sh: what the scripts of this folder share. Sourced with `here` set to the folder.

programs="$here/../../examples/scheme/programs"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# A test decides every option of the heap itself.
for variable in $(env | sed -n 's/^\(TESSERA_[A-Z_]*\)=.*/\1/p'); do unset "$variable"; done
unset SCHEME_STACK_MAX

fail() {
  echo "FAILED: $*"
  exit 1
}

# same EXPECTED GOT WHAT
same() {
  cmp -s "$1" "$2" && return 0
  diff "$1" "$2" | head -n 20
  fail "$3"
}

# figure NAME STATISTICS: a number of the statistics that TESSERA_STATS wrote.
figure() {
  sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p" "$2"
}
