/*
 * A worker: what one collecting thread needs to trace. What several share is in the team (core/trace/team.h).
 */
#ifndef CORE_TRACE_WORKER_H
#define CORE_TRACE_WORKER_H

#include "core/heap/word_log.h"
#include "core/space/seal.h"
#include "core/space/spaces.h"
#include "core/trace/queue.h"

#define WORKER_SCAN_SLOTS 256
#define WORKER_OBJECTS    64u /* powers of two */
#define WORKER_EDGES      32u
#define WORKER_NO_EDGE    UINTPTR_MAX
#define WORKER_NEVER      UINT64_MAX

struct worker {
  /* What waits while something is fetched into the cache (core/trace/kernel.h). */
  uintptr_t edges[WORKER_EDGES];     /* to be visited; WORKER_NO_EDGE: none */
  uintptr_t objects[WORKER_OBJECTS]; /* to be scanned; 0: none */
  tsr_heap *heap;
  uint32_t index;    /* 0: the thread that collects */
  bool overflowed;   /* some block is flagged for another walk */
  bool takes_arrays; /* it has promoted an array of which the noted slots alone are to be visited */
  mark_queue queue;
  copy_buffer targets;       /* where it copies to */
  copy_buffer promotions;    /* and where those go that leave a young generation, */
  copy_buffer leaves;        /* if they refer to something or not */
  uint64_t survived;         /* set in the header of each young object, as it were: it leaves */
  size_t live_bytes;         /* of what it counted in this collection */
  uint64_t cpu_ns;           /* that its thread has spent on this collection */
  uint64_t found_weak;       /* list of weak objects; WEAK_END: none */
  uint64_t found_ephemerons; /* the same */
  uint64_t ephemeron_visits; /* of those that it let go when their keys were reached */
  size_t next_edge;          /* where the next goes, modulo the size */
  size_t edges_waiting;      /* how many are in the places before that */

  /* Marking in steps (core/trace/marking.h). */
  bool marks_old;            /* in a minor collection: marks what it meets that is old */
  bool in_steps;             /* this trace may stop and go on another time */
  bool is_late;              /* it has stopped */
  uint64_t deadline_ns;      /* by the clock; WORKER_NEVER: none */
  uint64_t turns_left;       /* of the kernel */
  word_log gray;             /* what it has marked and not scanned */
  word_log weak, weak_young; /* what it has scanned with weak slots */
  tsr_slot *scan_slots[WORKER_SCAN_SLOTS]; /* what custom layouts report into */
};

/* Ready for another collection. */
void worker_reset(struct worker *worker);

/* An entry found no room: its block will be walked again. */
void worker_overflow(struct worker *worker, tsr_ref object);

/* Whether a step has to stop, for it has no time left. */
bool worker_is_out_of_time(struct worker *worker);

/* Whether a step has to stop after one more turn of the kernel. */
bool worker_has_to_stop(struct worker *worker);

/* Queues an object that was reached for the first time. */
OS_ALWAYS_INLINE void worker_enqueue(struct worker *worker, tsr_ref object) {
  if (TSR_UNLIKELY(!mark_queue_push(&worker->queue, object))) worker_overflow(worker, object);
}

/* Whether something waits to be scanned, also after an overflow; between traces. */
static inline bool worker_has_work(const struct worker *worker) {
  return worker->queue.top != worker->queue.bottom || worker->overflowed || worker->takes_arrays;
}

/* Reaches an object of the large space, or one that may be sealed: opens what is sealed, for its slots will
   be written. Whether it is to be queued: a leaf is not. */
bool worker_reach_special(struct worker *worker, tsr_ref object, enum block_space space,
                          bool shared);

/* Reaches a young object of the large space, which becomes old. Whether it is to be queued: of one that is armed the slots
   that are noted are visited when the queue is empty. */
bool worker_promote_large(struct worker *worker, tsr_ref object, bool shared);

/*
 * Reaches an object that stays where it is while the trace runs, in a block of `space`: marks it, and queues it.
 * The same in every plan. It is not looked at before it is scanned, so that whoever marks it need not wait for it.
 */
OS_ALWAYS_INLINE void worker_reach_staying(struct worker *worker, tsr_ref object,
                                           enum block_space space, bool shared) {
  if (TSR_LIKELY(block_space_has_bits_only(space))) {
    if (!arena_reach(worker->heap, object, shared) || space == BLOCK_LEAVES) return;
  } else if (!worker_reach_special(worker, object, space, shared)) {
    return;
  }
  worker_enqueue(worker, object);
}

/* Opens what is sealed, for its slots will be written. */
void worker_open(tsr_heap *heap, tsr_ref object);

/* Queues an object that stays and is scanned without being reached, and opens it. */
void worker_queue_staying(struct worker *worker, tsr_ref object);

/* Reaches every immortal object: each is a root. */
void worker_reach_immortal(struct worker *worker);

#endif
