/*
 * A torture program: a random walk through the public interface, on one thread, with a mutator and
 * a graph of its own.
 *
 * All its choices come from one generator, so a program that runs alone does the same again from
 * the same seed; only addresses differ, and they decide nothing. Between two operations every
 * reference lies in a root of the model.
 */
#ifndef TORTURE_PROGRAM_H
#define TORTURE_PROGRAM_H

#include "world.h"

#define CACHED_PAIRS   2
#define SEEN           64
#define SEALABLE_ROOTS 4 /* the first of the handles */

/* How often things happened, for the report. */
typedef struct tally {
  uint64_t operations, allocations, refusals, forks, bindings, parcels, seals, shrinks, censuses,
      pins;
} tally;

typedef struct program {
  world *world;
  model model;
  tsr_mutator *m;       /* as model.m; NULL: not bound */
  tsr_mutator embedded; /* storage 2 */
  uint64_t random;
  uint64_t share;   /* operations to do in this round */
  uint64_t fork_at; /* the operation before which it forks; share: never */
  tally tally;
  pthread_t thread;

  uint64_t collections_checked; /* the world's, when the model was last checked */
  unsigned oom_calls;           /* of out_of_memory; on the own thread */
  unsigned refused_in_a_row;
  bool no_collection; /* within tsr_collection_disable() */

  tsr_allocator_info allocators[TSR_PLACEMENTS];
  tsr_bump_pointer cached[CACHED_PAIRS];
  bool registered[CACHED_PAIRS];
  tsr_bump_pointer by_hand; /* in a burst by the hand protocol; see allocate.c */

  /* Memory of the roots. */
  tsr_slot range[2][RANGE]; /* one of them is registered */
  unsigned range_in_use;
  tsr_slot called[CALLED]; /* reported by scan_mutator_roots */
  tsr_slot *stack_memory;
  tsr_slot *top, *clean_below;
  tsr_native_stack stack;
  tsr_scope scopes[SCOPES];
  unsigned open_scopes;

  uint64_t seen[SEEN]; /* addresses that objects have, or had */
} program;

/* ---- program.c: operations and the life of a program ---------------------------------------- */

/* Runs a whole program: binds, does its share or stops where the world is over, unbinds. */
void program_run(program *p, world *w, uint64_t seed, uint64_t share);
/* Ends what program_run() left for the report. */
void program_free(program *p);

static inline uint64_t below(program *p, uint64_t n) {
  return (vm_random(&p->random) >> 11) % n;
}
static inline bool chance(program *p, uint64_t one_in) {
  return below(p, one_in) == 0;
}
static inline bool is_alone(const program *p) {
  return p->world->programs == 1;
}

/* An object some random edges away from a root; NULL: null or an immediate. `word` is what the slot
   holds that led there. */
shadow *program_walk(program *p, edge *e, uint64_t *word);
/* The model against the heap; sheds where the program keeps too much. */
void program_check(program *p);
void program_collect(program *p);
/* Drops roots and edges of immortal objects, at random. */
void program_shed(program *p);

/* ---- allocate.c: all the ways to allocate ---------------------------------------------------- */

/* One object, by any way, in a random root, with edges to others. */
void allocate_object(program *p);
/* Some objects by the hand protocol of mutator.h. */
void allocate_by_hand(program *p);
/* A list of large objects: more than some heaps hold. */
void allocate_hoard(program *p);
/* A closed graph, held by `head`. Empty where memory is refused. */
parcel allocate_parcel(program *p, tsr_slot *head);
/* Fills the words that are no slots with numbers that look like references. */
void fill_with_lookalikes(program *p, shadow *s, tsr_ref object);
void register_or_unregister_pair(program *p);

/* ---- roots.c: the roots of every kind -------------------------------------------------------- */

void program_open_roots(program *p);
void program_close_roots(program *p);
/* Before the mutator goes: closes scopes, forgets what only a mutator's callback reports. */
void program_close_mutator_roots(program *p);
size_t root_any(program *p);
void root_set(program *p, size_t i, edge e, uint64_t word);
void open_scope(program *p);
void close_scope(program *p);
void move_stack_top(program *p);
void move_stack_memory(program *p);
void move_range(program *p);
void renew_handle(program *p);

#endif
