; Ephemerons and finalizers. Keys that the program has let go break their ephemerons, and come back
; once, from next-finalized; the others keep their data. Under a plan that never collects all stays.

(define size 200)
(define keys (make-vector size #f))
(define table '())

(define (add! i)
  (let ((key (list i)))
    (vector-set! keys i key)
    (set! table (cons (make-ephemeron key (vector i key)) table)) ; the datum leads to its key
    (finalize key i)))

(define (fill!)
  (set! table '())
  (do ((i 0 (+ i 1))) ((= i size)) (add! i)))

(define (drop-odd!)
  (do ((i 1 (+ i 2))) ((>= i size)) (vector-set! keys i #f)))

; How many finalizers are ready, each with the key that belongs to its datum.
(define (drain)
  (let loop ((n 0) (next (next-finalized)))
    (cond ((not next) n)
          ((equal? (car next) (list (cdr next))) (loop (+ n 1) (next-finalized)))
          (else (error "a finalizer for another object" next)))))

(define (broken)
  (let loop ((n 0) (rest table))
    (cond ((null? rest) n)
          ((ephemeron-broken? (car rest)) (loop (+ n 1) (cdr rest)))
          (else (loop n (cdr rest))))))

(define (datum-of key)
  (let loop ((rest table))
    (cond ((null? rest) #f)
          ((eq? (ephemeron-key (car rest)) key) (ephemeron-datum (car rest)))
          (else (loop (cdr rest))))))

(define (check-even)
  (do ((i 0 (+ i 2))) ((>= i size))
    (let ((datum (datum-of (vector-ref keys i))))
      (if (not (and datum (= (vector-ref datum 0) i) (eq? (vector-ref datum 1) (vector-ref keys i))))
          (error "a datum was lost" i)))))

; All that can die has died, or nothing has.
(define (all-or-none n most)
  (or (= n 0) (= n most)))

(define total 0)

(do ((round 1 (+ round 1))) ((> round 12))
  (fill!)
  (drop-odd!)
  (gc)
  (set! total (+ total (drain)))
  (gc) ; what a finalizer was for is garbage now
  (check-even)
  (if (not (all-or-none (broken) (quotient size 2)))
      (error "some ephemerons are broken, and others are not" (broken)))
  (do ((i 0 (+ i 1))) ((= i size)) (vector-set! keys i #f))
  (gc)
  (set! total (+ total (drain))))

; The loop's own variables may have kept the last of them.
(gc)
(set! total (+ total (drain)))

(display (list 'rounds 12 'finalizers (all-or-none total (* 12 size))))
(newline)
(display (map ephemeron? (list (car table) table)))
(newline)
(display (let ((e (make-ephemeron 1 'one)))
           (list (ephemeron-key e) (ephemeron-datum e) (ephemeron-broken? e))))
(newline)
