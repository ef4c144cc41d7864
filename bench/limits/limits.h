/* limits.h - what this machine allows: marking and copying loops without a library around them.
 *
 * They run on a heap of the same shape in plain memory from the system, objects of the same
 * layout as the library's, and know everything at compile time: no table of layouts, no rule of
 * which words are references, no blocks, no second kind of object, no overflow. What a collector
 * adds to them is the price of being a library. So the best of these loops, not the simplest, is
 * the control.
 *
 * All of them work off an explicit stack, or to-space itself, that was touched before the clock
 * starts. Main memory answers after some hundred cycles; a loop that knows the next addresses
 * early enough asks for several at once. How early is its *distance*: how many objects or edges
 * wait between a prefetch and the access (C.-Y. Cher, A. Hosking and T. Vijaykumar, Software
 * Prefetching for Mark-Sweep Garbage Collection, 2004). Nobody can tell the best distance
 * beforehand: it is swept.
 */
#ifndef TESSERA_BENCH_LIMITS_H
#define TESSERA_BENCH_LIMITS_H

#include "shapes.h"

/* ---- the heap ------------------------------------------------------------------------------- */

/** An object, here and in the library's heap. */
struct bare_object {
  uint64_t header; /* of a copied object: its new address and BARE_FORWARDED */
  struct bare_object *refs[SHAPE_REFS];
  uint64_t value; /* the mark of bare_walk() */
};

#define BARE_HEADER    ((uint64_t)1 << 32) /* of a new object */
#define BARE_FORWARDED ((uint64_t)1)

/** Memory of the system's. */
struct bare_memory {
  void *start;
  size_t bytes;
};

enum { BARE_MOST_THREADS = 16 };

/** A heap of one shape. */
struct bare_heap {
  const struct shape *shape;
  struct bare_object *objects; /* in order of memory */
  struct bare_object **array;  /* the root where the shape is an array */
  struct bare_object *root;    /* the root otherwise */
  uint64_t *marks;             /* a bit for each 8 bytes of `objects` */
  struct bare_object *to_space;
  void **stacks[BARE_MOST_THREADS];
  unsigned threads; /* how many stacks there are */
  bool fresh;       /* a copy is the first to touch to-space */
  struct bare_memory memory[4 + BARE_MOST_THREADS];
  size_t memories;
};

/** False: no memory. With `huge_pages` the system is asked for such. */
bool bare_heap_open(struct bare_heap *heap, const struct shape *shape, unsigned threads,
                    bool huge_pages);
void bare_heap_close(struct bare_heap *heap);

/** Makes all objects new, and to-space untouched where that is asked for. */
void bare_heap_fill(struct bare_heap *heap);
void bare_heap_clear_marks(struct bare_heap *heap);

/** The references that lead into the heap: the root, or the array's. */
struct bare_object **bare_heap_edges(struct bare_heap *heap);
size_t bare_heap_edge_count(const struct bare_heap *heap);

/* ---- the loops ------------------------------------------------------------------------------ */

/** Ways to work, with what waits between prefetch and access. */
enum bare_variant {
  BARE_MARK_OBJECTS, /* marked when pushed; objects wait between stack and scan */
  BARE_MARK_EDGES,   /* marked when popped; edges wait between stack and mark */
  BARE_MARK_RING,    /* marked when appended to a short queue in front of the stack */
  BARE_MARK_QUEUE,   /* marked when appended to a queue without end, and no stack */
  BARE_COPY_BREADTH, /* Cheney's; looks ahead in to-space */
  BARE_COPY_DEPTH,   /* slots wait between stack and copy */
  BARE_VARIANTS
};

const char *bare_variant_name(enum bare_variant variant);

/** One loop: a variant and its distance. 0: no prefetching. */
struct bare_loop {
  enum bare_variant variant;
  unsigned distance;
};

enum { BARE_MOST_DISTANCE = 128 };

/** Cheney's algorithm as published. */
#define BARE_CHENEY ((struct bare_loop){BARE_COPY_BREADTH, 0})

/** Marks everything reachable; returns the number of objects. Marks must be clear. */
uint64_t bare_mark(struct bare_heap *heap, struct bare_loop loop);

/** The same by the heap's threads together, each with its own stack; one that runs out of work is
    given some. Any variant but BARE_MARK_QUEUE. Returns 0 where threads cannot be had. */
uint64_t bare_mark_together(struct bare_heap *heap, struct bare_loop loop, double *wall_ns);

/** Copies everything reachable; returns the number of objects. The heap must be newly filled. */
uint64_t bare_copy(struct bare_heap *heap, struct bare_loop loop);

/** A mutator's walk from `count` edges on: depth first, marking by `value`, no prefetching.
    Values must be 0. Returns the number of objects. */
uint64_t bare_walk(struct bare_object *const *edges, size_t count, void **stack);

/* ---- measuring them ------------------------------------------------------------------------- */

/** What is to be done, by any of some variants. */
enum bare_work {
  BARE_MARKING,          /* by one thread, with a stack */
  BARE_MARKING_UNBOUND,  /* by one thread, with a queue as long as it needs */
  BARE_MARKING_TOGETHER, /* by all threads, with stacks */
  BARE_COPYING,
  BARE_WORKS
};

const char *bare_work_name(enum bare_work work);

/** What one loop cost. */
struct bare_cost {
  double cpu_ns;
  double wall_ns;
};

/** Clears the marks, runs a loop and measures it. Objects must be newly filled for a copy, and
    where they were copied before. False: the loop did not find what can be reached. */
bool bare_run(struct bare_heap *heap, enum bare_work work, struct bare_loop loop,
              struct bare_cost *cost);

enum { BARE_DISTANCES = 7, BARE_MOST_LOOPS = 3 * BARE_DISTANCES };

/** What each loop took on one shape. */
struct bare_sweep {
  enum bare_work work;
  size_t count;
  struct bare_loop loops[BARE_MOST_LOOPS];
  double ns[BARE_MOST_LOOPS]; /* medians: CPU time, for several threads wall time */
  size_t best;
};

/** Runs all loops in turns. False: no memory, or a loop failed. */
bool bare_sweep_run(struct bare_sweep *sweep, struct bare_heap *heap, enum bare_work work,
                    unsigned rounds);

#endif
