/*
 * The world: one heap, the torture programs that live in it, and the exchange.
 *
 * A world lasts for one round: a heap is created, each program runs its share of the round's
 * operations on a thread and in a graph of its own, the heap is destroyed. Under a plan that never
 * collects a round also ends where memory does.
 *
 * The exchange is a table of slots, reported by scan_heap_roots, through which programs hand each
 * other parcels: small closed graphs that nothing else refers to, with their shadows. Its mutex is
 * taken in native code, or tried between safepoints, so nobody blocks in managed code; who holds it
 * may wait in tsr_leave_native() for a collection, which does not need it.
 */
#ifndef TORTURE_WORLD_H
#define TORTURE_WORLD_H

#include "model.h"

#define EXCHANGE 16

typedef struct parcel {
  shadow *members; /* a list */
  shadow *first;   /* the one that a slot refers to; NULL: empty */
  size_t count;
} parcel;

typedef struct world {
  tsr_binding binding;
  tsr_layout layouts[TORTURE_KINDS - 1];
  tsr_options *options;
  tsr_heap *heap;
  unsigned programs;
  atomic_bool over;        /* the round ends early */
  atomic_bool leaves_pins; /* the heap goes before all that is pinned was unpinned */
  atomic_uint_fast64_t collections;

  pthread_mutex_t lock;
  tsr_slot slots[EXCHANGE]; /* under lock, in managed code; read by collections */
  parcel parcels[EXCHANGE]; /* under lock */
} world;

void world_open(world *w, unsigned programs);
/* Every mutator is unbound. Returns the heap's collections. */
uint64_t world_close(world *w);

/* Takes the lock, in one of the two ways, as `natively` says. The mutator is in managed code. */
void world_lock(world *w, tsr_mutator *m, bool natively);
void world_unlock(world *w);
/* Shadows in all parcels. Of a world with one program only. */
size_t world_parcel_objects(const world *w);

#endif
