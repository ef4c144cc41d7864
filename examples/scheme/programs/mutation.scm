; mutation.scm: old objects that change all the time.
;
; A big table of doubly linked rings, in which random nodes are replaced, moved between rings and
; linked to each other: stores of young objects into old ones, and of old into older.

(define rings 4096)
(define steps 1000000)

; Park and Miller's generator.
(define seed 42)
(define (random n)
  (set! seed (modulo (* seed 16807) 2147483647))
  (modulo seed n))

(define-record-type node
  (make-node key previous next friend)
  node?
  (key node-key set-node-key!)
  (previous node-previous set-node-previous!)
  (next node-next set-node-next!)
  (friend node-friend set-node-friend!))

(define (lone-node key)
  (let ((node (make-node key #f #f #f)))
    (set-node-previous! node node)
    (set-node-next! node node)
    node))

(define (insert-after! node new)
  (set-node-previous! new node)
  (set-node-next! new (node-next node))
  (set-node-previous! (node-next node) new)
  (set-node-next! node new))

(define (unlink! node)
  (set-node-next! (node-previous node) (node-next node))
  (set-node-previous! (node-next node) (node-previous node)))

(define table (make-vector rings #f))
(do ((i 0 (+ i 1))) ((= i rings))
  (vector-set! table i (lone-node i))
  (do ((j 1 (+ j 1))) ((= j 4))
    (insert-after! (vector-ref table i) (lone-node (+ i (* j rings))))))

(define (random-ring) (vector-ref table (random rings)))

; A new node takes the place of the ring's second one.
(define (replace! ring)
  (let ((old (node-next ring)) (new (lone-node (random 1000000))))
    (unless (eq? old ring)
      (unlink! old)
      (set-node-friend! new (node-friend old)))
    (insert-after! ring new)))

(define (move! from to)
  (let ((node (node-next from)))
    (unless (or (eq? node from) (eq? from to))
      (unlink! node)
      (insert-after! to node))))

(define (befriend! a b)
  (set-node-friend! a b))

(define (step! i)
  (case (random 4)
    ((0 1) (replace! (random-ring)))
    ((2) (move! (random-ring) (random-ring)))
    (else (befriend! (node-next (random-ring)) (random-ring)))))

(define (ring-fold f seed ring)
  (let loop ((node (node-next ring)) (result (f seed ring)))
    (if (eq? node ring)
        result
        (loop (node-next node) (f result node)))))

(define (checksum)
  (let loop ((i 0) (nodes 0) (keys 0) (friends 0))
    (if (= i rings)
        (list nodes keys friends)
        (let ((ring (vector-ref table i)))
          (loop (+ i 1)
                (ring-fold (lambda (n node) (+ n 1)) nodes ring)
                (ring-fold (lambda (k node) (modulo (+ (* 31 k) (node-key node)) 1000000007))
                           keys ring)
                (ring-fold (lambda (f node)
                             (if (node-friend node)
                                 (modulo (+ (* 17 f) (node-key (node-friend node))) 1000000007)
                                 f))
                           friends ring))))))

; Both directions must agree.
(define (sound?)
  (let loop ((i 0))
    (or (= i rings)
        (and (ring-fold (lambda (good node)
                          (and good (eq? (node-previous (node-next node)) node)))
                        #t (vector-ref table i))
             (loop (+ i 1))))))

(define (show . things)
  (for-each display things)
  (newline))

(do ((round 1 (+ round 1))) ((> round 4))
  (do ((i 0 (+ i 1))) ((= i (quotient steps 4)))
    (step! i))
  (show "after round " round ": nodes, keys, friends " (checksum)
        (if (sound?) ", sound" ", BROKEN")))
