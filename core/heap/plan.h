/*
 * A plan: a collection policy as a table. plans/ holds one file for each, plans/registry.c lists
 * them, and the rest of the library knows them only as this struct.
 *
 * One with a young generation may let it rest. Another table is in force for that time, the plan's other *form*: what may change
 * from pause to pause is asked of that (core/heap/heap.h).
 */
#ifndef CORE_HEAP_PLAN_H
#define CORE_HEAP_PLAN_H

#include <stdbool.h>
#include <stdint.h>
#include <tessera/binding.h>
#include <tessera/mutator.h>

struct worker;

/* A write barrier: what its slow path does. barriers/ holds one file for each. */
struct barrier {
  bool arms_objects;     /* false: only sealed objects are armed */
  bool large_born_armed; /* stores into a new large object use the barrier from the start */
  /* Before a mutator stores into `count` slots of an armed object, from `first` on. `word`: what it stores into each; NULL:
     different words. */
  void (*slow)(tsr_mutator *mutator, tsr_ref object, const tsr_slot *first, size_t count,
               const uint64_t *word);
};

struct plan {
  const char *name;
  const char *summary;
  uint32_t preference; /* the default plan is the allowed one with the highest */
  uint32_t requires;   /* TSR_DOES_...: what the VM must do */
  uint32_t offers;     /* TSR_NEEDS_...: what the VM may need */
  bool collects;
  bool moves_objects;
  bool movable_arena;    /* default placement bumps in the movable arena */
  bool incremental;      /* what is old is marked in steps */
  uint32_t least_blocks; /* without which not even one object can be handled */
  const struct barrier *barrier;
  /* NULL, or: the same with the old generation alone. By the option `nursery`, or for as long as the nursery rests. */
  const struct plan *without_nursery;
  /* NULL, or: in a pause, whether the nursery rests from then on. `looked_at_all`: everything old has been looked at in this
     pause, or in the cycle that it ends, or will be. */
  void (*choose_form)(tsr_heap *heap, bool looked_at_all);

  /* All that follows is the form's. */
  bool
      promoted_arena; /* default placement bumps among what others promote; else in the copy space */
  bool generational;  /* the copy space is a young generation; the barrier arms what is older */

  /* Blocks that the heap may come to hold, at its worst moment, once this many more are handed out: for
     default placement, and for objects that stay where they are. */
  size_t (*footprint_blocks)(const tsr_heap *heap, size_t default_blocks, size_t staying_blocks);

  /* NULL, or: bytes of these blocks that lie free between old objects, and will be used again. */
  size_t (*gap_bytes)(const tsr_heap *heap);

  /* NULL, or: whether so many more blocks of default placement fit without a collection, however large the heap
     may be. */
  bool (*has_room)(const tsr_heap *heap, size_t default_blocks);
  /* NULL, or: whether a collection for this cause is of the young generation alone; where there is none, whether it looks at
     roots and remembered objects for a cycle of marking. World stopped. */
  bool (*is_minor)(tsr_heap *heap, const char *cause);

  /* The phases of a collection, world stopped; NULL where the plan never collects. All but the trace are the
     collecting thread's. */
  void (*prepare)(tsr_heap *heap); /* NULL: nothing to do */
  void (*pin)(tsr_heap *heap,
              tsr_ref object); /* before anything is reached: it stays where it is */
  void (*visit_slots)(struct worker *worker, tsr_slot *first, size_t count); /* of roots */
  /* Of old objects, before the trace of a minor collection; NULL where there are none. */
  void (*take_noted)(struct worker *worker, tsr_slot *const *slots, size_t count, bool shared);
  void (*reach)(struct worker *worker,
                tsr_ref object); /* an object that is a root, and is not moved */
  void (*trace)(struct worker *worker, bool shared); /* by every worker that takes part */
  void (*rescan)(struct worker *worker);             /* what did not fit the queues */
  /* Where an object is that the trace has reached so far, NULL: it has not. What comes out comes out
     again when it is asked for. */
  tsr_ref (*survivor)(const tsr_heap *heap, tsr_ref object);
  /* NULL, or: decides where survivors go, and updates slots of roots to that. */
  void (*relocate)(tsr_heap *heap);
  void (*update_slots)(struct worker *worker, tsr_slot *first, size_t count);
  size_t (*release)(tsr_heap *heap); /* returns the bytes of what was reached */
};

#endif
