; A vector of lists that are added to in turns, and strings made of strings.
(define table (make-vector 4 '()))
(do ((i 0 (+ i 1))) ((= i 12))
  (let ((place (modulo i 4)))
    (vector-set! table place (cons i (vector-ref table place)))))
(display table) (newline)
(define (join items)
  (if (null? items) "" (string-append (car items) "-" (join (cdr items)))))
(display (join '("one" "two" "three"))) (newline)
