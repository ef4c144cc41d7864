; callcc.scm: continuations that are left, re-entered and used again.

(define (show . things)
  (for-each display things)
  (newline))

; ---- generators: two computations that take turns ----

; A procedure that returns the next leaf of the tree at each call, then 'done.
(define (leaf-generator tree)
  (define return #f)
  (define (walk tree)
    (cond ((null? tree) #f)
          ((pair? tree) (walk (car tree)) (walk (cdr tree)))
          (else
           (call/cc
            (lambda (resume)
              (set! continue (lambda () (resume #f)))
              (return tree))))))
  (define (continue)
    (walk tree)
    (set! continue (lambda () (return 'done)))
    (return 'done))
  (lambda ()
    (call/cc
     (lambda (k)
       (set! return k)
       (continue)))))

(define (same-fringe? a b)
  (let ((next-a (leaf-generator a)) (next-b (leaf-generator b)))
    (let loop ((x (next-a)) (y (next-b)))
      (cond ((not (eq? x y)) #f)
            ((eq? x 'done) #t)
            (else (loop (next-a) (next-b)))))))

(define (right-comb n) (if (= n 0) '() (cons n (right-comb (- n 1)))))
(define (left-comb n tail) (if (= n 0) tail (left-comb (- n 1) (cons n tail))))
(define (balanced list n)
  (if (= n 1)
      (car list)
      (let ((half (quotient n 2)))
        (cons (balanced list half) (balanced (list-tail list half) (- n half))))))

(define numbers (right-comb 600))
(show "same fringe, comb and balanced: " (same-fringe? numbers (balanced numbers 600)))
(show "same fringe, one leaf differs: "
      (same-fringe? numbers (balanced (cons 'other (cdr numbers)) 600)))

(define (fringe-rounds n)
  (let loop ((i 0) (agreed 0))
    (if (= i n)
        agreed
        (loop (+ i 1)
              (if (same-fringe? (balanced numbers (+ 100 (modulo i 500))) (balanced numbers (+ 100 (modulo i 500))))
                  (+ agreed 1)
                  agreed)))))
(show "fringes compared in rounds: " (fringe-rounds 400))

; ---- re-entry: one continuation, many times ----

(define (count-up-by-reentry limit)
  (let ((again #f) (count 0))
    (call/cc (lambda (k) (set! again k)))
    (set! count (+ count 1))
    (if (< count limit) (again #f) count)))
(show "re-entered " (count-up-by-reentry 100000) " times")

; A continuation kept from deep inside a recursion, called after that has returned.
(define saved #f)
(define rounds 0)
(define (deep n)
  (if (= n 0)
      (call/cc (lambda (k) (set! saved k) 0))
      (+ 1 (deep (- n 1)))))
(let ((result (deep 1000)))
  (show "deep result " result)
  (set! rounds (+ rounds 1))
  (if (< rounds 4) (saved (* 1000 rounds))))

; amb: the last choice that still has a way to go is taken up again.
(define fail #f)
(define (amb . choices)
  (let ((outer fail))
    (call/cc
     (lambda (return)
       (for-each
        (lambda (choice)
          (call/cc
           (lambda (next)
             (set! fail (lambda () (next #f)))
             (return choice))))
        choices)
       (set! fail outer)
       (outer)))))
(define (pythagorean limit)
  (let ((results '()))
    (call/cc
     (lambda (done)
       (set! fail (lambda () (done #f)))
       (let* ((a (apply amb (iota limit 1)))
              (b (apply amb (iota (- limit a -1) a)))
              (c (apply amb (iota (- limit b -1) b))))
         (if (= (+ (* a a) (* b b)) (* c c))
             (set! results (cons (list a b c) results)))
         (fail))))
    (reverse results)))
(show "right triangles: " (pythagorean 60))

; ---- dynamic-wind ----

(define trace '())
(define (note x) (set! trace (cons x trace)))
(define (show-trace title)
  (show title (reverse trace))
  (set! trace '()))

(define result
  (call/cc
   (lambda (exit)
     (dynamic-wind
      (lambda () (note 'in-1))
      (lambda ()
        (dynamic-wind
         (lambda () (note 'in-2))
         (lambda () (note 'body) (exit 'left))
         (lambda () (note 'out-2))))
      (lambda () (note 'out-1))))))
(show-trace (string-append "leaving, " (symbol->string result) ": "))

(define (visit times)
  (let ((inside #f) (visits 0))
    (dynamic-wind
     (lambda () (note 'enter))
     (lambda ()
       (call/cc (lambda (k) (set! inside k)))
       (set! visits (+ visits 1))
       (note visits))
     (lambda () (note 'exit)))
    (if (< visits times) (inside #f))))
(visit 3)
(show-trace "re-entering: ")

; From one branch of winders to another: out of the one, into the other.
(define (cross)
  (let ((into-left #f) (first-time #t))
    (dynamic-wind
     (lambda () (note 'left-in))
     (lambda () (call/cc (lambda (k) (set! into-left k))) (note 'left))
     (lambda () (note 'left-out)))
    (dynamic-wind
     (lambda () (note 'right-in))
     (lambda ()
       (when first-time
         (set! first-time #f)
         (into-left #f))
       (note 'right))
     (lambda () (note 'right-out)))))
(cross)
(show-trace "between branches: ")

; Errors run the winders too.
(show (guard (e (#t (note 'handler) (error-object-message e)))
        (dynamic-wind
         (lambda () (note 'before))
         (lambda () (error "thrown"))
         (lambda () (note 'after)))))
(show-trace "error through a winder: ")
