# Sourced by the self-tests: a checker must find what is planted, where it is planted, and pass what is
# lawful. Needs $checker, $tree, $failures=0 and plant FILE TEXT, which makes a small tree that is clean
# but for line 2 of FILE.

must_find() { # FILE TEXT
  plant "$1" "$2"
  if result=$(sh "$checker" "$tree"); then
    echo "not found: $2 in $1"
    failures=$((failures + 1))
  else
    case $result in
    "$1:2: "*) echo "found: $result" ;;
    *) echo "wrong place: $result"; failures=$((failures + 1)) ;;
    esac
  fi
}

must_pass() { # FILE TEXT
  plant "$1" "$2"
  if ! result=$(sh "$checker" "$tree"); then
    echo "wrongly found: $result"
    failures=$((failures + 1))
  fi
}
