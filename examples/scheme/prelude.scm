; prelude.scm: the part of the library that is clearer in Scheme than in C.
;
; Compiled at every start. Names with % are not for programs. A global without % that is already
; defined is compiled as its value, so that a program may redefine it; hence no procedure here calls
; itself, or a later one, by such a name. Errors in here are shown at the
; place in the program that called.

; ---- the rest of the builtins ----

(define (square x) (* x x))
(define (floor-quotient a b) (quotient (- a (modulo a b)) b))
(define (boolean=? a b) (eq? a b))
(define (symbol=? a b) (eq? a b))

; ---- lists ----

(define (%check-end who rest)
  (if (not (null? rest)) (error (string-append who ": expected proper list, got") rest)))

(define (%map1 f list)
  (if (pair? list)
      (let ((first (f (car list))))
        (cons first (%map1 f (cdr list))))
      (begin (%check-end "map" list) '())))

(define (%any-null? lists)
  (and (pair? lists)
       (or (not (pair? (car lists))) (%any-null? (cdr lists)))))

(define (map f first . rest)
  (if (null? rest)
      (%map1 f first)
      (let loop ((lists (cons first rest)))
        (if (%any-null? lists)
            '()
            (let ((result (apply f (%map1 car lists))))
              (cons result (loop (%map1 cdr lists))))))))

(define (for-each f first . rest)
  (if (null? rest)
      (let loop ((list first))
        (if (pair? list)
            (begin (f (car list)) (loop (cdr list)))
            (%check-end "for-each" list)))
      (let loop ((lists (cons first rest)))
        (if (not (%any-null? lists))
            (begin (apply f (%map1 car lists)) (loop (%map1 cdr lists)))))))

(define (append-map f list) (apply append (map f list)))

(define (filter keep? list)
  (let loop ((list list) (kept '()))
    (cond ((null? list) (reverse kept))
          ((keep? (car list)) (loop (cdr list) (cons (car list) kept)))
          (else (loop (cdr list) kept)))))

(define (fold-left f seed list)
  (let loop ((seed seed) (list list))
    (if (null? list) seed (loop (f seed (car list)) (cdr list)))))

(define (fold-right f seed list)
  (let loop ((list list))
    (if (null? list) seed (f (car list) (loop (cdr list))))))

(define (fold f seed list)
  (let loop ((seed seed) (list list))
    (if (null? list) seed (loop (f (car list) seed) (cdr list)))))

(define (reduce f seed list)
  (if (null? list) seed (fold f (car list) (cdr list))))

(define (delete x list)
  (filter (lambda (y) (not (equal? x y))) list))

(define (iota count . rest)
  (let ((start (if (pair? rest) (car rest) 0))
        (step (if (and (pair? rest) (pair? (cdr rest))) (cadr rest) 1)))
    (let loop ((i (- count 1)) (list '()))
      (if (< i 0) list (loop (- i 1) (cons (+ start (* i step)) list))))))

(define (member x list . rest)
  (if (null? rest)
      (%member x list)
      (let loop ((list list))
        (cond ((null? list) #f)
              (((car rest) x (car list)) list)
              (else (loop (cdr list)))))))

(define (assoc x list . rest)
  (if (null? rest)
      (%assoc x list)
      (let loop ((list list))
        (cond ((null? list) #f)
              (((car rest) x (caar list)) (car list))
              (else (loop (cdr list)))))))

; Merge sort, stable. Takes a list or a vector and its order in either place.
(define (%merge a b before?)
  (let loop ((a a) (b b) (merged '()))
    (cond ((null? a) (append (reverse merged) b))
          ((null? b) (append (reverse merged) a))
          ((before? (car b) (car a)) (loop a (cdr b) (cons (car b) merged)))
          (else (loop (cdr a) b (cons (car a) merged))))))

(define (%sort-list list length before?)
  (if (< length 2)
      (if (= length 0) '() (cons (car list) '()))
      (let ((half (quotient length 2)))
        (%merge (%sort-list list half before?)
                (%sort-list (list-tail list half) (- length half) before?)
                before?))))

(define (%sort sequence before?)
  (if (vector? sequence)
      (let ((list (vector->list sequence)))
        (list->vector (%sort-list list (length list) before?)))
      (%sort-list sequence (length sequence) before?)))

(define (sort sequence before?)
  (if (procedure? sequence) (%sort before? sequence) (%sort sequence before?)))

; ---- vectors and strings ----

(define (vector-map f first . rest)
  (list->vector (apply map f (vector->list first) (%map1 vector->list rest))))

(define (vector-for-each f first . rest)
  (if (null? rest)
      (let ((end (vector-length first)))
        (let loop ((i 0))
          (if (< i end)
              (begin (f (vector-ref first i)) (loop (+ i 1))))))
      (apply for-each f (vector->list first) (%map1 vector->list rest))))

(define (string-for-each f first . rest)
  (apply for-each f (string->list first) (%map1 string->list rest)))

(define (string-map f first . rest)
  (list->string (apply map f (string->list first) (%map1 string->list rest))))

(define (string->vector string) (list->vector (string->list string)))
(define (vector->string vector) (list->string (vector->list vector)))

; ---- several values ----

(define (call-with-values producer consumer) (%apply-values consumer (producer)))
(define (%call-with-values producer consumer) (%apply-values consumer (producer)))

; ---- dynamic-wind and continuations ----
;
; %winders lists the dynamic-winds in force, innermost first, each as (before . after).
; A continuation remembers the list; calling it first runs the after thunks from here out to the
; common part of both lists, then the before thunks from there in. %handlers, the exception handlers in force,
; is remembered in the same way.

(define %winders '())
(define %handlers '())

(define (dynamic-wind before thunk after)
  (before)
  (set! %winders (cons (cons before after) %winders))
  (call-with-values thunk
    (lambda results
      (set! %winders (cdr %winders))
      (after)
      (apply values results))))

(define (%common-part a b)
  (let ((na (length a)) (nb (length b)))
    (let loop ((a (if (> na nb) (list-tail a (- na nb)) a))
               (b (if (> nb na) (list-tail b (- nb na)) b)))
      (if (eq? a b) a (loop (cdr a) (cdr b))))))

(define (%rewind target)
  (if (not (eq? %winders target))
      (let ((common (%common-part %winders target)))
        (let unwind ()
          (if (not (eq? %winders common))
              (let ((after (cdar %winders)))
                (set! %winders (cdr %winders))
                (after)
                (unwind))))
        (let wind ((list target))
          (if (not (eq? list common))
              (begin
                (wind (cdr list))
                ((caar list))
                (set! %winders list)))))))

(define (call-with-current-continuation f)
  (%call/cc
   (lambda (k)
     (let ((winders %winders) (handlers %handlers))
       (f (lambda results
            (%rewind winders)
            (set! %handlers handlers)
            (apply k results)))))))

(define call/cc call-with-current-continuation)

; ---- exceptions ----

(define (with-exception-handler handler thunk)
  (let ((outer %handlers))
    (set! %handlers (cons handler outer))
    (call-with-values thunk
      (lambda results
        (set! %handlers outer)
        (apply values results)))))

; Calls the innermost handler with the outer ones in force.
(define (%handle object)
  (let ((handlers %handlers))
    (set! %handlers (cdr handlers))
    (call-with-values (lambda () ((car handlers) object))
      (lambda results
        (set! %handlers handlers)
        (apply values results)))))

(define (raise-continuable object)
  (if (null? %handlers) (%fatal object) (%handle object)))

; The machine calls this for every object that is raised, in the frame that raised it.
(define (%signal object)
  (if (null? %handlers) (%fatal object))
  (let ((outer (cdr %handlers)))
    (%handle object)
    (set! %handlers outer)
    (error "the exception handler returned from" object)))

(define (%guard body handler)
  ((call/cc
    (lambda (leave)
      (with-exception-handler
       (lambda (object)
         ((call/cc
           (lambda (resume)
             (leave
              (lambda ()
                (handler object
                         (lambda ()
                           (resume (lambda () (raise-continuable object)))))))))))
       (lambda ()
         (call-with-values body
           (lambda results
             (leave (lambda () (apply values results)))))))))))
