; gcbench.scm: the classic test of a collector, after Ellis, Kovac and Boehm: binary trees of all
; ages, short-lived ones by the thousand beside one that stays, and a large array of numbers.
; All depths hang on one constant; the original's is 18.

(define stretch-depth 18)
(define long-lived-depth (- stretch-depth 2))
(define array-size (expt 2 (+ stretch-depth 1)))
(define min-depth 4)
(define max-depth long-lived-depth)

(define-record-type node
  (make-node left right i j)
  node?
  (left node-left set-node-left!)
  (right node-right set-node-right!)
  (i node-i)
  (j node-j))

(define (empty-node) (make-node #f #f 0 0))

(define (tree-size depth) (- (expt 2 (+ depth 1)) 1))

; As many trees of a depth as make the same number of nodes.
(define (iterations depth)
  (quotient (* 2 (tree-size stretch-depth)) (tree-size depth)))

; From the root down, by assignment: old objects come to point to young ones.
(define (populate! depth node)
  (when (> depth 0)
    (set-node-left! node (empty-node))
    (set-node-right! node (empty-node))
    (populate! (- depth 1) (node-left node))
    (populate! (- depth 1) (node-right node))))

; From the leaves up.
(define (make-tree depth)
  (if (= depth 0)
      (empty-node)
      (make-node (make-tree (- depth 1)) (make-tree (- depth 1)) 0 0)))

(define (count-nodes node)
  (if (node-left node)
      (+ 1 (count-nodes (node-left node)) (count-nodes (node-right node)))
      1))

(define (show . things)
  (for-each display things)
  (newline))

(define (construct depth)
  (let ((count (iterations depth)))
    (do ((i 0 (+ i 1))) ((= i count))
      (populate! depth (empty-node)))
    (do ((i 0 (+ i 1)) (nodes 0 (+ nodes (count-nodes (make-tree depth)))))
        ((= i count)
         (show count " trees of depth " depth ", twice: " nodes " nodes each time")))))

(show "stretching with a tree of depth " stretch-depth ": "
      (count-nodes (make-tree stretch-depth)) " nodes")

(define long-lived-tree (empty-node))
(populate! long-lived-depth long-lived-tree)
(show "a long-lived tree of depth " long-lived-depth)

(define array (make-vector array-size 0.0))
(do ((i 0 (+ i 1))) ((= i (quotient array-size 2)))
  (vector-set! array i (/ 1.0 (+ i 1))))
(show "a long-lived array of " array-size " numbers")

(do ((depth min-depth (+ depth 2))) ((> depth max-depth))
  (construct depth))

(show "the long-lived tree still has " (count-nodes long-lived-tree) " nodes")
(show "the array still holds " (vector-ref array 1000))
