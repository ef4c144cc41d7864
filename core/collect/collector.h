/*
 * The collector of a heap: its mutators, the protocol that stops them, and one collection at a time.
 *
 * The mutator that triggers a collection carries it out on its own thread. `lock` guards the list of
 * mutators and the flags; the two conditions wake those who wait for them.
 */
#ifndef CORE_COLLECT_COLLECTOR_H
#define CORE_COLLECT_COLLECTOR_H

#include "core/alloc/mutator.h"
#include "core/report/report.h"
#include "core/trace/roots.h"
#include "core/trace/team.h"

struct collector {
  os_mutex lock;
  os_condition stopped; /* a mutator has stopped: who stops the world waits for it */
  os_condition resumed; /* the world runs again: mutators that stopped, or bind, wait for it */

  /* Under the lock. */
  struct tsr_mutator_private *mutators;
  bool in_progress; /* a mutator has claimed the world and not begun to resume the others */
  bool stopping;    /* built-in safepoints: mutators that ask are to stop */
  uint32_t claims;  /* mutators between their claim and the end of their resume: while there is
                       one, nobody binds */
  uint32_t
      passers; /* threads that wait to bind or unbind: who would claim the world is behind them */
  uint32_t disabled;
  uint64_t serial;   /* of the newest claim */
  uint64_t started;  /* collections */
  uint64_t finished; /* of them, up to the last of everything that has ended */

  os_stack stack; /* what the collecting thread runs on meanwhile */
  memory_mapping stack_mapping;
};

/* Causes: an allocation could not be served; nor could it after that, and this is the last collection
   before it fails; external memory outgrew its room; the VM asked for it. */
#define COLLECTION_ALLOCATION "allocation"
#define COLLECTION_EMERGENCY  "emergency"
#define COLLECTION_EXTERNAL   "external"
#define COLLECTION_MARKING    "marking"
#define COLLECTION_REQUEST    "request"
#define COLLECTION_STRESS     "stress"

/* Builds heap->collector. */
tsr_status collector_open(tsr_heap *heap, tsr_error *error);
void collector_close(tsr_heap *heap);

/* ---- safepoint.c: stopping and resuming ------------------------------------------------------------ */

/* Stops every mutator but `self`; returns when all have stopped. */
void safepoint_stop_all(tsr_heap *heap, tsr_mutator *self);
void safepoint_resume_all(tsr_heap *heap, tsr_mutator *self);
/* Parks a mutator that finds a collection in progress until it is over. */
void safepoint_block(tsr_mutator *self);
/* The built-in poll's slow path. */
void safepoint_park(tsr_mutator *self);
tsr_status safepoint_enter_native(tsr_mutator *self, tsr_error *error);
tsr_status safepoint_leave_native(tsr_mutator *self, tsr_error *error);

/* ---- mutators.c ------------------------------------------------------------------------------------- */

/* `storage` NULL: Tessera allocates the mutator too. */
tsr_mutator *mutator_bind(tsr_heap *heap, tsr_mutator *storage, void *vm_thread, tsr_error *error);
tsr_status mutator_unbind(tsr_mutator *mutator, tsr_error *error);
/* In the child of a fork(): only `self` is left. Storage of the VM's is not touched. */
void mutators_forget_others(tsr_mutator *self);

/* All figures of the heap, those that mutators keep included. Any thread. */
void mutators_fill(tsr_heap *heap, tsr_stats *stats);

/* ---- collection.c ------------------------------------------------------------------------------------ */

typedef enum collection_outcome {
  COLLECTION_RAN,     /* this thread has collected */
  COLLECTION_WAITED,  /* another thread had the world; it has it no longer */
  COLLECTION_DISABLED /* collection is disabled */
} collection_outcome;

/* Collects, and calls `before_resume`, if there is one, while the others are still stopped. */
collection_outcome collection_run(tsr_mutator *self, const char *cause,
                                  void (*before_resume)(void *context), void *context);
tsr_status collection_request(tsr_mutator *self, tsr_error *error);
/* Collects, where the plan does, and freezes what is live. */
tsr_status collection_freeze(tsr_mutator *self, tsr_error *error);
/* Stops the world, walks the heap, and resumes. */
/* A pause for a step of marking, if one is due still. */
void collection_step(tsr_mutator *self);

tsr_status collection_enumerate(tsr_mutator *self, tsr_object_callback callback, void *context,
                                tsr_error *error);
/* Stops the world, verifies the heap, and resumes. */
tsr_status collection_verify(tsr_mutator *self, tsr_error *error);
void collection_disable(tsr_heap *heap);
tsr_status collection_enable(tsr_heap *heap, tsr_error *error);

/* Stops the world for something else than a collection. TSR_BUSY in native code, TSR_MISMATCH where the
   VM's threads do not stop. */
tsr_status world_stop(tsr_mutator *self, const char *function, tsr_error *error);
/* Revokes the pairs of all mutators but one (NULL: of all), so that every block can be walked; what they have noted is the
   heap's. */
void world_revoke_pairs(tsr_heap *heap, const tsr_mutator *except);
/* Lets the world run, after world_stop() or a collection. */
void world_yield(tsr_mutator *self);

/* ---- fork.c --------------------------------------------------------------------------------------------- */

tsr_status fork_prepare(tsr_mutator *self, tsr_error *error);
tsr_status fork_parent(tsr_mutator *self, tsr_error *error);
tsr_status fork_child(tsr_mutator *self, tsr_error *error);

#endif
