#!/bin/sh
# What hostile programs get: sh limits.sh BINARY
# Full heaps, endless recursion, data nested without end: each an error that a program may handle and
# the prompt survives.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
binary=$1
cd "$work"

# expect NAME STATUS TEXT: runs NAME.scm; TEXT must be in what it prints.
expect() {
  status=0
  "$binary" "$1.scm" >got 2>&1 || status=$?
  if [ "$status" -ne "$2" ] || ! grep -qF -- "$3" got; then
    head -c 500 got
    fail "$1: status $status, expected $2 and: $3"
  fi
}

# ---- the heap is full ----

cat >fill.scm <<'END'
(define kept '())
(define (fill) (set! kept (cons (make-vector 100 0) kept)) (fill))
(fill)
END
for plan in nogc semispace; do
  for size in 2M 8M; do
    export TESSERA_PLAN=$plan TESSERA_HEAP_MAX=$size
    expect fill 1 "fill.scm:2: error: out of memory"
  done
done
unset TESSERA_PLAN

# It can be handled, again and again, and what was released can be used.
cat >recover.scm <<'END'
(define kept '())
(define (fill) (set! kept (cons (make-string 500 #\a) kept)) (fill))
(define (once) (guard (e (#t (set! kept '()) (error-object-message e))) (fill)))
(display (map (lambda (i) (once)) (iota 5)))
(display (length (iota 10000)))
END
TESSERA_HEAP_MAX=4M expect recover 0 \
  "(out of memory out of memory out of memory out of memory out of memory)10000"

# The prompt goes on.
printf '%s\n' "(define l '())" '(define (fill) (set! l (cons 1 l)) (fill))' '(fill)' "(set! l '())" \
  '(length (iota 20000))' >input
TESSERA_HEAP_MAX=3M "$binary" <input >got 2>&1 || fail "prompt after a full heap: status $?"
grep -q "out of memory" got || fail "prompt: no error where the heap was full"
grep -q 20000 got || fail "prompt: nothing works after the heap was full"
unset TESSERA_HEAP_MAX

# ---- recursion ----

echo '(define (f n) (+ 1 (f n))) (f 1)' >endless.scm
SCHEME_STACK_MAX=8M expect endless 1 "endless.scm:1: error: stack overflow"
echo '(define (f n) (+ 1 (f n)))
(display (guard (e (#t (error-object-message e))) (f 1)))
(display (guard (e (#t (error-object-message e))) (f 1)))
(define (count n) (if (= n 0) 0 (+ 1 (count (- n 1)))))
(display (count 100000))' >handled.scm
SCHEME_STACK_MAX=8M expect handled 0 "stack overflowstack overflow100000"
echo '(define (f n) (if (= n 0) 0 (+ 1 (f (- n 1))))) (display (f 10000000))' >ten-million.scm
expect ten-million 0 10000000
echo '(define (f) (with-exception-handler (lambda (e) (f)) (lambda () (+ 1 (car 1))))) (f)' >handlers.scm
SCHEME_STACK_MAX=8M expect handlers 1 "error: stack overflow"

# limit SIZE: SCHEME_STACK_MAX=SIZE is refused.
limit() {
  status=0
  SCHEME_STACK_MAX=$1 "$binary" -e 1 >got 2>&1 || status=$?
  [ "$status" -eq 64 ] || fail "SCHEME_STACK_MAX=$1: status $status"
  grep -qF "SCHEME_STACK_MAX=$1: expected a size" got || fail "SCHEME_STACK_MAX=$1: no message"
}
for size in '' none 8X 8MB -8M ' 8M' 0 63K 65535 9999999999G 99999999999999999999999; do
  limit "$size"
done
[ "$(SCHEME_STACK_MAX=64k "$binary" -e 1)" = 1 ] || fail "the least SCHEME_STACK_MAX"

# ---- nesting ----

echo '(define (nest n x) (if (= n 0) x (nest (- n 1) (list x))))
(define a (nest 1000000 1))
(define b (nest 1000000 1))
(display (equal? a b))
(write a)' >nested.scm
expect nested 0 "#t(((((("
echo '(define v (vector 1)) (vector-set! v 0 v) (write v)' >circle.scm
expect circle 1 "error: datum nested too deeply to be printed"
echo '(define l (list 1)) (set-cdr! l l) (display (list? l)) (length l)' >ring.scm
expect ring 1 "error: length: expected proper list"

repeat() { awk -v text="$1" -v count="$2" 'BEGIN { for (i = 0; i < count; i++) printf "%s", text }'; }
repeat '(' 1000000 >open.scm
expect open 1 "open.scm:1: error: data nested too deeply"
repeat "'" 1000000 >quotes.scm
expect quotes 1 "quotes.scm:1: error: data nested too deeply"
repeat '#;' 1000000 >comments.scm
expect comments 1 "comments.scm:1: error: data nested too deeply"
repeat '#(' 1000000 >vectors.scm
expect vectors 1 "vectors.scm:1: error: data nested too deeply"
{ repeat '(car ' 1900; printf 1; repeat ')' 1900; } >calls.scm
expect calls 1 "error: car: expected pair, got 1"
{ printf '(display '; repeat '(let ((x 1)) (+ x ' 900; printf 1; repeat '))' 900; printf ')'; } >lets.scm
expect lets 0 901
{ printf '(display '; repeat '(lambda (x) ' 1900; printf x; repeat ')' 1901; } >lambdas.scm
expect lambdas 0 '#<procedure>'
{ printf '(display (+ '; repeat '1 ' 60000; printf '))'; } >arguments.scm
expect arguments 0 60000
{ printf '(display (+ '; repeat '1 ' 70000; printf '))'; } >more-arguments.scm
expect more-arguments 1 "call with too many arguments"
{ printf '(display (cond '; repeat '(#f 1) ' 20000; printf '(else 2)))'; } >cond.scm
expect cond 0 2
{ printf '(let* ('; repeat '(x 1) ' 20000; printf ') (display x))'; } >let-star.scm
expect let-star 0 1
{ printf '(display (length `('; repeat ',1 ' 3000; printf ')))'; } >quasi.scm
expect quasi 0 3000
{ printf '(let* ('; repeat '(x 1) ' 100000; printf ') (display x))'; } >longer-let-star.scm
expect longer-let-star 0 1
{ printf '(display (length `('; repeat ',1 ' 100000; printf ')))'; } >longer-quasi.scm
expect longer-quasi 1 "longer-quasi.scm:1: error: program nested too deeply"
{ printf '(display (length `('; repeat ',@x ' 100000; printf ')))'; } >splices.scm
expect splices 1 "splices.scm:1: error: program nested too deeply"
{ printf '(define (f) '; repeat '(define (g) 1) (display g) (define x (g)) ' 1; repeat '(display x) (if #f #f) ' 10000
  printf 'x) (f)'; } >long-body.scm
expect long-body 0 '#<procedure g>1'
awk 'BEGIN { printf "(define (f) "; for (i = 0; i < 5000; i++) printf "(define (f%d) 1) (display 1) ", i
  print "1) (f)" }' >groups.scm
expect groups 0 1111
{ printf '(let*-values ('; repeat '((x) 1) ' 100000; printf ') (display x))'; } >let-star-values.scm
expect let-star-values 1 "let-star-values.scm:1: error: program nested too deeply"
{ printf '(display (length (quote ('; repeat '(a "b" 1.5) ' 30000; printf '))))'; } >constant.scm
expect constant 0 30000
{ printf '(display (apply + (iota 1000000)))'; } >apply.scm
expect apply 0 499999500000
{ printf '(display "'; repeat 'long ' 100000; printf '")'; } >string.scm
expect string 0 "long long"
repeat 'x' 5000 >token.scm
expect token 1 "error: token too long"
# Noise made of what the reader knows: an error or not, never a crash.
for seed in 1 2 3 4 5 6 7 8; do
  awk -v seed="$seed" 'BEGIN {
    count = split("( ) ( ) [ ] #( #\\ #x \" \047 ` , ,@ . #| |# #; ; | 12 -1.5 car lambda x #t", token, " ")
    srand(seed)
    for (i = 0; i < 400; i++) printf "%s%s", token[int(rand() * count) + 1], rand() < 0.7 ? " " : "\n"
  }' >noise.scm
  "$binary" noise.scm >got 2>&1 && status=0 || status=$?
  [ "$status" -le 1 ] || fail "noise of seed $seed: status $status"
done
echo "limits"
