/*
 * Weak things of a collection: what is done, in which order, once roots have been traced (tessera/weak.h).
 *
 * The trace finds weak objects and ephemerons: it puts each into a list of its worker's, through a word that the
 * object has for that, so that no number of them needs memory. Between traces the collecting thread works the lists
 * off.
 */
#ifndef CORE_TRACE_WEAK_H
#define CORE_TRACE_WEAK_H

#include <tessera/weak.h>

#include "core/object/ephemeron.h"
#include "core/object/reference.h"
#include "core/trace/roots.h"
#include "core/trace/team.h"

/* What the callbacks of a VM are shown. */
struct tsr_weak_phase {
  tsr_heap *heap;
  tsr_ephemeron *waiting; /* list of ephemerons whose keys were not reached; WEAK_END: none */
  uint32_t rounds;        /* traces since something new came up */
  uint64_t visits;        /* of ephemerons */
  uint64_t finalizable;   /* finalizers that became ready */
};

/* After the trace, and what it comes to in the record. */
void weak_process(tsr_heap *heap, tsr_collection *record);

/* Shows the slots outside the heap that are weak and were not cleared. World stopped. */
void weak_visit(tsr_heap *heap, tsr_visitor *visitor);

/* When it is known where survivors go, before they go there. */
void weak_forward(tsr_heap *heap);

/* Whether an object has been reached; what is none of this heap never dies. */
bool weak_is_live(const tsr_heap *heap, tsr_ref object);

/* Whether what a slot refers to, if anything, has been reached; then the slot follows it. */
bool weak_update(const tsr_heap *heap, tsr_slot *slot);
/* The same of at most 64 slots; a bit is set for each that refers to an object that has not been reached. */
uint64_t weak_update_all(const tsr_heap *heap, tsr_slot *first, size_t count);

/* Fetches what a slot refers to. Inline, for compilers drop calls of functions that do nothing but fetch. */
OS_ALWAYS_INLINE void weak_fetch(const tsr_heap *heap, const tsr_slot *slot) {
  OS_FETCH((const void *)reference_address(&heap->references, slot->word));
}

/* Visits slots for what is weak about them. A minor collection takes whatever is old for live, which is no reason to mark
   it: the remark comes back to all that is weak. */
void weak_keep(tsr_heap *heap, tsr_slot *first, size_t count);

/* An ephemeron, wherever it lies, that the trace has found, or that is found in the weak phase. */
void weak_examine(tsr_weak_phase *phase, tsr_ephemeron *e);

static inline bool weak_waits(const tsr_ephemeron *e) {
  return e->reserved[EPHEMERON_CHAIN] != 0;
}

/* ---- the trace -------------------------------------------------------------------------------------- */

/* Notes an object with weak slots, or an ephemeron, that is being scanned. */
void weak_find(struct worker *worker, tsr_ref object, const layout *l);

#endif
