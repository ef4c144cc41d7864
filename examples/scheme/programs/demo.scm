; demo.scm: what scripts/demo shows. Three small computations that make a lot of garbage.

(define (show . things)
  (for-each display things)
  (newline))

; ---- eight queens, by lists of lists ----

(define (queens size)
  (define (safe? row distance placed)
    (or (null? placed)
        (and (not (= (car placed) row))
             (not (= (abs (- (car placed) row)) distance))
             (safe? row (+ distance 1) (cdr placed)))))
  (let loop ((columns size) (boards '(())))
    (if (= columns 0)
        boards
        (loop (- columns 1)
              (append-map
               (lambda (placed)
                 (append-map (lambda (row) (if (safe? row 1 placed) (list (cons row placed)) '()))
                             (iota size)))
               boards)))))

(define (show-board board)
  (for-each
   (lambda (row)
     (display "   ")
     (for-each (lambda (column) (display (if (= row column) " Q" " ."))) (iota (length board)))
     (newline))
   board))

(let ((boards (queens 8)))
  (show "Eight queens that don't attack each other can stand in " (length boards) " ways, such as")
  (newline)
  (show-board (list-ref boards 42))
  (newline))

; ---- a symbolic derivative ----

(define (sum a b)
  (cond ((eqv? a 0) b) ((eqv? b 0) a) (else `(,a + ,b))))
(define (product a b)
  (cond ((or (eqv? a 0) (eqv? b 0)) 0) ((eqv? a 1) b) ((eqv? b 1) a) (else `(,a * ,b))))
(define (derive e)
  (cond ((number? e) 0)
        ((symbol? e) 1)
        ((eq? (car e) 'sin) (product `(cos ,(cadr e)) (derive (cadr e))))
        ((eq? (cadr e) '+) (sum (derive (car e)) (derive (caddr e))))
        (else (sum (product (derive (car e)) (caddr e)) (product (car e) (derive (caddr e)))))))

(show "The derivative of ((x * x) + (sin (3 * x))) is")
(show "    " (derive '((x * x) + (sin (3 * x)))))
(newline)

; ---- the Mandelbrot set, in numbers that each live in the heap ----

(define limit 5000)

(define (iterations x y)
  (let loop ((a 0.) (b 0.) (n 0))
    (let ((aa (* a a)) (bb (* b b)))
      (if (or (= n limit) (> (+ aa bb) 4.))
          n
          (loop (+ (- aa bb) x) (+ (* 2. a b) y) (+ n 1))))))

(define shades " .:-=+*#%@")

(define (shade n)
  (cond ((= n limit) #\@)
        ((> n 24) #\#)
        (else (string-ref shades (quotient n 3)))))

(show "The Mandelbrot set:")
(do ((row 0 (+ row 1))) ((= row 24))
  (display "    ")
  (do ((column 0 (+ column 1))) ((= column 68))
    (write-char (shade (iterations (- (/ column 25.) 2.05) (- (/ row 10.) 1.15)))))
  (newline))
