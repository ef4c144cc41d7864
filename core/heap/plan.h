/*
 * A plan: a collection policy as a table. plans/ holds one file for each, plans/registry.c lists
 * them, and the rest of the library knows them only as this struct.
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
  void (*slow)(tsr_mutator *mutator, tsr_ref object, tsr_slot *slot, uint64_t word);
};

struct plan {
  const char *name;
  const char *summary;
  uint32_t preference; /* the default plan is the allowed one with the highest */
  uint32_t requires;   /* TSR_DOES_...: what the VM must do */
  uint32_t offers;     /* TSR_NEEDS_...: what the VM may need */
  bool collects;
  bool moves_objects;
  uint32_t least_blocks; /* without which not even one object can be handled */
  const struct barrier *barrier;

  /* Blocks that the heap may come to hold, at its worst moment, once this many more are handed out: for
     default placement, and for objects that stay where they are. */
  size_t (*footprint_blocks)(const tsr_heap *heap, size_t default_blocks, size_t staying_blocks);

  /* The phases of a collection, world stopped; NULL where the plan never collects. */
  void (*prepare)(tsr_heap *heap, struct worker *worker);
  void (*visit_slots)(struct worker *worker, tsr_slot *first, size_t count);
  void (*trace)(struct worker *worker);
  void (*release)(tsr_heap *heap, struct worker *worker);
};

#endif
