; deep.scm: recursion a million calls deep that is not in tail position. The stack is on the
; collector's list of roots, so it is scanned, and moved by, collections at all depths.

(define depth 1000000)

(define (show . things)
  (for-each display things)
  (newline))

; No allocation.
(define (count n) (if (= n 0) 0 (+ 1 (count (- n 1)))))
(show "counted " (count depth))

; A pair at each level, on the way back.
(define (numbers n) (if (= n 0) '() (cons n (numbers (- n 1)))))

; A pair at each level, on the way down, kept alive by the frame alone.
(define (sum-of-cells n)
  (if (= n 0)
      0
      (let ((cell (cons n n)))
        (+ (sum-of-cells (- n 1)) (car cell) (- (cdr cell) (car cell))))))

(define (sum list) (if (null? list) 0 (+ (car list) (sum (cdr list)))))

(define expected (quotient (* depth (+ depth 1)) 2))
(define (check title got)
  (show title " " got (if (= got expected) "" " WRONG")))

(check "sum of a list made in recursion" (sum (numbers depth)))
(check "sum of cells on the stack" (sum-of-cells depth))

; map is recursive too.
(check "sum of a mapped list" (fold-left + 0 (map (lambda (x) (- x 1)) (iota depth 2))))

; Short-lived garbage under a deep stack.
(define (garbage n) (if (= n 0) '() (cons (make-vector 8 n) (garbage (- n 1)))))
(define (busy n)
  (if (= n 0)
      0
      (begin
        (if (= 0 (remainder n 1000)) (garbage 1000))
        (+ n (busy (- n 1))))))
(check "sum over garbage" (busy depth))

; Between two procedures.
(define (even-down n) (if (= n 0) 0 (+ 1 (odd-down (- n 1)))))
(define (odd-down n) (if (= n 0) 0 (+ 1 (even-down (- n 1)))))
(show "mutual recursion " (even-down depth))
