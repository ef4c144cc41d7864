; deriv.scm: symbolic derivatives, simplified, again and again.

(define (sum a b)
  (cond ((and (number? a) (number? b)) (+ a b))
        ((eqv? a 0) b)
        ((eqv? b 0) a)
        (else (list '+ a b))))

(define (product a b)
  (cond ((and (number? a) (number? b)) (* a b))
        ((or (eqv? a 0) (eqv? b 0)) 0)
        ((eqv? a 1) b)
        ((eqv? b 1) a)
        (else (list '* a b))))

(define (power base exponent)
  (cond ((eqv? exponent 0) 1)
        ((eqv? exponent 1) base)
        (else (list '^ base exponent))))

(define (derive e x)
  (cond ((number? e) 0)
        ((symbol? e) (if (eq? e x) 1 0))
        (else
         (case (car e)
           ((+) (sum (derive (cadr e) x) (derive (caddr e) x)))
           ((*) (sum (product (cadr e) (derive (caddr e) x))
                     (product (derive (cadr e) x) (caddr e))))
           ((^) (product (product (caddr e) (power (cadr e) (- (caddr e) 1)))
                         (derive (cadr e) x)))
           ((sin) (product (list 'cos (cadr e)) (derive (cadr e) x)))
           ((cos) (product (product -1 (list 'sin (cadr e))) (derive (cadr e) x)))
           (else (error "no rule for" (car e)))))))

(define (size e) (if (pair? e) (fold-left + 1 (map size (cdr e))) 1))

(define (derive-times n e x)
  (if (= n 0) e (derive-times (- n 1) (derive e x) x)))

(define (show . things)
  (for-each display things)
  (newline))

(define polynomial '(+ (* 3 (^ x 4)) (+ (* -2 (^ x 3)) (+ (* 5 x) 7))))
(define wave '(* (sin (* 2 x)) (cos (^ x 2))))

(show (derive polynomial 'x))
(show (derive wave 'x))
(do ((n 0 (+ n 1))) ((> n 6))
  (show "derivative " n " of the wave has " (size (derive-times n wave 'x)) " terms"))
(do ((i 0 (+ i 1)) (total 0 (+ total (size (derive-times 6 wave 'x)))))
    ((= i 400) (show "four hundred times: " total " terms")))
