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

# ---- leaving ----

status=0
echo '(display 1) (exit 7) (display 2)' | "$binary" >got || status=$?
[ "$status" -eq 7 ] || fail "(exit 7) gave $status"
printf '> 1' >expected
same expected got "(exit 7) printed something else"

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

# ---- the heap is destroyed however a program ends ----

for end in '1' '(exit 3)' '(car 1)'; do
  rm -f stats
  TESSERA_STATS=stats "$binary" -e "$end" >/dev/null 2>&1 || true
  [ -s stats ] || fail "no statistics after $end"
done
echo "prompt and command line"
