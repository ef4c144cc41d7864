#!/bin/sh
# The prompt and the command line: sh prompt.sh BINARY
set -eu

here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
binary=$1
cd "$work"

# ---- a session: data over several lines, several data in a line, errors in between ----

cat >input <<'END'
(define (square x)
  (* x
     x))
(square 12) "two" 'three
(car '())
(undefined) (display "the rest of a line with an error is dropped")
)
(display "out") (newline)
(if #f #f)
(vector 1 "a" #\b 2.5)
(define k #f)
(+ 1 (call/cc (lambda (c) (set! k c) 1)))
(k 10)
(define (loop n) (+ 1 (loop n)))
(loop 1)
(square 3)
END
cat >expected <<'END'
> > > > 144
"two"
three
> > > > out
> > #(1 "a" #\b 2.5)
> > 2
> 11
> > > 9
> 
END
cat >expected-errors <<'END'
stdin:5: error: car: expected pair, got ()
stdin:6: error: unbound variable: undefined
stdin:7: error: closing bracket without an opening one
stdin:14: error: stack overflow
END
SCHEME_STACK_MAX=16M "$binary" <input >got 2>got-errors || fail "prompt: status $?"
same expected got "the prompt shows something else"
same expected-errors got-errors "the prompt reports other errors"

# ---- an error leaves no dynamic-wind in force ----

cat >input <<'END'
(define k #f)
(call/cc (lambda (c) (set! k c)))
(dynamic-wind (lambda () 1) (lambda () (car 1)) (lambda () (display "after")))
(k 5)
"end"
END
printf '> > > > 5\n> "end"\n> \n' >expected
"$binary" <input >got 2>got-errors || fail "dynamic-wind at the prompt: status $?"
same expected got "an after thunk ran long after the error"

# ---- leaving ----

status=0
echo '(display 1) (exit 7) (display 2)' | "$binary" >got || status=$?
[ "$status" -eq 7 ] || fail "(exit 7) gave $status"
printf '> 1' >expected
same expected got "(exit 7) printed something else"

for end in 256 -1 '"0"' 1.0; do
  status=0
  "$binary" -e "(exit $end)" >got 2>&1 || status=$?
  [ "$status" -eq 1 ] || fail "(exit $end) gave $status"
  grep -qF "error: exit: expected boolean or status from 0 to 255, got $end" got || fail "(exit $end)"
done
for end in '(exit) 0' '(exit #t) 0' '(exit #f) 1' '(exit 0) 0' '(exit 255) 255'; do
  status=0
  "$binary" -e "${end% *}" || status=$?
  [ "$status" -eq "${end##* }" ] || fail "$end gave $status"
done

# ---- the command line ----

[ "$("$binary" -e '(+ 1 2) (command-line)' a b)" = "3
(\"(+ 1 2) (command-line)\" \"a\" \"b\")" ] || fail "-e"
echo '(write (cdr (command-line)))' >arguments.scm
[ "$("$binary" arguments.scm one two)" = '("one" "two")' ] || fail "arguments"
"$binary" --help | grep -q "usage: tessera-scheme" || fail "--help"

status=0
"$binary" --no-such-option >/dev/null 2>&1 || status=$?
[ "$status" -eq 64 ] || fail "an unknown option gave $status"
status=0
"$binary" no-such-file.scm >/dev/null 2>got-errors || status=$?
[ "$status" -eq 66 ] || fail "a file that isn't there gave $status"
grep -q "no-such-file.scm" got-errors || fail "a file that isn't there is not named"
status=0
TESSERA_PLAN=nonsense "$binary" -e 1 >/dev/null 2>got-errors || status=$?
[ "$status" -eq 70 ] || fail "an unknown plan gave $status"
grep -q semispace got-errors || fail "an unknown plan: the known ones are not listed"

status=0
"$binary" . >/dev/null 2>got-errors || status=$?
[ "$status" -eq 1 ] || fail "a directory gave $status"
grep -q '^\.:1: error: cannot be read: ' got-errors || fail "a directory: not said"
status=0
"$binary" <. >/dev/null 2>got-errors || status=$?
[ "$status" -eq 1 ] || fail "a directory as input gave $status"
grep -q '^stdin:1: error: cannot be read: ' got-errors || fail "a directory as input: not said"

# What a file may begin with.
printf '#!/usr/bin/env tessera-scheme (\n(car 1)\n' >script.scm
"$binary" script.scm >got 2>&1 && fail "the error of a script got lost"
echo 'script.scm:2: error: car: expected pair, got 1' >expected
same expected got "a first line with #!"
printf '\357\273\277(display 1)' >mark.scm
[ "$("$binary" mark.scm)" = 1 ] || fail "a byte order mark"
printf '\357\273\277#! anything\n(display 2)' >both.scm
[ "$("$binary" both.scm)" = 2 ] || fail "a byte order mark and #!"
printf '#!' >only.scm
"$binary" only.scm || fail "a file of #! alone: status $?"
printf '\357\273\277' >only.scm
"$binary" only.scm || fail "a file of a byte order mark alone: status $?"

# ---- the heap is destroyed however a program ends ----

for end in '1' '(exit 3)' '(car 1)'; do
  rm -f stats
  TESSERA_STATS=stats "$binary" -e "$end" >/dev/null 2>&1 || true
  [ -s stats ] || fail "no statistics after $end"
done
echo "prompt and command line"
