; nqueens.scm: in how many ways do n queens fit on an n by n board? Lists only.

(define (queens size)
  ; safe?: whether a queen in `row` is not attacked by those placed, the nearest first.
  (define (safe? row distance placed)
    (or (null? placed)
        (and (not (= (car placed) row))
             (not (= (abs (- (car placed) row)) distance))
             (safe? row (+ distance 1) (cdr placed)))))
  (define (extend placed)
    (append-map (lambda (row) (if (safe? row 1 placed) (list (cons row placed)) '()))
                (iota size 1)))
  (let loop ((columns size) (boards '(())))
    (if (= columns 0)
        boards
        (loop (- columns 1) (append-map extend boards)))))

(define (show . things)
  (for-each display things)
  (newline))

(do ((size 4 (+ size 1))) ((> size 10))
  (let ((boards (queens size)))
    (show size " queens: " (length boards) " solutions, the first is " (car boards))))
