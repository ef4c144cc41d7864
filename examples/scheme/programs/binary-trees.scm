; binary-trees.scm: complete binary trees of pairs, made and counted.

(define min-depth 4)
(define max-depth 16)

(define (make-tree depth)
  (if (= depth 0)
      (cons '() '())
      (cons (make-tree (- depth 1)) (make-tree (- depth 1)))))

(define (check tree)
  (if (null? (car tree))
      1
      (+ 1 (check (car tree)) (check (cdr tree)))))

(define (show . things)
  (for-each display things)
  (newline))

(define (check-trees count depth)
  (do ((i 0 (+ i 1)) (sum 0 (+ sum (check (make-tree depth)))))
      ((= i count) sum)))

(show "stretch tree of depth " (+ max-depth 1) " check: " (check (make-tree (+ max-depth 1))))

(define long-lived (make-tree max-depth))

(do ((depth min-depth (+ depth 2))) ((> depth max-depth))
  (let ((count (expt 2 (+ (- max-depth depth) min-depth))))
    (show count " trees of depth " depth " check: " (check-trees count depth))))

(show "long lived tree of depth " max-depth " check: " (check long-lived))
